"""A real server on the loopback interface: sessions over WebSocket and HTTP, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import io
import json
import os
import socket
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar.core.avatar_file import Avatar
from avatar.core.controls import resolve_controls
from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.serve.app import Network, make_server, unique_names
from avatar.serve.encoders import VideoEncoder, import_av
from avatar.serve.hub import Hub
from avatar.serve.ice import Ice
from avatar.serve.live_avatar import LiveAvatar
from avatar.serve.protocol import HEADER, KEY, MP4, SOUND, VIDEO, read_message, schema
from avatar.serve.recording import Recordings
from avatar.voice.engines import VoiceChoice
from avatar.voice.passages import Chunk, Passage
from preprocess.actor import speech

websockets = pytest.importorskip("websockets")
from websockets.asyncio.client import connect  # noqa: E402

RATE = 24000
TOKEN = "a-token-of-24-characters"


@dataclass(frozen=True)
class Running:
    """A server in a thread of its own."""

    hub: Hub
    port: int

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an HTTP request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, found, _ = self.ask(method, path, None if body is None else json.dumps(body))
        return status, json.loads(found) if found else None


def run_server(hub: Hub, network: Network) -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = make_server(hub, Network(**{**vars(network), "port": port}), Ice())
    hub.engine.start()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    assert server.started
    yield Running(hub, port)
    server.should_exit = server.force_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def player(avatar: Avatar) -> Player:
    return Player(avatar, look=Look(size=128), controls=resolve_controls(avatar))


@pytest.fixture(scope="module")
def server(player: Player) -> Iterator[Running]:
    yield from run_server(Hub({"actor": player}, label=Label("eu"), sessions=3), Network())


@pytest.fixture(autouse=True)
def none_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test leaves the server without sessions, as clients that left do."""
    yield
    if "server" in request.fixturenames:
        hub: Hub = request.getfixturevalue("server").hub
        end = time.monotonic() + 10
        while hub.sessions and time.monotonic() < end:
            time.sleep(0.02)
        assert not hub.sessions
        assert not hub.engine._clients
        assert not hub.engine.failed


def spoken(seconds: float) -> bytes:
    pcm = speech(seconds)[0].numpy()
    times = np.arange(round(seconds * RATE)) * 16000 / RATE
    return (32767 * 0.9 * np.interp(times, np.arange(len(pcm)), pcm)).astype("<i2").tobytes()


@dataclass
class Heard:
    """What a client received."""

    events: list[dict[str, Any]] = field(default_factory=list)
    video: dict[int, tuple[bool, bytes]] = field(default_factory=dict)
    sound: dict[int, bytes] = field(default_factory=dict)
    mp4: bytes = b""

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


class Caller:
    """A client of the WebSocket."""

    def __init__(self, link: Any) -> None:
        self.link, self.got = link, Heard()

    async def send(self, kind: str, **values: Any) -> None:
        await self.link.send(json.dumps({"type": kind} | values))

    async def receive(self, until: Callable[[Heard], bool], seconds: float = 20.0) -> Heard:
        async with asyncio.timeout(seconds):
            while not until(self.got):
                message = await self.link.recv()
                if isinstance(message, str):
                    self.got.events.append(json.loads(message))
                    continue
                kind, flags, _, index, stamp = HEADER.unpack_from(message)
                assert stamp == index * 40_000
                payload = message[HEADER.size :]
                if kind == VIDEO:
                    self.got.video[index] = (bool(flags & KEY), payload)
                elif kind == MP4:
                    self.got.mp4 += payload
                else:
                    assert kind == SOUND
                    self.got.sound[index] = payload
        return self.got


def call(server: Running, talk: Callable[[Caller], Awaitable[None]], *, start: dict[str, Any] | None = None) -> Heard:
    """Talk to a server over its WebSocket; what came back."""

    async def run() -> Heard:
        async with connect(f"ws://127.0.0.1:{server.port}/v1/live", subprotocols=["avatar.v1"], max_size=None) as link:
            assert link.subprotocol == "avatar.v1"
            caller = Caller(link)
            if start is not None:
                await caller.send("start", **start)
            await talk(caller)
            return caller.got

    return asyncio.run(run())


def finished(got: Heard) -> bool:
    return bool(got.of("playback_finished"))


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_segment_over_the_websocket(server: Running, codec: str) -> None:
    """Sound comes back unchanged, in step with pictures that decode; events say where it began and ended."""
    pcm = spoken(1.5)

    async def talk(caller: Caller) -> None:
        for start in range(0, len(pcm), 9600):
            await caller.link.send(pcm[start : start + 9600])
        await caller.send("end")
        await caller.receive(finished)

    got = call(server, talk, start={"rate": RATE, "codec": codec})
    ready, started, ended = got.of("ready")[0], got.of("playback_started")[0], got.of("playback_finished")[0]
    assert (ready["width"], ready["height"], ready["avatar"], ready["protocol"]) == (128, 128, "actor", 1)
    assert ended == {
        "type": "playback_finished",
        "segment": 0,
        "frame": started["frame"] + 37,
        "position": 1.5,
        "interrupted": False,
    }
    indices = sorted(got.sound)
    assert indices == list(range(len(indices)))
    sound = b"".join(got.sound[index] for index in indices)
    assert sound.strip(b"\0") in pcm
    assert sound[started["frame"] * RATE // 25 * 2 :][: len(pcm)] == pcm
    assert got.video[min(got.video)][0], "the first picture needs no other"
    assert len(got.events) == 3
    pictures = decode(codec, [got.video[index][1] for index in sorted(got.video)])
    assert len(pictures) > 0.8 * len(indices)
    assert pictures[0].shape == (128, 128, 3)
    assert np.abs(np.diff(np.stack(pictures).astype(float), axis=0)).mean() > 0.01, "they move"


def test_a_segment_as_fragmented_mp4(server: Running) -> None:
    """What came is a film of the frames and their sound, in step."""
    pcm = spoken(1.5)

    async def talk(caller: Caller) -> None:
        await caller.link.send(pcm)
        await caller.send("end")
        await caller.receive(finished)

    got = call(server, talk, start={"rate": RATE, "transport": "mp4"})
    assert got.of("ready")[0]["codec"] == 'video/mp4; codecs="avc1.42E01F, mp4a.40.2"'
    assert not got.video
    assert not got.sound
    film = import_av().open(io.BytesIO(got.mp4))
    pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    film.seek(0)
    heard = [(frame.time, frame.to_ndarray()[0]) for frame in film.decode(audio=0)]
    assert len(pictures) > 25
    shown = np.array([at for at, _ in pictures]) * 25
    assert np.allclose(shown, shown.round(), atol=1e-6)
    assert pictures[0][1].shape == (128, 128, 3)
    reach = RATE // 20
    sound = np.zeros(round((heard[-1][0] + 1) * RATE) + reach)  # that begins `reach` before the film
    for at, samples in heard:
        sound[reach + round(at * RATE) :][: len(samples)] = samples
    said = np.frombuffer(pcm, "<i2")[: RATE // 2] / 32768
    begun = got.of("playback_started")[0]["frame"] * RATE // 25
    fit = np.correlate(sound[begun:][: len(said) + 2 * reach], said)
    assert fit.max() > 0.9 * float(said @ said), "as it was said, but for what AAC leaves out"
    assert abs(int(np.argmax(fit)) - reach) < 0.01 * RATE, "and when"


def decode(codec: str, chunks: list[bytes]) -> list[np.ndarray]:
    av = import_av()
    context = av.CodecContext.create("vp8" if codec == "vp8" else "h264", "r")
    frames = [frame for chunk in chunks for frame in context.decode(av.Packet(chunk))]
    return [frame.to_ndarray(format="rgb24") for frame in [*frames, *context.decode(None)]]


def test_clear_interrupts(server: Running) -> None:
    pcm = spoken(4.0)

    async def talk(caller: Caller) -> None:
        await caller.link.send(pcm)
        await caller.receive(lambda got: bool(got.of("playback_started")) and len(got.sound) > 25)
        await caller.send("clear")
        await caller.receive(finished)
        after = max(caller.got.sound)
        await caller.receive(lambda got: max(got.sound) >= after + 5)
        assert not any(caller.got.sound[after + 1].strip(b"\0") for _ in range(1))

    ended = call(server, talk, start={"rate": RATE}).of("playback_finished")[0]
    assert ended["interrupted"]
    assert 0.3 < ended["position"] < 3


def test_events_that_are_wrong_are_answered_and_left_out(server: Running) -> None:
    wrong = [
        "no json", "[]", '{"type": "dance"}', '{"type": "start", "rate": 24000}', '{"type": "end", "more": 1}',
        '{"type": "control", "controls": {"mouth_gain": 99}}', '{"type": "control", "controls": {"pose": "take:/etc"}}',
        '{"type": "control", "controls": {"drv_pose": "/etc"}}', '{"type": "control", "controls": {"mouth_gain": NaN}}',
        b"\0",
    ]  # fmt: skip

    async def talk(caller: Caller) -> None:
        for message in wrong:
            await caller.link.send(message)
        await caller.send("control", controls={"mouth_gain": 1.5, "head": 0.5}, state="listening")
        await caller.send("ping", id=7)
        await caller.send("stats", latency_ms=210.5, drift_ms=-3)
        await caller.receive(lambda got: bool(got.of("pong")))
        await caller.receive(lambda got: len(got.sound) > 5)

    got = call(server, talk, start={"rate": RATE})
    assert len(got.of("error")) == len(wrong)
    assert all(len(one["error"]) < 400 and "Traceback" not in one["error"] for one in got.of("error"))
    assert got.of("pong")[0]["id"] == 7


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({"rate": 44100}, "16000, 24000 or 48000"),
        ({"avatar": "nobody"}, "no such avatar"),
        ({"avatar": "../../etc/passwd"}, "no such avatar"),
        ({"background": "/etc/passwd"}, "background"),
        ({"light": "/etc/passwd"}, "light"),
        ({"light": "left:2"}, "light"),
        ({"codec": "av1"}, "codec"),
        ({"transport": "telepathy"}, "transport"),
    ],
)
def test_sessions_that_cannot_be(server: Running, first: dict[str, Any], words: str) -> None:
    async def talk(caller: Caller) -> None:
        await caller.receive(lambda got: bool(got.of("error")))
        await asyncio.wait_for(caller.link.wait_closed(), 5)
        assert caller.link.close_code == 1008

    assert words in call(server, talk, start=first).of("error")[0]["error"]


def test_there_is_room_for_as_many_as_fit(server: Running) -> None:
    """The one too many is refused with a word; the others go on, and their end makes room."""

    async def hold(caller: Caller) -> None:
        await caller.receive(lambda got: len(got.sound) > 3)
        await asyncio.to_thread(other)
        before = len(caller.got.sound)
        await caller.receive(lambda got: len(got.sound) > before + 3)

    def other(depth: int = 2) -> None:
        if depth:

            async def deeper(caller: Caller) -> None:
                await caller.receive(lambda got: len(got.sound) > 3)
                await asyncio.to_thread(other, depth - 1)

            call(server, deeper, start={})
        else:

            async def refused(caller: Caller) -> None:
                await caller.receive(lambda got: bool(got.of("error")))
                await asyncio.wait_for(caller.link.wait_closed(), 5)
                assert caller.link.close_code == 1013

            assert "3 sessions are all" in call(server, refused, start={}).of("error")[0]["error"]
            assert server.json("POST", "/v1/sessions", {})[0] == 503

    call(server, hold, start={})
    assert server.hub.refused >= 2


def test_a_client_that_sends_faster_than_it_is_played_waits(server: Running) -> None:
    """The server says so, reads no more, and keeps what it has; a clear by HTTP makes room."""
    minute = bytes(16000 * 2 * 30)

    async def talk(caller: Caller) -> None:
        await caller.receive(lambda got: bool(got.of("ready")))
        for _ in range(3):
            await caller.link.send(minute)
        await caller.receive(lambda got: bool(got.of("buffer")))
        assert caller.got.of("buffer")[0]["full"]
        session = caller.got.of("ready")[0]["session"]
        status, _ = await asyncio.to_thread(server.json, "POST", f"/v1/sessions/{session}/clear")
        assert status == 200
        await caller.receive(lambda got: len(got.of("buffer")) == 2)
        assert not caller.got.of("buffer")[1]["full"]

    call(server, talk, start={"rate": 16000})


def test_sessions_that_left_are_gone(server: Running) -> None:
    """At once, without the garbage collector, whether they said goodbye or not; threads and files stay as many."""
    alive: list[weakref.ref[LiveAvatar]] = []

    def visit(number: int) -> None:
        async def talk(caller: Caller) -> None:
            await caller.receive(lambda got: len(got.sound) > 1)
            alive.append(weakref.ref(server.hub.sessions[0].live))
            if number % 3 == 0:
                caller.link.transport.abort()

        call(server, talk, start={})
        while server.hub.sessions:
            time.sleep(0.01)

    visit(0)
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    gc.disable()
    try:
        for number in range(1, 12):
            visit(number)
        assert sum(one() is not None for one in alive) <= 1, "the engine's last tick may know one of them"
    finally:
        gc.enable()
    assert len(os.listdir("/proc/self/fd")) <= files + 2
    assert threading.active_count() <= threads + 2


def test_messages_have_a_size(server: Running) -> None:
    async def talk(caller: Caller) -> None:
        await caller.receive(lambda got: bool(got.of("ready")))
        # the server may close while the message is still being sent
        with contextlib.suppress(websockets.ConnectionClosed):
            await caller.link.send(bytes(2 << 20))
        with pytest.raises(websockets.ConnectionClosed):
            await caller.receive(lambda got: False)
        assert caller.link.close_code == 1009

    call(server, talk, start={})


def test_sessions_over_http(server: Running) -> None:
    status, made = server.json("POST", "/v1/sessions", {"rate": 16000})
    assert status == 201
    place = f"/v1/sessions/{made['session']}"
    pcm = np.zeros(16000, "<i2").tobytes()
    status, body, _ = server.ask("POST", f"{place}/audio", pcm)
    assert status == 202
    assert json.loads(body)["buffered"] == 1.0
    assert server.ask("POST", f"{place}/audio", b"odd")[0] == 400
    assert server.ask("POST", f"{place}/audio", bytes(16000 * 2 * 60))[0] == 429
    assert server.ask("POST", f"{place}/audio", bytes(9 << 20))[0] == 413
    assert server.json("POST", f"{place}/control", {"controls": {"head": 0.5}, "state": "listening"})[0] == 200
    scene = {"light": "left:0.5", "grade": "match", "background": "#204060"}
    assert server.json("POST", f"{place}/control", scene)[0] == 200
    setting = server.hub.find(made["session"]).client.view.setting
    assert (setting.light, setting.grade, setting.colour) == ("left:0.5", "match", (32, 64, 96))
    assert server.json("POST", f"{place}/control", {"background": "own"})[0] == 200
    assert server.hub.find(made["session"]).client.view.setting == replace(setting, colour=None)
    assert server.json("POST", f"{place}/control", {"light": "/etc/passwd"})[0] == 400
    assert server.json("POST", f"{place}/control", {"controls": {"style": "/etc/passwd"}})[0] == 400
    assert server.json("POST", f"{place}/control", {"nonsense": 1})[0] == 400
    assert server.json("POST", f"{place}/end")[0] == 200
    assert server.json("POST", f"{place}/clear")[1]["buffered"] == 0.0
    assert server.json("GET", place)[1]["session"] == made["session"]
    assert server.ask("DELETE", place)[0] == 204
    for method, path in (("GET", place), ("DELETE", place), ("POST", f"{place}/audio"), ("POST", f"{place}/clear")):
        assert server.ask(method, path)[0] == 404


class Tone:
    """A voice of one tone."""

    rate, language = RATE, "en-us"

    def say(self, passage: Passage, speed: float) -> Chunk:
        return Chunk(np.full(RATE, 0.25, np.float32), RATE)

    def phonemize(self, text: str) -> str:
        return ""


def test_texts_are_said(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatar.serve.say.open_voice", lambda choice: Tone())

    async def talk(caller: Caller) -> None:
        await caller.receive(lambda got: bool(got.of("ready")))
        place = f"/v1/sessions/{caller.got.of('ready')[0]['session']}/say"

        def post(**body: Any) -> int:
            return server.json("POST", place, body)[0]

        assert await asyncio.to_thread(post, text="Hello there. How are you?", voice="hibari:tone") == 202
        await caller.receive(finished)
        for wrong in (
            {}, {"text": ""}, {"text": "a" * 5001}, {"text": "a", "voice": "http:x"}, {"text": "a", "url": "b"},
            {"text": "a", "voice": "command:/bin/sh"}, {"text": "...", "voice": "hibari:tone"},
        ):  # fmt: skip
            assert await asyncio.to_thread(lambda body=wrong: post(**body)) == 400, wrong

        def missing(choice: VoiceChoice) -> Tone:
            raise UserError("voice hibari: is not installed; pip install it")

        monkeypatch.setattr("avatar.serve.say.open_voice", missing)
        assert await asyncio.to_thread(post, text="Hello.", voice="hibari:other") == 501

    got = call(server, talk, start={"rate": RATE})
    assert got.of("playback_finished")[0]["position"] >= 2.0
    sound = np.frombuffer(b"".join(got.sound[index] for index in sorted(got.sound)), "<i2")
    assert (sound == round(32767 * 0.25 - 0.5)).sum() == 2 * RATE


def test_a_session_is_recorded(server: Running, tmp_path: Path) -> None:
    recordings, films = Recordings(tmp_path), list[Path]()

    async def talk(caller: Caller) -> None:
        await caller.receive(lambda got: bool(got.of("ready")))
        session = server.hub.find(caller.got.of("ready")[0]["session"])
        with pytest.raises(UserError, match="is not being recorded"):
            recordings.stop(session)
        films.append(recordings.start(session))
        with pytest.raises(UserError, match="being recorded already"):
            recordings.start(session)
        await caller.link.send(spoken(1.5))
        await caller.link.send(json.dumps({"type": "end"}))
        await caller.receive(finished)
        assert recordings.stop(session) == films[0]
        with pytest.raises(UserError, match="recordings are not offered"):
            Recordings(None).start(session)
        films.append(recordings.start(session))  # the session's end ends this one

    call(server, talk, start={"rate": RATE})
    assert films[0].parent == tmp_path
    assert films[0].name.startswith("actor-")
    with import_av().open(str(films[0])) as container:
        pictures = list(container.decode(video=0))
        assert len(pictures) >= 36
        assert (pictures[0].width, pictures[0].height) == (server.hub.player("actor").shape[1],) * 2
    with import_av().open(str(films[0])) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert np.abs(sound).max() > 0.1
    with pytest.raises(UserError, match="is no folder"):
        Recordings(tmp_path / "nowhere")


def test_paths_lead_nowhere_else(server: Running) -> None:
    for path in (
        "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/v1/sessions/../../passwd", "/nothing",
    ):  # fmt: skip
        status, body, _ = server.ask("GET", path)
        assert status == 404
        assert b"import" not in body


def test_the_page_needs_nothing_from_elsewhere(server: Running) -> None:
    status, body, headers = server.ask("GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    text = body.decode()
    assert "http://" not in text
    assert "https://" not in text
    assert "<script>" not in text, "inline scripts are forbidden by the policy"
    for name in ("client.js", "client.css", "player.js", "sound-worklet.js"):
        assert server.ask("GET", f"/static/{name}")[0] == 200, name


def test_health_and_metrics(server: Running) -> None:
    assert server.ask("GET", "/healthz")[:2] == (200, b"ok")
    status, body, headers = server.ask("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    values = {
        line.split()[0]: float(line.split()[1]) for line in body.decode().splitlines() if not line.startswith("#")
    }
    assert values["avatar_sessions"] == 0
    assert values["avatar_sessions_capacity"] == 3
    assert 'avatar_frame_seconds{quantile="0.99"}' in values
    assert server.json("GET", "/v1/avatars") == (200, {"avatars": [{"name": "actor", "height": 128, "width": 128}]})


def test_tokens_and_other_sites(player: Player, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(TOKEN)
    file.chmod(0o600)
    network = Network(token_file=file, origins=("https://example.org",))
    for running in run_server(Hub({"actor": player}, label=Label(), sessions=1), network):
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert running.ask("GET", "/v1/avatars")[0] == 401
        assert running.ask("GET", "/metrics")[0] == 401
        assert running.ask("GET", "/healthz")[0] == running.ask("GET", "/")[0] == 200
        assert running.ask("GET", "/v1/avatars", headers=bearer)[0] == 200
        assert running.ask("GET", "/v1/avatars", headers=bearer | {"Host": "evil.example"})[0] == 400
        assert running.ask("POST", "/v1/sessions", "{}", bearer | {"Origin": "https://evil.example"})[0] == 403
        status, _, headers = running.ask("GET", "/v1/avatars", headers=bearer | {"Origin": "https://example.org"})
        assert (status, headers["access-control-allow-origin"]) == (200, "https://example.org")

        async def join(protocols: list[str], origin: str | None, port: int = running.port) -> int:
            try:
                async with connect(f"ws://127.0.0.1:{port}/v1/live", subprotocols=protocols, origin=origin):
                    return 101
            except websockets.InvalidStatus as refused:
                return refused.response.status_code

        assert asyncio.run(join(["avatar.v1"], None)) == 401
        assert asyncio.run(join(["avatar.v1", "bearer.wrong-token-of-24-chars"], None)) == 401
        assert asyncio.run(join(["avatar.v1", f"bearer.{TOKEN}"], "https://evil.example")) == 403
        assert asyncio.run(join(["avatar.v1", f"bearer.{TOKEN}"], None)) == 101


def test_who_may_reach_a_server(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --token-file"):
        Network(host="0.0.0.0").guard()
    with pytest.raises(UserError, match="belong together"):
        Network(certificate=tmp_path / "c.pem").guard()
    with pytest.raises(UserError, match="is no origin"):
        Network(origins=("example.org/page",)).guard()
    with pytest.raises(UserError, match="rename one"):
        unique_names([Path("a/me.avatar"), Path("b/me.avatar")])
    assert Network(names=("Live.Example.org",)).guard().hosts[-1] == "live.example.org"


def test_sessions_end_by_themselves(player: Player) -> None:
    hub = Hub({"actor": player}, label=Label(), sessions=2, idle_seconds=0.0)
    from avatar.serve.hub import Wish

    session = hub.open(Wish())
    session.unwatched -= 31
    hub.expire()
    assert not hub.sessions
    assert "nobody watched" in session.closed
    hub.close(session, "again")
    assert "nobody watched" in session.closed


def test_encoders_give_key_frames_when_asked() -> None:
    encoder, picture = VideoEncoder("vp8", 64, 64), np.random.default_rng(0).integers(16, 235, (96, 64), np.uint8)
    keys = []
    for index in range(6):
        if index == 4:
            encoder.request_key()
        keys.append(encoder.encode(picture, index).key)
    assert keys == [True, False, False, False, True, False]


def test_the_schema_in_the_docs_is_the_protocols() -> None:
    written = json.loads((Path(__file__).parent.parent / "docs" / "live.schema.json").read_text())
    assert written == schema()
    assert read_message('{"type": "start"}').type == "start"
