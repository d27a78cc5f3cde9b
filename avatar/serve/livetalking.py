"""The routes of LiveTalking (Apache-2.0, github.com/lipku/LiveTalking), so that its clients work with this server.

Answers are `{code, msg, data}` with status 200 even for errors, as its clients expect. `chat` is refused, since no
language model is behind it; recordings are made where the server has a folder for them.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio.to_thread
import numpy as np
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from avatar.core.files import UserError
from avatar.serve.encoders import import_av
from avatar.serve.engine import Frame
from avatar.serve.hub import RefusedError, Session, Wish
from avatar.serve.ice import Ice
from avatar.serve.live_avatar import MOST_SECONDS
from avatar.serve.recording import Recordings
from avatar.serve.routes import hub_of, speaker_of
from avatar.serve.say import Text
from avatar.serve.webrtc import connect

RATE = 24000  # Hz of its sessions
FORMATS = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3", b"\xff\xfb": "mp3", b"\xff\xf3": "mp3"}
"""Sound files that are taken, by their first bytes; other demuxers of FFmpeg are left alone."""

Handler = Callable[[Request], Awaitable[Any]]


def livetalking_routes(ice: Ice) -> list[BaseRoute]:
    """The routes."""

    async def offer(request: Request) -> Any:
        asked, hub = await _json(request), hub_of(request)
        session = await anyio.to_thread.run_sync(hub.open, Wish(str(asked.get("avatar") or ""), RATE))
        try:
            answer = await connect(hub, session, ice, str(asked.get("sdp", "")))
        except (UserError, RefusedError):
            hub.close(session, "its offer was not answered")
            raise
        return JSONResponse({"sdp": answer, "type": "answer", "sessionid": session.id})

    return [
        Route("/offer", _enveloped(offer), methods=["POST"]),
        Route("/human", _enveloped(_human), methods=["POST"]),
        Route("/humanaudio", _enveloped(_human_audio), methods=["POST"]),
        Route("/interrupt_talk", _enveloped(_interrupt), methods=["POST"]),
        Route("/is_speaking", _enveloped(_is_speaking), methods=["POST"]),
        Route("/record", _enveloped(_record), methods=["POST"]),
        Route("/sse", _events, methods=["GET"]),
    ]


def _enveloped(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            found = await handler(request)
        except (UserError, RefusedError) as error:
            return JSONResponse({"code": -1, "msg": str(error)})
        return found if isinstance(found, Response) else JSONResponse({"code": 0, "msg": "ok", "data": found})

    return answer


async def _json(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.body())
    except ValueError as error:
        raise UserError("the body is no JSON") from error
    if not isinstance(found, dict):
        raise UserError("the body is no JSON object")
    return found


async def _asked(request: Request) -> tuple[dict[str, Any], Session]:
    asked = await _json(request)
    return asked, hub_of(request).find(str(asked.get("sessionid", "")))


async def _human(request: Request) -> Any:
    asked, session = await _asked(request)
    if asked.get("interrupt"):
        session.live.clear()
    if asked.get("type", "echo") != "echo":
        raise UserError("type: this server answers nothing itself; send what is to be said as `echo`")
    try:
        text = Text(text=str(asked.get("text", "")))
    except ValidationError as error:
        raise UserError("text: is missing, or longer than 5000 letters") from error
    await anyio.to_thread.run_sync(speaker_of(request).say, session, text)
    return None


async def _human_audio(request: Request) -> Any:
    form = await request.form(max_files=1, max_fields=10)
    session, file = hub_of(request).find(str(form.get("sessionid", ""))), form.get("file")
    if file is None or isinstance(file, str):
        raise UserError("file: is missing; send a sound file as multipart")
    samples = await anyio.to_thread.run_sync(decode_sound, await file.read(), session.live.rate)
    session.push(samples)
    session.live.end()
    return None


async def _interrupt(request: Request) -> Any:
    _, session = await _asked(request)
    session.live.clear()
    return None


async def _is_speaking(request: Request) -> Any:
    _, session = await _asked(request)
    return session.live.speaking


async def _record(request: Request) -> Any:
    asked, session = await _asked(request)
    recordings: Recordings = request.app.state.recordings
    actions = {"start_record": recordings.start, "end_record": recordings.stop}
    if (action := actions.get(asked.get("type", ""))) is None:
        raise UserError("type: must be start_record or end_record")
    return (await anyio.to_thread.run_sync(action, session)).name


async def _events(request: Request) -> Response:
    try:
        session = hub_of(request).find(request.query_params.get("sessionid", ""))
    except RefusedError as error:
        return JSONResponse({"code": -1, "msg": error.reason})
    return StreamingResponse(_statuses(session), media_type="text/event-stream")


async def _statuses(session: Session) -> AsyncIterator[str]:
    """Events of a session, until it ends."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def observe(frame: Frame) -> None:
        for event in frame.played.events:
            status = "start" if event.kind == "playback_started" else "end"
            loop.call_soon_threadsafe(queue.put_nowait, status)

    def end(_: str) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, None)

    session.observers.append(observe)
    session.endings.append(end)
    try:
        while (status := await queue.get()) is not None:
            yield f"data: {json.dumps({'status': status})}\n\n"
    finally:
        session.observers.remove(observe)
        session.endings.remove(end)


def decode_sound(data: bytes, rate: int) -> np.ndarray:
    """Samples [n] int16 of a sound file's bytes, mono. Raises: UserError for what is none, or too long."""
    av = import_av()
    kind = next((kind for start, kind in FORMATS.items() if data.startswith(start)), None)
    if kind is None:
        raise UserError("file: is no WAV, FLAC, Ogg or MP3")
    parts, count = [], 0
    try:
        with av.open(io.BytesIO(data), format=kind) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            for frame in container.decode(audio=0):
                for piece in resampler.resample(frame):
                    parts.append(piece.to_ndarray()[0])
                    count += len(parts[-1])
                if count > MOST_SECONDS * rate:
                    raise UserError(f"file: is longer than {MOST_SECONDS:.0f} s")
    except (av.FFmpegError, IndexError) as error:
        raise UserError("file: holds no sound that can be decoded") from error
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)
