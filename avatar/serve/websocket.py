"""The WebSocket `/v1/live`: sound and events in; picture, sound and events out (`avatar.serve.protocol`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from avatar.core.files import UserError
from avatar.core.motion_stream import frame_message
from avatar.play.shared_drawing import Setting
from avatar.serve.encoders import VideoEncoder, media_source_name, webcodecs_name
from avatar.serve.engine import Frame
from avatar.serve.fragments import FragmentedMp4
from avatar.serve.hub import Hub, RefusedError, Session, Wish
from avatar.serve.live_avatar import MOST_SECONDS, SAMPLE, Event
from avatar.serve.protocol import (
    MP4,
    OWN,
    SOUND,
    SUBPROTOCOL,
    VIDEO,
    Buffer,
    Clear,
    ClientMessage,
    Closing,
    ControlFields,
    End,
    Failure,
    Key,
    Ping,
    PlaybackFinished,
    PlaybackStarted,
    Pong,
    Ready,
    SceneFields,
    ServerMessage,
    Start,
    Stats,
    pack,
    read_message,
)

START_SECONDS = 10.0  # that a client has for its first message
ROOM_SECONDS = 0.05  # between two looks whether there is room for more sound
MOST_VIDEO = 12  # frames that wait to be sent; beyond, pictures are left out until the client has caught up
FEW_VIDEO = 2
MOST_FRAMES = 250  # of sound that wait: ten seconds; then the session ends
POLICY, TRY_LATER, TOO_SLOW, GOING_AWAY = 1008, 1013, 4008, 1001  # close codes

Outgoing = bytes | ServerMessage | None
Encoder = VideoEncoder | FragmentedMp4


class SocketViewer:
    """Codes a session's frames and puts them into a queue, which the socket's own task empties."""

    def __init__(self, session: Session, codec: Encoder | None, send: Callable[[list[Outgoing]], None]) -> None:
        """send: puts messages into the queue, from any thread.

        codec: None where frames are shown elsewhere, or drawn by the client, which gets their motion then.
        """
        self._session, self._encoder, self._send = session, codec, send
        self._catches_up = False
        self.waiting = 0  # messages in the queue

    def request_key(self) -> None:
        """Make the next frame one that needs no other."""
        if self._encoder:
            self._encoder.request_key()

    def show(self, frame: Frame) -> None:
        """Send the frame: a segment starts before its first frame's sound, and finishes after its last one's."""
        events = {kind: list[Outgoing]() for kind in ("playback_started", "playback_finished")}
        for event in frame.played.events:
            events[event.kind].append(_event(frame, event))
        media = self._media(frame, self._encoder) if self._encoder else []
        if not self._session.client.drawn:
            played, client = frame.played, self._session.client
            light = client.drawing.light_numbers(played.motion, client.view)
            media = [frame_message(played.motion, played.sound, played.index, light)]
        if messages := [*events["playback_started"], *media, *events["playback_finished"]]:
            self._send(messages)
        if self.waiting > 2 * MOST_FRAMES:
            self.close("the client reads too slowly")

    def _media(self, frame: Frame, encoder: Encoder) -> list[Outgoing]:
        index, sound, messages = frame.played.index, frame.played.sound, list[Outgoing]()
        if self._catches_up and self.waiting <= 2 * FEW_VIDEO:
            self._catches_up = False
            encoder.request_key()
        self._catches_up = self._catches_up or self.waiting > 2 * MOST_VIDEO
        picture = None if self._catches_up else frame.picture
        if isinstance(encoder, FragmentedMp4):
            data = encoder.encode(picture, sound, index)
            return [pack(MP4, index, data)] if data else []
        if picture is not None:
            chunk = encoder.encode(picture, index)
            messages.append(pack(VIDEO, index, chunk.data, key=chunk.key))
        return [*messages, pack(SOUND, index, sound.astype(SAMPLE).tobytes())]

    def close(self, reason: str) -> None:
        self._send([Closing(reason=reason), None])


def _encoder(start: Start, height: int, width: int) -> Encoder | None:
    """What codes for the transport that a client wants through its socket."""
    if start.transport == "mp4":
        return FragmentedMp4(height, width, start.rate)
    return VideoEncoder(start.codec, height, width) if start.transport == "media" else None


def _event(frame: Frame, event: Event) -> Outgoing:
    if event.kind == "playback_started":
        return PlaybackStarted(segment=event.segment, frame=frame.played.index)
    position = round(event.position, 4)
    return PlaybackFinished(
        segment=event.segment, frame=frame.played.index, position=position, interrupted=event.interrupted
    )


class Conversation:
    """One socket from its first message to its end."""

    def __init__(self, hub: Hub, socket: WebSocket) -> None:
        self._hub, self._socket = hub, socket
        self._queue: asyncio.Queue[Outgoing] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._viewer: SocketViewer | None = None

    async def run(self) -> None:
        """Serve the socket until either side ends it."""
        offered = self._socket.scope.get("subprotocols", [])
        await self._socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        try:
            start = await self._first_message()
            session = await asyncio.to_thread(self._hub.open, _wish(start))
        except (UserError, RefusedError) as error:
            await self._refuse(error)
            return
        except WebSocketDisconnect:
            return
        reason = "the client left"
        try:
            await self._serve(session, start)
        except RefusedError as error:
            reason = error.reason
        finally:
            self._hub.close(session, session.closed or reason)

    async def _first_message(self) -> Start:
        try:
            message = read_message(await asyncio.wait_for(self._socket.receive_text(), START_SECONDS))
        except (TimeoutError, KeyError) as error:  # KeyError: a binary message
            raise UserError("message: the first one must be `start`; see live.schema.json") from error
        if not isinstance(message, Start):
            raise UserError("message: the first one must be `start`; see live.schema.json")
        return message

    async def _refuse(self, error: UserError | RefusedError) -> None:
        try:
            await self._socket.send_text(Failure(error=str(error)).model_dump_json())
            later = isinstance(error, RefusedError) and error.status == 503
            await self._socket.close(TRY_LATER if later else POLICY, str(error)[:120])
        except (WebSocketDisconnect, RuntimeError):
            pass  # it has left

    async def _serve(self, session: Session, start: Start) -> None:
        height, width = session.shape
        encoder = _encoder(start, height, width)
        viewer = self._viewer = SocketViewer(session, encoder, self._send)
        side, name = max(height, width), session.avatar
        codec = media_source_name(side) if start.transport == "mp4" else webcodecs_name(start.codec, side)
        drawing = "" if session.client.drawn else f"v1/avatars/{quote(name)}/drawing"
        ready = Ready(
            session=session.id, avatar=name, width=width, height=height, rate=start.rate, codec=codec, drawing=drawing
        )
        self._queue.put_nowait(ready)
        if start.transport != "webrtc":
            self._hub.attach(session, viewer)
        else:
            session.observers.append(viewer.show)
            session.endings.append(viewer.close)
        tasks = [asyncio.create_task(self._receive(session)), asyncio.create_task(self._empty())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (WebSocketDisconnect, RuntimeError):
            pass  # the socket is gone: of RuntimeError, Starlette's way to say so while sending
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._hub.detach(session, viewer)
            self._viewer = None  # which knows this conversation, too

    def _send(self, messages: list[Outgoing]) -> None:
        """From any thread."""
        if self._viewer:
            self._viewer.waiting += len(messages)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, messages)

    def _put(self, messages: list[Outgoing]) -> None:
        for message in messages:
            self._queue.put_nowait(message)

    async def _empty(self) -> None:
        """Send what waits."""
        viewer = self._viewer
        assert viewer is not None
        while (message := await self._queue.get()) is not None:
            if isinstance(message, bytes):
                await self._socket.send_bytes(message)
            else:
                await self._socket.send_text(message.model_dump_json())
            viewer.waiting = self._queue.qsize()
        await self._socket.close(GOING_AWAY)

    async def _receive(self, session: Session) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                if (data := message.get("bytes")) is not None:
                    await self._sound(session, data)
                else:
                    self._act(session, read_message(message["text"]))
            except UserError as error:
                self._send([Failure(error=str(error))])

    async def _sound(self, session: Session, data: bytes) -> None:
        """Push sound; while too much waits, nothing more is read, so that the client has to wait."""
        samples = read_pcm(data)
        if not _has_room(session, len(samples)):
            self._send([Buffer(seconds=round(session.live.buffered, 2), full=True)])
            while not _has_room(session, len(samples)) and not session.closed:
                await asyncio.sleep(ROOM_SECONDS)
            self._send([Buffer(seconds=round(session.live.buffered, 2), full=False)])
        session.push(samples)

    def _act(self, session: Session, message: ClientMessage) -> None:
        """Do what an event asks for. Raises: UserError."""
        if isinstance(message, Start):
            raise UserError("message: the session has started; open another socket")
        if isinstance(message, Ping):
            self._send([Pong(id=message.id)])
        elif isinstance(message, Stats):
            session.latency_ms, session.drift_ms = message.latency_ms, message.drift_ms
        elif isinstance(message, Key):
            assert self._viewer is not None
            self._viewer.request_key()
        else:
            act(self._hub.find(session.id), message)


def act(session: Session, message: End | Clear | ControlFields) -> None:
    """Do to a session what an event asks for, from whichever transport. Raises: UserError."""
    if isinstance(message, End):
        session.live.end()
    elif isinstance(message, Clear):
        session.live.clear()
    else:
        session.live.control(dict(message.controls)) if message.controls else None
        if wanted := setting_of(message):
            session.change(**wanted)
        if message.state is not None:
            session.live.attend(message.state == "listening")


def read_pcm(data: bytes) -> np.ndarray:
    """Samples [n] int16 of little-endian PCM16, mono. Raises: UserError for half a sample."""
    if len(data) % SAMPLE.itemsize:
        raise UserError(f"sound: {len(data)} bytes are no whole number of 16-bit samples")
    return np.frombuffer(data, SAMPLE)


def _has_room(session: Session, samples: int) -> bool:
    return session.live.buffered + samples / session.live.rate <= MOST_SECONDS


def _wish(start: Start) -> Wish:
    drawn = start.transport != "motion"
    return Wish(start.avatar, start.rate, start.live, Setting(**setting_of(start)), drawn)


def setting_of(message: SceneFields) -> dict[str, Any]:
    """The values of `Setting` that a message names."""
    values: dict[str, Any] = message.model_dump(include={"light", "grade"}, exclude_none=True)
    if (text := message.background) is not None:
        colour = None if text == OWN else tuple(int(text[at : at + 2], 16) for at in (1, 3, 5))
        values["colour"] = colour
    return values
