"""A server from its settings: what is opened, what is tried before, and the run itself."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avatar.core.avatar_file import Avatar, load_avatar
from avatar.core.consent import check_permission, read_revoked
from avatar.core.files import UserError
from avatar.core.label import Label, LabelKind
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.render.device import DeviceName
from avatar.scene.scene import make_scene
from avatar.serve.app import Network, log_to_stderr, make_server, unique_names
from avatar.serve.encoders import Codec, VideoEncoder
from avatar.serve.hub import Hub
from avatar.serve.ice import Ice
from avatar.serve.recording import Recordings

SWITCH_SECONDS = 0.0005  # after which a thread that waits for the interpreter gets it: frames are due every 40 ms


@dataclass(frozen=True)
class Shown:
    """How avatars are shown, and what for."""

    size: int | None = None
    background: str | None = None
    scene: Mapping[str, Any] = field(default_factory=dict)  # options of `make_scene`
    label: LabelKind = "eu"
    device: DeviceName = "auto"
    use: str | None = None
    revoked: Path | None = None
    download: bool = False  # clients may have what draws an avatar
    recordings: Path | None = None  # folder of films of sessions


class Service:
    """A server that can be checked, and run."""

    def __init__(
        self,
        paths: Sequence[Path],
        network: Network,
        shown: Shown,
        *,
        ice: Ice,
        sessions: int | None = None,
        idle_seconds: float = 600.0,
    ) -> None:
        """Raises: UserError for whatever would keep it from starting, but a port that is taken."""
        self._network, self._guard, self._ice = network, network.guard(), ice
        if wrong := network.certificate_error():
            raise UserError(f"{wrong}; give the PEM files of one certificate")
        revoked = read_revoked(shown.revoked) if shown.revoked else frozenset()

        def permit(name: str, avatar: Avatar) -> None:
            check_permission(avatar, name, use=shown.use, revoked=revoked)

        players = {}
        for name, path in unique_names(list(paths)).items():
            avatar = load_avatar(path)
            permit(str(path), avatar)
            look = Look(size=shown.size, background=shown.background, scene=make_scene(shown.scene))
            players[name] = Player(avatar, look=look, device=shown.device)
        label = Label(shown.label)
        self._recordings = Recordings(shown.recordings)
        self._download = shown.download
        self.hub = Hub(
            players,
            label=label,
            sessions=sessions,
            idle_seconds=idle_seconds,
            permit=permit,
            download=shown.download,
        )

    def check(self) -> Iterator[str]:
        """Lines that say what was tried. Raises: UserError for what does not work."""
        for name in self.hub.avatars:
            height, width = self.hub.player(name).shape
            yield f"{name}: opened, {width} x {height} px"
            codecs: tuple[Codec, ...] = ("vp8", "h264")
            for codec in codecs:
                VideoEncoder(codec, height, width)
        yield "encoders: vp8, h264"
        with socket.socket(socket.AF_INET6 if ":" in self._network.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._network.host.strip("[]"), self._network.port))
            except OSError as error:
                raise UserError(f"--port {self._network.port}: {error.strerror}; choose another") from error
        yield f"address: {self._network.host}, port {self._network.port} is free"
        tokens = len(self._guard.tokens)
        yield f"tokens: {tokens}" if tokens else "tokens: none; programs and pages of this machine may use it"
        self.hub.measure_all()
        yield f"sessions: {self.hub.capacity} fit, each takes {1e3 * self.hub.cost:.1f} of 40 ms"
        if self._download:
            yield f"sessions that clients draw: each takes {1e3 * self.hub.motion_cost:.1f} of 40 ms"
        self.hub.engine.close()

    def run(self) -> None:
        """Serve until a signal asks to end; then sessions that are open have half a minute."""
        log_to_stderr()
        sys.setswitchinterval(SWITCH_SECONDS)
        server = make_server(self.hub, self._network, self._ice, self._recordings)
        self.hub.start()
        server.run()
