"""The server of the studio: its routes and the page's files, behind the guard."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import importlib.util
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from importlib.resources import files
from pathlib import Path
from types import FrameType

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from avatar.core.files import UserError
from avatar.serve.guard import LOOPBACK_NAMES, PAGE_POLICY, Guard, digest_token, is_loopback, protect
from avatar.studio import routes, routes_decks, routes_queue
from avatar.studio.errors import RefusalError
from avatar.studio.previews import prepare_previews
from avatar.studio.studio import Studio
from avatar.studio.uploads import PIECE

COOKIE = "studio"
LIVE_PACKAGES = ("websockets", "aiortc", "av")  # of the extra `serve`
SLACK = 100_000  # bytes that a request may have beside a piece of a file
IDLE_LOOK_SECONDS = 30.0
PAGE = Path(str(files("avatar.studio") / "page"))
PAGE_HEADERS = {
    # frames are reports, and live pages on ports of this machine that nobody knows before; a frame gets the microphone
    # only where its element says so, too, which the live page's alone does
    "Content-Security-Policy": PAGE_POLICY + "; frame-src 'self' http://127.0.0.1:*",
    "Permissions-Policy": "camera=(self), microphone=*, geolocation=()",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Address:
    """Where the studio is served."""

    host: str = "127.0.0.1"
    port: int = 8770  # 0: one that is free
    names: tuple[str, ...] = ()  # that browsers call it by, beside the host itself
    tokens: tuple[bytes, ...] = ()  # SHA-256 of each; none: only on the loopback interface


def make_app(studio: Studio, address: Address) -> ASGIApp:
    """The application. Raises: UserError when others could reach it without a token."""
    if not is_loopback(address.host) and not address.tokens:
        raise UserError(f"{address.host}: others can reach it, so that it needs a token; give --token-file")

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        studio.uploads.remove_old()
        studio.runner.start()
        watching = [asyncio.create_task(_end_idle(studio)), asyncio.create_task(prepare_previews(studio))]
        yield
        studio.stopping.set()
        for task in watching:
            task.cancel()
        studio.drawer.stop()
        studio.looker.stop()
        studio.live.stop()
        await asyncio.to_thread(studio.runner.stop)

    app = Starlette(
        routes=[
            *routes_decks.ROUTES,
            *routes.ROUTES,
            *routes_queue.ROUTES,
            Route("/api/session", _sign_in(address), methods=["POST"]),
            Route("/", _index),
            Mount("/page", _Files(directory=PAGE)),
        ],
        exception_handlers={UserError: _refuse, OSError: _fail},
        lifespan=lifespan,
    )
    app.state.studio = studio
    # the live page is one of this machine's loopback interface, which others do not reach
    app.state.talk = is_loopback(address.host) and all(map(importlib.util.find_spec, LIVE_PACKAGES))
    hosts = tuple(dict.fromkeys([*LOOPBACK_NAMES, *_names(address)]))
    guard = Guard(
        hosts=hosts,
        tokens=address.tokens,
        open_paths=frozenset(["/", "/api/session"]),
        open_folders=("/page/",),
        most_bytes=PIECE + SLACK,
    )
    return _with_cookie(protect(app, guard))


def _names(address: Address) -> list[str]:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return [name.lower() for name in (host, *address.names)]


async def _end_idle(studio: Studio) -> None:
    while True:
        await asyncio.sleep(IDLE_LOOK_SECONDS)
        studio.drawer.stop_idle()
        studio.looker.stop_idle()


async def _refuse(request: Request, error: Exception) -> Response:
    """What was refused, as the page gets it; names of files are told as the library has them."""
    if isinstance(error, RefusalError):
        return JSONResponse(error.to_json(), error.status)
    text = " ".join(str(error).split()).replace(f"{routes.studio_of(request).root}/", "")
    return JSONResponse({"error": text, "code": "user", "values": {}}, 400)


async def _fail(request: Request, error: Exception) -> Response:
    text = getattr(error, "strerror", None) or str(error)
    return JSONResponse({"error": f"the disk says: {text}", "code": "disk-says", "values": {"text": text}}, 500)


async def _index(request: Request) -> Response:
    return Response((PAGE / "index.html").read_bytes(), media_type="text/html", headers=PAGE_HEADERS)


class _Files(StaticFiles):
    """The page's files, asked for again each time, so that another version of the package has its own."""

    def file_response(self, *arguments: object, **named: object) -> Response:
        response = super().file_response(*arguments, **named)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response


def _sign_in(address: Address) -> Callable:
    async def sign_in(request: Request) -> Response:
        """A token becomes a cookie that scripts cannot read and other sites do not send."""
        token = str((await routes.form_of(request)).get("token") or "")
        digest = digest_token(token)
        if address.tokens and not any([hmac.compare_digest(digest, one) for one in address.tokens]):
            raise RefusalError("token", "this token is not valid; look at what `avatar studio` printed", 401)
        response = JSONResponse({"needed": bool(address.tokens)})
        if address.tokens:
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure, path="/")
        return response

    return sign_in


def _with_cookie(app: ASGIApp) -> ASGIApp:
    """A request's cookie stands for its token: pictures, films and events have no other way to bring one."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if "authorization" not in headers and (token := _cookie(headers.get("cookie", ""))):
                scope = {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {token}".encode())]}
        await app(scope, receive, send)

    return wrapped


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def serve(studio: Studio, address: Address, started: Callable[[str], None]) -> None:
    """Serve until a signal ends it; started is called with the page's URL. Raises: UserError for a port in use."""
    import uvicorn

    class Server(uvicorn.Server):
        """Lets go of connections that stay open, or wait for a helper, as soon as it is asked to end."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            studio.stopping.set()
            studio.drawer.stop()
            studio.looker.stop()
            super().handle_exit(sig, frame)

    app = make_app(studio, address)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with studio.held(), socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address.host, address.port))
        except OSError as error:
            text = f"port {address.port} of {address.host} cannot be used ({error.strerror}); give another --port"
            raise UserError(text) from error
        port = listening.getsockname()[1]
        shown = f"[{address.host}]" if family == socket.AF_INET6 else address.host
        started(f"http://{shown}:{port}/")
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, server_header=False
        )
        Server(config).run(sockets=[listening])
