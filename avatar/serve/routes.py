"""The HTTP routes of version 1: avatars, sessions, health, metrics, and the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio.to_thread
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from avatar.core.files import UserError
from avatar.motion.driver import FPS
from avatar.play.shared_drawing import Setting
from avatar.serve.guard import error
from avatar.serve.hub import Hub, RefusedError, Session, Wish
from avatar.serve.live_avatar import MOST_SECONDS
from avatar.serve.metrics import CONTENT_TYPE, metrics_text
from avatar.serve.protocol import ControlFields, SceneFields
from avatar.serve.say import Speaker, Text
from avatar.serve.websocket import Conversation, act, read_pcm, setting_of

STATIC = Path(str(files("avatar.serve") / "static"))
VIEWER = Path(str(files("avatar") / "assets" / "viewer"))

Handler = Callable[[Request], Awaitable[Response]]
BodyType = TypeVar("BodyType", bound=BaseModel)


class NewSession(SceneFields):
    """Body of `POST /v1/sessions`."""

    avatar: str = Field("", max_length=200)
    rate: Literal[16000, 24000, 48000] = 24000
    live: bool = False

    def wish(self) -> Wish:
        """What it asks for."""
        return Wish(self.avatar, self.rate, self.live, Setting(**setting_of(self)))


def hub_of(request: Request | WebSocket) -> Hub:
    """The hub of the application that serves a request."""
    hub: Hub = request.app.state.hub
    return hub


def speaker_of(request: Request) -> Speaker:
    """The voices of the application that serves a request."""
    speaker: Speaker = request.app.state.speaker
    return speaker


def answering(handler: Handler) -> Handler:
    """The same handler; what it refuses, and what is wrong with a request, are answered with a status and a line."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except RefusedError as refused:
            response = error(refused.status, refused.reason)
            if refused.status == 503:
                response.headers["Retry-After"] = "10"
            return response
        except UserError as wrong:
            return error(400, str(wrong))

    return answer


async def read_body(request: Request, model: type[BodyType]) -> BodyType:
    """A JSON body. Raises: RefusedError that names the field."""
    try:
        return model.model_validate_json(await request.body() or b"{}")
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RefusedError(400, f"{field + ': ' if field else ''}{first['msg']}") from wrong


def describe(session: Session) -> dict[str, Any]:
    """A session, for its client."""
    height, width = session.shape
    return {
        "session": session.id,
        "avatar": session.avatar,
        "width": width,
        "height": height,
        "fps": FPS,
        "rate": session.live.rate,
        "speaking": session.live.speaking,
        "position": round(session.live.position, 3),
        "buffered": round(session.live.buffered, 3),
    }


async def page(request: Request) -> Response:
    """The client page."""
    return FileResponse(STATIC / "index.html")


async def health(request: Request) -> Response:
    """Whether sessions get frames."""
    hub = hub_of(request)
    well = not (hub.engine.failed or hub.draining)
    return PlainTextResponse("ok" if well else "draining" if hub.draining else "failed", 200 if well else 503)


async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(metrics_text(hub_of(request)), media_type=CONTENT_TYPE)


async def avatars(request: Request) -> Response:
    """Who can be asked for."""
    hub = hub_of(request)
    sizes = {name: hub.player(name).shape for name in hub.avatars}
    return JSONResponse({"avatars": [{"name": name, "height": h, "width": w} for name, (h, w) in sizes.items()]})


async def drawing(request: Request) -> Response:
    """What draws an avatar, for clients that do."""
    data = await anyio.to_thread.run_sync(hub_of(request).drawing, request.path_params["name"])
    return Response(data, media_type="application/octet-stream")


async def open_session(request: Request) -> Response:
    """A new session, whose viewer comes by WHEP within half a minute."""
    wish = (await read_body(request, NewSession)).wish()
    session = await anyio.to_thread.run_sync(hub_of(request).open, wish)
    return JSONResponse(describe(session), 201, {"Location": f"/v1/sessions/{session.id}"})


async def show_session(request: Request) -> Response:
    return JSONResponse(describe(_session(request)))


async def close_session(request: Request) -> Response:
    hub_of(request).close(_session(request), "its client ended it")
    return Response(status_code=204)


async def push_sound(request: Request) -> Response:
    """PCM16 of the session's rate, mono, little-endian."""
    session, samples = _session(request), read_pcm(await request.body())
    if session.live.buffered + len(samples) / session.live.rate > MOST_SECONDS:
        response = error(429, f"more than {MOST_SECONDS:.0f} s of sound would wait; send it as it is played")
        response.headers["Retry-After"] = str(max(1, round(len(samples) / session.live.rate)))
        return response
    session.push(samples)
    return JSONResponse(describe(session), 202)


async def end_segment(request: Request) -> Response:
    session = _session(request)
    session.live.end()
    return JSONResponse(describe(session))


async def clear_sound(request: Request) -> Response:
    session = _session(request)
    session.live.clear()
    return JSONResponse(describe(session))


async def control(request: Request) -> Response:
    session = _session(request)
    act(session, await read_body(request, ControlFields))
    return JSONResponse(describe(session))


async def say(request: Request) -> Response:
    """Speak a text; 501 where its voice is not installed."""
    session, text = _session(request), await read_body(request, Text)
    await anyio.to_thread.run_sync(speaker_of(request).say, session, text)
    return JSONResponse(describe(session), 202)


def _session(request: Request) -> Session:
    return hub_of(request).find(request.path_params["session"])


async def live(socket: WebSocket) -> None:
    """The WebSocket."""
    await Conversation(hub_of(socket), socket).run()


def routes() -> list[BaseRoute]:
    """All routes of version 1."""
    one = "/v1/sessions/{session}"
    table: list[tuple[str, Handler, str]] = [
        ("/", page, "GET"),
        ("/healthz", health, "GET"),
        ("/metrics", metrics, "GET"),
        ("/v1/avatars", avatars, "GET"),
        ("/v1/avatars/{name}/drawing", drawing, "GET"),
        ("/v1/sessions", open_session, "POST"),
        (one, show_session, "GET"),
        (one, close_session, "DELETE"),
        (f"{one}/audio", push_sound, "POST"),
        (f"{one}/end", end_segment, "POST"),
        (f"{one}/clear", clear_sound, "POST"),
        (f"{one}/control", control, "POST"),
        (f"{one}/say", say, "POST"),
    ]
    return [
        *(Route(path, answering(handler), methods=[method]) for path, handler, method in table),
        WebSocketRoute("/v1/live", live),
        Mount("/static", StaticFiles(directory=STATIC)),
        Mount("/viewer", StaticFiles(directory=VIEWER)),
    ]
