"""Live sessions that clients draw: motion and sound by WebSocket, and the client page in Chromium where it is."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avatar.core.avatar_file import Avatar
from avatar.core.controls import resolve_controls
from avatar.core.drawing_file import drawing_bytes
from avatar.core.label import Label
from avatar.core.motion_stream import HEAD, MOTION
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.serve.app import Network
from avatar.serve.hub import Hub, RefusedError, Wish
from bench.chromium import find_chromium, open_page

websockets = pytest.importorskip("websockets")
from websockets.asyncio.client import connect  # noqa: E402

from tests.test_serve import Running, run_server, spoken  # noqa: E402

RATE, SECONDS = 24000, 1.5
VALUES = 52  # of a frame of 32 modes


@pytest.fixture(scope="module")
def player(avatar: Avatar) -> Player:
    return Player(avatar, look=Look(size=128), controls=resolve_controls(avatar))


@pytest.fixture(scope="module")
def server(player: Player) -> Iterator[Running]:
    yield from run_server(Hub({"actor": player}, label=Label("eu"), sessions=3, download=True), Network())


def receive(server: Running, pcm: bytes) -> tuple[list[dict[str, object]], list[bytes]]:
    """Events and binary messages of a session that speaks `pcm` and idles for a second."""

    async def run() -> tuple[list[dict[str, object]], list[bytes]]:
        events, binary = [], []
        async with connect(f"ws://127.0.0.1:{server.port}/v1/live", max_size=None) as link, asyncio.timeout(30):
            await link.send(json.dumps({"type": "start", "rate": RATE, "transport": "motion"}))
            await link.send(pcm)
            await link.send(json.dumps({"type": "end"}))
            left = 25
            while left:
                message = await link.recv()
                if isinstance(message, bytes):
                    binary.append(message)
                    left -= any(event["type"] == "playback_finished" for event in events)
                else:
                    events.append(json.loads(message))
        return events, binary

    return asyncio.run(run())


def test_each_message_is_a_frame_with_its_sound(server: Running, avatar: Avatar) -> None:
    pcm = spoken(SECONDS)
    events, messages = receive(server, pcm)
    ready = events[0]
    assert ready["drawing"] == "v1/avatars/actor/drawing"
    values = []
    for index, message in enumerate(messages):
        assert HEAD.unpack_from(message) == (MOTION, 1, RATE // 25, index, 40_000 * index)
        values.append(np.frombuffer(message, "<f4", VALUES, HEAD.size))
    sound = b"".join(message[HEAD.size + 4 * VALUES :] for message in messages)
    assert sound.strip(b"\0") == pcm.strip(b"\0")
    rows, rotation = np.stack(values), np.stack(values)[:, 36:45].reshape(-1, 3, 3)
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-4)
    started = next(event for event in events if event["type"] == "playback_started")["frame"]
    said = rows[started : started + 37, :32]  # type: ignore[operator]
    assert said.std(0).max() > 3 * rows[-20:, :32].std(0).max(), "the mouth moves by the sound, and rests without"
    assert server.hub.engine.load.encode_seconds == 0, "nothing was drawn"
    status, data, _ = server.ask("GET", f"/{ready['drawing']}")
    assert (status, data) == (200, drawing_bytes(avatar))


def test_what_draws_is_given_to_clients_only_where_that_is_allowed(player: Player, server: Running) -> None:
    assert server.ask("GET", "/v1/avatars/nobody/drawing")[0] == 404
    for kept in run_server(Hub({"actor": player}, label=Label("eu"), sessions=3), Network()):
        status, body, _ = kept.ask("GET", "/v1/avatars/actor/drawing")
        assert status == 403
        assert b"--allow-download" in body

        async def refused(port: int = kept.port) -> dict[str, str]:
            async with connect(f"ws://127.0.0.1:{port}/v1/live") as link:
                await link.send(json.dumps({"type": "start", "transport": "motion"}))
                return dict(json.loads(await link.recv()))

        assert "--allow-download" in asyncio.run(refused())["error"]


def test_sessions_that_clients_draw_leave_room_for_others(player: Player) -> None:
    hub = Hub({"actor": player}, label=Label("eu"), download=True)
    hub.cost, hub.motion_cost = 0.010, 0.002  # s of a tick of 40 ms, of which .85 may be used

    def fill(drawn: bool) -> None:
        while True:
            hub.open(Wish(drawn=drawn))

    counts = []
    for drawn in (True, False):
        with pytest.raises(RefusedError, match="are all that this machine draws in time"):
            fill(drawn)
        counts.append(len(hub.sessions))
    assert counts == [3, 5]  # 3 x 10 + 2 x 2 ms
    hub.shut_down()


PAGE = """(async () => {
  const { Link } = await import("/static/link.js"), { openView } = await import("/static/motion.js");
  const pcm = new Int16Array(Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0)).buffer);
  const canvas = document.getElementById("picture");
  const link = window.link = new Link(location.href, "", { rate: 24000, transport: "motion" }, canvas);
  const drifts = window.drifts = [];
  link.addEventListener("shown", ({ detail }) => {
    if (Number.isFinite(detail.place) && detail.place >= 0) drifts.push((detail.place - detail.index - 0.5) * 0.04);
  });
  await new Promise((resolve) => link.addEventListener("ready", resolve, { once: true }));
  await link.openSound();
  link.view = await openView(location.href, (path) => fetch("/" + path), link.ready.drawing, canvas);
  link.push(pcm);
  link.send({ type: "end" });
})()"""


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed")
def test_the_client_page_draws_what_it_gets(server: Running, tmp_path: Path) -> None:
    async def run() -> tuple[list[str], list[float], str]:
        async with open_page(f"http://127.0.0.1:{server.port}/") as page:
            await page.run(PAGE % base64.b64encode(spoken(2.0)).decode())
            await page.wait("link.view.drawn > 25 && drifts.length > 10", 40)
            drawn = await page.run("link.view.engine.name + link.view.size")
            return page.console, await page.run("drifts"), drawn

    console, drifts, drawn = asyncio.run(run())
    assert not [line for line in console if "rror" in line], console
    assert drawn.startswith("painter")  # without a GPU
    assert abs(np.median(drifts)) < 0.06
