"""Sessions over WebRTC: two aiortc peers, WHEP and LiveTalking's routes."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiortc")

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.serve.app import Network
from avatar.serve.hub import Hub
from avatar.serve.ice import IceServer, limit_ports, read_ice
from avatar.serve.livetalking import decode_sound
from tests.test_serve import RATE, Running, none_left, run_server, spoken

__all__ = ["none_left"]  # a fixture


@pytest.fixture(scope="module")
def server(avatar: Avatar) -> Iterator[Running]:
    hub = Hub({"actor": Player(avatar, look=Look(size=128))}, label=Label("eu"), sessions=2)
    yield from run_server(hub, Network())


@asynccontextmanager
async def viewer() -> AsyncIterator[tuple[RTCPeerConnection, dict[str, MediaStreamTrack]]]:
    """A peer that asks for picture and sound."""
    peer, tracks = RTCPeerConnection(), dict[str, MediaStreamTrack]()
    peer.on("track", lambda track: tracks.__setitem__(track.kind, track))
    for kind in ("video", "audio"):
        peer.addTransceiver(kind, direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    try:
        yield peer, tracks
    finally:
        await peer.close()


async def ask(server: Running, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    return await asyncio.to_thread(server.ask, method, path, body, headers)


async def loudness_of(track: MediaStreamTrack, seconds: float) -> list[float]:
    """Root mean squares of a track's sound, 20 ms each."""
    found = []
    for _ in range(round(seconds * 50)):
        frame = await asyncio.wait_for(track.recv(), 5)
        found.append(float(np.sqrt(np.square(frame.to_ndarray().astype(float)).mean())))
    return found


def test_a_peer_sees_and_hears_a_session(server: Running) -> None:
    async def run() -> None:
        _, made = await asyncio.to_thread(server.json, "POST", "/v1/sessions", {"rate": RATE})
        place = made["session"]
        async with viewer() as (peer, tracks):
            sdp = {"Content-Type": "application/sdp"}
            status, answer, headers = await ask(server, "POST", f"/v1/whep/{place}", peer.localDescription.sdp, sdp)
            assert status == 201
            assert headers["content-type"].startswith("application/sdp")
            assert answer.index(b"VP8/90000") < answer.index(b"H264/90000")
            await peer.setRemoteDescription(RTCSessionDescription(answer.decode(), "answer"))
            again = await ask(server, "POST", f"/v1/whep/{place}", peer.localDescription.sdp, sdp)
            assert again[0] == 409
            await ask(server, "POST", f"/v1/sessions/{place}/audio", spoken(3.0))
            sound = asyncio.create_task(loudness_of(tracks["audio"], 3.0))
            pictures = [await asyncio.wait_for(tracks["video"].recv(), 10) for _ in range(30)]
            assert max(await sound) > 300
            assert (pictures[0].width, pictures[0].height) == (128, 128)
            steps = np.diff([picture.pts for picture in pictures])
            assert set(steps % 3600) == {0}, "40 ms, or a whole number of them"
            moved = [picture.to_ndarray(format="gray").astype(float) for picture in pictures]
            assert np.abs(np.diff(np.stack(moved), axis=0)).mean() > 0.01
            assert (await ask(server, "DELETE", headers["location"], None))[0] == 204
        assert (await asyncio.to_thread(server.json, "GET", f"/v1/sessions/{place}"))[0] == 404

    asyncio.run(run())


def test_a_peer_that_leaves_ends_its_session(server: Running) -> None:
    async def run() -> None:
        async with viewer() as (peer, tracks):
            status, body, _ = await ask(
                server, "POST", "/offer", json.dumps({"sdp": peer.localDescription.sdp, "type": "offer"})
            )
            answer = json.loads(body)
            assert (status, answer["type"]) == (200, "answer")
            await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            await asyncio.wait_for(tracks["video"].recv(), 10)
            assert len(server.hub.sessions) == 1
        for _ in range(100):
            if not server.hub.sessions:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("the session is still open")

    asyncio.run(run())


def wav(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(pcm)
    return file.getvalue()


def test_the_routes_of_livetalking(server: Running) -> None:
    async def run() -> None:
        async with viewer() as (peer, tracks):
            asked = json.dumps({"sdp": peer.localDescription.sdp, "type": "offer", "avatar": "actor"})
            answer = json.loads((await ask(server, "POST", "/offer", asked))[1])
            await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            one = {"sessionid": answer["sessionid"]}

            async def post(path: str, **values: Any) -> dict[str, Any]:
                status, body, _ = await ask(server, "POST", path, json.dumps(one | values))
                assert status == 200
                found: dict[str, Any] = json.loads(body)
                return found

            assert await post("/is_speaking") == {"code": 0, "msg": "ok", "data": False}
            edge = b"--edge\r\nContent-Disposition: form-data; name="
            body = edge + b'"sessionid"\r\n\r\n' + answer["sessionid"].encode() + b"\r\n" + edge
            body += b'"file"; filename="a.wav"\r\n\r\n' + wav(spoken(4.0)) + b"\r\n--edge--\r\n"
            multipart = {"Content-Type": "multipart/form-data; boundary=edge"}
            assert json.loads((await ask(server, "POST", "/humanaudio", body, multipart))[1])["code"] == 0
            await asyncio.wait_for(tracks["video"].recv(), 10)
            while not (await post("/is_speaking"))["data"]:
                await asyncio.sleep(0.05)
            assert (await post("/interrupt_talk"))["code"] == 0
            await asyncio.sleep(0.2)
            assert not (await post("/is_speaking"))["data"]
            for path, values in (
                ("/human", {"text": "hello", "type": "chat"}), ("/human", {"type": "echo"}),
                ("/record", {"type": "start_record"}), ("/record", {"type": "end_record"}), ("/record", {}),
                ("/is_speaking", {"sessionid": "nobody"}),
            ):  # fmt: skip
                wrong = await post(path, **values)
                assert wrong["code"] == -1
                assert wrong["msg"]
            session = server.hub.find(answer["sessionid"])
            server.hub.close(session, "done")

    asyncio.run(run())


@pytest.mark.parametrize("offer", ["", "v=0", "x" * 200_000, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"])
def test_offers_that_are_none(server: Running, offer: str) -> None:
    sdp = {"Content-Type": "application/sdp"}
    _, made = server.json("POST", "/v1/sessions", {})
    status, body, _ = server.ask("POST", f"/v1/whep/{made['session']}", offer, sdp)
    assert status == 400
    assert b"offer" in body
    assert server.ask("POST", f"/v1/whep/{made['session']}", offer)[0] == 415
    assert server.ask("POST", "/v1/whep/nobody", offer, sdp)[0] == 404
    assert json.loads(server.ask("POST", "/offer", json.dumps({"sdp": offer, "type": "offer"}))[1])["code"] == -1
    assert server.ask("DELETE", f"/v1/sessions/{made['session']}")[0] == 204


def test_sound_files_that_are_none() -> None:
    pcm = spoken(0.5)
    assert np.array_equal(decode_sound(wav(pcm), RATE), np.frombuffer(pcm, "<i2"))
    for wrong in (b"", b"#EXTM3U\nfile:///etc/passwd", b"RIFF" + bytes(100), b"OggS" + bytes(100), b"ID3"):
        with pytest.raises(UserError, match="file: "):
            decode_sound(wrong, RATE)
    with pytest.raises(UserError, match="longer than 60 s"):
        decode_sound(wav(bytes(2 * RATE * 61)), RATE)


def test_ice_servers_and_ports(tmp_path: Path) -> None:
    file = tmp_path / "ice.json"
    file.write_text('{"iceServers": [{"urls": ["turn:turn.example.org"], "secret": "north"}]}')
    ice = read_ice(file, "40000-40003")
    (given,) = ice.for_client()["iceServers"]
    assert set(given) == {"urls", "username", "credential"}, "the secret stays here"
    # echo -n 1000021600 | openssl dgst -sha1 -hmac north -binary | base64
    assert IceServer(urls=["turn:x"], secret="north").for_client(1_000_000_000.0)["username"] == "1000021600"
    file.write_text('{"servers": []}')
    for path, ports in ((file, ""), (None, "5-6"), (None, "40001-40000"), (None, "all")):
        with pytest.raises(UserError, match="for example"):
            read_ice(path, ports)

    async def bind() -> list[int]:
        limit_ports(asyncio.get_running_loop(), range(47113, 47116))
        bound = []
        for _ in range(3):
            made = await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
            bound.append(made[0].get_extra_info("sockname")[1])
        with pytest.raises(OSError, match="are in use"):
            await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
        return bound

    assert sorted(asyncio.run(bind())) == [47113, 47114, 47115]
