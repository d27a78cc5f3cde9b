"""The avatars that a server has opened, and its sessions: who gets one, and when it ends."""

from __future__ import annotations

import gc
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from avatar.core.avatar_file import Avatar
from avatar.core.drawing_file import drawing_bytes
from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.motion.driver import LIVE_WINDOW
from avatar.motion.features import DEFAULT_FEATURES
from avatar.motion.speech_to_motion import open_speech_model
from avatar.play.player import Player
from avatar.play.shared_drawing import Setting, SharedDrawing
from avatar.serve.engine import FULL, PERIOD, Client, Engine, Frame
from avatar.serve.live_avatar import LiveAvatar
from avatar.voice.passages import Chunk

LOG = logging.getLogger(__name__)
MOST_SESSIONS = 1000  # whatever was measured: sockets and memory have an end, too
UNWATCHED_SECONDS = 30.0  # that a session waits for its viewer
TRIAL_SESSIONS, TRIAL_FRAMES = 4, 12  # that the cost of a session is measured with
WARM_FRAMES = 4  # of them that are not counted


class RefusedError(Exception):
    """A request that cannot be served now; with the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Viewer(Protocol):
    """A transport: it gets a session's frames, and sends them on."""

    def show(self, frame: Frame) -> None:
        """Take a frame, every 40 ms, in a thread of the engine's pool; must not wait."""
        ...

    def close(self, reason: str) -> None:
        """The session has ended. Called in any thread."""
        ...


@dataclass(frozen=True)
class Wish:
    """What a client asks for."""

    avatar: str = ""  # empty: the first
    rate: int = 24000
    live: bool = False
    setting: Setting = field(default_factory=Setting)
    drawn: bool = True  # False: the client draws, from the avatar's drawing file


@dataclass(eq=False)
class Session:
    """A client's own avatar."""

    id: str
    avatar: str
    live: LiveAvatar
    client: Client
    hurry: Callable[[], None]  # begins the next frames at once
    viewer: Viewer | None = None
    observers: list[Callable[[Frame], None]] = field(default_factory=list)  # that want events beside the viewer
    endings: list[Callable[[str], None]] = field(default_factory=list)  # that are called once, with the reason
    active: float = field(default_factory=time.monotonic)  # when anything was last asked of it
    unwatched: float = field(default_factory=time.monotonic)  # since when it has no viewer
    latency_ms: float = 0.0  # as its client measured
    drift_ms: float = 0.0
    closed: str = ""  # why it ended

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of its frames, px."""
        return self.client.drawing.canvas.shape

    def push(self, samples: np.ndarray, chunk: Chunk | None = None) -> None:
        """Sound [n] int16, and what a voice says with it. Raises: UserError when too much waits."""
        self.active = time.monotonic()
        self.live.push(samples, chunk)
        if self.live.ready:
            self.hurry()

    def change(self, **values: Any) -> None:
        """Show the next frames in another `Setting`; what is not named stays. Raises: UserError."""
        self.client.drawing.change(self.client.view, replace(self.client.view.setting, **values))

    def deliver(self, frame: Frame) -> None:
        """A frame from the engine."""
        if viewer := self.viewer:
            viewer.show(frame)
        for observe in list(self.observers):
            observe(frame)


def _nowhere(_: Frame) -> None:
    """Where the frames of a session go that has ended."""


class Hub:
    """All avatars and sessions of a server. Its methods may be called from any thread."""

    def __init__(
        self,
        players: Mapping[str, Player],
        *,
        label: Label,
        sessions: int | None = None,
        idle_seconds: float = 600.0,
        permit: Callable[[str, Avatar], None] | None = None,
        download: bool = False,
    ) -> None:
        """sessions: how many at most; None: as many as the machine draws in time, which is measured.

        download: whether clients may have what draws an avatar.

        permit: raises UserError when an avatar may not be used (any more); asked for each session.

        Raises: UserError for an avatar that cannot be seen live.
        """
        self._shared = {name: SharedDrawing(player.avatar, player.canvas) for name, player in players.items()}
        for name, player in players.items():
            if player.avatar.speech.features != DEFAULT_FEATURES:
                raise UserError(f"{name}: its audio features, {player.avatar.speech.features}, are not made live")
        self._players, self._names, self._label = dict(players), list(players), label
        self._limit, self._idle_seconds, self._permit, self._download = sessions, idle_seconds, permit, download
        self.engine = Engine([open_speech_model(player.avatar.speech) for player in players.values()])
        self.cost = self.motion_cost = 0.0  # s of a tick's slowest stage that a session takes; that is not drawn here
        self._drawings: dict[str, bytes] = {}
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self.draining = False
        self.opened = self.refused = 0

    def start(self) -> None:
        """Measure what a session costs, and start the clock."""
        self.measure_all()
        gc.freeze()  # what was loaded stays: collections that pass over it take no frame's time
        self.engine.start()
        LOG.info("ready", extra={"capacity": self.capacity, "cost_ms": round(1e3 * self.cost, 1)})

    @property
    def capacity(self) -> int:
        """How many sessions fit."""
        return min(self._limit or max(1, int(FULL * PERIOD / max(self.cost, 1e-6))), MOST_SESSIONS)

    @property
    def avatars(self) -> list[str]:
        """Their names."""
        return list(self._names)

    def player(self, name: str) -> Player:
        """An avatar that was opened. Raises: RefusedError."""
        if name not in self._players:
            raise RefusedError(404, "no such avatar; GET /v1/avatars lists them")
        return self._players[name]

    @property
    def sessions(self) -> list[Session]:
        """Those that are open."""
        return list(self._sessions.values())

    def open(self, wish: Wish) -> Session:
        """A new session. Raises: RefusedError; UserError."""
        name = wish.avatar or self._names[0]
        player = self.player(name)
        self._check(name, player, download=not wish.drawn)
        with self._lock:
            if self.draining:
                raise RefusedError(503, "the server is shutting down")
            count = len(self._sessions) + 1
            if not self._has_room(count, wish.drawn):
                self.refused += 1
                raise RefusedError(503, f"{count - 1} sessions are all that this machine draws in time; try later")
            session = self._make(name, player, wish)
            self._sessions[session.id] = session
            self.opened += 1
        LOG.info("session opened", extra={"session": session.id[:6], "avatar": name})
        return session

    def drawing(self, name: str) -> bytes:
        """The drawing file of an avatar. Raises: RefusedError."""
        player = self.player(name)
        self._check(name, player, download=True)
        with self._lock:
            if name not in self._drawings:
                try:
                    self._drawings[name] = drawing_bytes(player.avatar)
                except UserError as error:
                    raise RefusedError(409, str(error)) from error
            return self._drawings[name]

    def _check(self, name: str, player: Player, *, download: bool) -> None:
        """Raise RefusedError for an avatar that may not be used, or not be given to clients."""
        if download and not self._download:
            raise RefusedError(403, "clients may not draw here; `avatar serve --allow-download` gives them what draws")
        if self._permit:
            try:
                self._permit(name, player.avatar)
            except UserError as error:
                raise RefusedError(403, str(error)) from error

    def _has_room(self, count: int, drawn: bool) -> bool:
        """Whether so many sessions fit, with one more that is drawn here or by its client."""
        if count > (self._limit or MOST_SESSIONS):
            return False
        kinds = [session.client.drawn for session in self._sessions.values()] + [drawn]
        mean = sum(self.cost if kind else self.motion_cost for kind in kinds) / count
        return self._limit is not None or count == 1 or self.engine.fits(count, mean)

    def _make(self, name: str, player: Player, wish: Wish) -> Session:
        live = LiveAvatar(player.driver(LIVE_WINDOW), rate=wish.rate, live=wish.live)
        drawing = self._shared[name]
        view = drawing.open_view(mark=player.mark, label=self._label, setting=wish.setting)
        client = Client(live, self._names.index(name), drawing, view, lambda frame: session.deliver(frame), wish.drawn)
        session = Session(secrets.token_urlsafe(18), name, live, client, self.engine.hurry)
        return session

    def find(self, identifier: str) -> Session:
        """An open session. Raises: RefusedError."""
        session = self._sessions.get(identifier)
        if session is None:
            raise RefusedError(404, "no such session; it may have ended")
        session.active = time.monotonic()
        return session

    def attach(self, session: Session, viewer: Viewer) -> None:
        """Give a session's frames to a viewer from now on. Raises: RefusedError when it has one."""
        with self._lock:
            if session.closed:
                raise RefusedError(404, "no such session; it may have ended")
            if session.viewer is not None:
                raise RefusedError(409, "the session is shown elsewhere; open another")
            session.viewer = viewer
        self.engine.add(session.client)

    def detach(self, session: Session, viewer: Viewer) -> None:
        """Take a session's frames away from a viewer."""
        with self._lock:
            if session.viewer is not viewer:
                return
            session.viewer, session.unwatched = None, time.monotonic()
        self.engine.remove(session.client)

    def close(self, session: Session, reason: str) -> None:
        """End a session; a second call changes nothing."""
        with self._lock:
            if self._sessions.pop(session.id, None) is None:
                return
            session.closed, viewer, session.viewer = reason, session.viewer, None
        self.engine.remove(session.client)
        for end in [*([viewer.close] if viewer else []), *session.endings]:
            end(reason)
        # a session and its client know each other: apart they go at once, not when the garbage collector comes by
        session.client.deliver = _nowhere
        session.observers, session.endings = [], []
        LOG.info("session closed", extra={"session": session.id[:6], "reason": reason})

    def expire(self) -> None:
        """End sessions that nobody watches, or of which nothing was asked for long."""
        now = time.monotonic()
        for session in self.sessions:
            if session.viewer is None and now - session.unwatched > UNWATCHED_SECONDS:
                self.close(session, f"nobody watched it for {UNWATCHED_SECONDS:.0f} s")
            elif now - session.active > self._idle_seconds and not session.live.buffered:
                self.close(session, f"nothing was asked of it for {self._idle_seconds:.0f} s")

    def shut_down(self) -> None:
        """End all sessions and stop the clock."""
        self.draining = True
        for session in self.sessions:
            self.close(session, "the server is shutting down")
        self.engine.close()

    def measure_all(self) -> None:
        """Measure what sessions cost."""
        self.cost = self.measure()
        self.motion_cost = self.measure(drawn=False) if self._download else self.cost

    def measure(self, *, drawn: bool = True) -> float:
        """Seconds of a tick's slowest stage that a session takes while it speaks: the dearest avatar, several."""
        costs = []
        for index, name in enumerate(self._names):
            player, rate, kept = self._players[name], 16000, list[Frame]()
            clients = []
            for _ in range(TRIAL_SESSIONS):
                session = self._make(name, player, Wish(rate=rate, drawn=drawn))
                session.live.push(np.random.default_rng(index).integers(-8000, 8000, rate, np.int16))
                session.observers.append(kept.append)
                clients.append(session.client)
            costs.append(self.engine.time_clients(clients, TRIAL_FRAMES, WARM_FRAMES) / TRIAL_SESSIONS)
        return max(costs)
