"""What stands before every route of a server: whose requests are answered, how large they are, what browsers may do.

`protect` wraps any ASGI application, such as a Starlette one. A server on the loopback interface is reachable by every
page that its user opens, so that requests are judged by more than their address: the Host header (DNS rebinding), the
Origin (cross-site requests, WebSockets included, to which browsers apply no same-origin policy), and a token where one
is set.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avatar.core.files import UserError, check_readable

LEAST_TOKEN = 16  # characters: 96 bits in base64, which nobody guesses over a network
MOST_TOKEN_FILE = 10_000  # bytes
TOKEN_PROTOCOL = "bearer."  # before the token in Sec-WebSocket-Protocol: scripts in browsers can set no other header
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
CORS_SECONDS = "600"  # that a browser need not ask again

NOBODY = "'none'"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; "
    f"frame-ancestors {NOBODY}; base-uri 'none'; form-action 'self'"
)
"""Of pages that load from their own server alone and cannot be framed."""
SECURITY_HEADERS = {
    # painters assemble their loops in the page
    "Content-Security-Policy": PAGE_POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'"),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""Of every answer that does not set them itself."""


@dataclass(frozen=True)
class Guard:
    """Whose requests a server answers."""

    hosts: tuple[str, ...] = LOOPBACK_NAMES  # names that the Host header may have, without port; empty: any
    origins: tuple[str, ...] = ()  # of other sites' pages that may use the server, such as https://example.org
    framed_by: str = ""  # the origin whose pages may show this server's in a frame; empty: nobody's
    tokens: tuple[bytes, ...] = ()  # SHA-256 of each token; empty: none is needed
    open_paths: frozenset[str] = frozenset()  # that need no token, such as the page that asks for it
    open_folders: tuple[str, ...] = ()  # the same of all paths that begin so, such as /static/
    most_bytes: int = 1_000_000  # of a request's body


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to bind to."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def read_tokens(path: Path) -> tuple[bytes, ...]:
    """SHA-256 of each line of a token file. Raises: UserError for one that others can read, or with weak tokens."""
    check_readable(path, "token file")
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise UserError(f"{path}: others can read it; chmod 600 {path}")
    if path.stat().st_size > MOST_TOKEN_FILE:
        raise UserError(f"{path}: is larger than {MOST_TOKEN_FILE} bytes; give one token a line")
    tokens = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    if not tokens or min(map(len, tokens)) < LEAST_TOKEN:
        raise UserError(f"{path}: needs a token of {LEAST_TOKEN} characters or more on each line; openssl rand -hex 24")
    if any(set(token) - _TOKEN_CHARACTERS for token in tokens):
        raise UserError(f"{path}: tokens are of letters, digits and -._~+/= alone; openssl rand -hex 24")
    return tuple(map(digest_token, tokens))


_TOKEN_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")


def digest_token(token: str) -> bytes:
    """SHA-256 of a token: what is compared, so that a comparison's time says nothing about the token."""
    return hashlib.sha256(token.encode()).digest()


def given_token(headers: Headers) -> str:
    """The token of `Authorization: Bearer`, or of the WebSocket protocol `bearer.TOKEN`; empty where there is none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    offered = [one.strip() for one in headers.get("sec-websocket-protocol", "").split(",")]
    return next((one.removeprefix(TOKEN_PROTOCOL) for one in offered if one.startswith(TOKEN_PROTOCOL)), "")


def refusal(guard: Guard, scope: Scope) -> tuple[int, str] | None:
    """Status and reason when a request is refused by its headers; None when it may go on."""
    headers, path = Headers(scope=scope), scope["path"]
    host = headers.get("host", "")
    if guard.hosts and _without_port(host) not in guard.hosts:
        return 400, "the Host header names no host of this server"
    if not _same_site(guard, headers, host):
        return 403, "pages of other sites may not use this server"
    is_open = path in guard.open_paths or path.startswith(guard.open_folders or "\0")
    if guard.tokens and not is_open and scope.get("method") != "OPTIONS":
        digest = digest_token(given_token(headers))
        if not any([hmac.compare_digest(digest, one) for one in guard.tokens]):  # all, so that none is timed
            return 401, "a valid token is needed"
    if int(length if (length := headers.get("content-length", "0")).isdecimal() else "0") > guard.most_bytes:
        return 413, f"the body is larger than {guard.most_bytes} bytes"
    return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _same_site(guard: Guard, headers: Headers, host: str) -> bool:
    origin = headers.get("origin")
    if origin is None:  # a plain client, a navigation, or a picture or script that another site's page loads
        embedded = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
        return not embedded
    return origin in guard.origins or origin.partition("://")[2].lower() == host.lower() != ""


def protect(app: ASGIApp, guard: Guard) -> ASGIApp:
    """The same application behind a guard; it answers Starlette's HTTPException, as Starlette and FastAPI do."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin")
        allowed = origin if origin in guard.origins else None
        answer = _with_headers(send, allowed, guard.framed_by)
        if refused := refusal(guard, scope):
            await error(*refused)(scope, receive, answer)
        elif scope.get("method") == "OPTIONS" and allowed:
            await Response(status_code=204)(scope, receive, answer)
        else:
            await app(scope, _limited(receive, guard.most_bytes, scope), answer)

    return guarded


def error(status: int, reason: str) -> Response:
    """An answer that says what was wrong: `{"error": reason}`."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse({"error": reason}, status, headers=headers)


def _limited(receive: Receive, most: int, scope: Scope) -> Receive:
    """Receive a body of so many bytes at most; messages of WebSockets have limits of their own."""
    if scope["type"] != "http":
        return receive
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise HTTPException(413, f"the body is larger than {most} bytes")
        return message

    return limited


def _with_headers(send: Send, origin: str | None, framed_by: str) -> Send:
    ancestors = f"frame-ancestors {framed_by or NOBODY}"

    async def headed(message: Message) -> None:
        if message["type"].endswith(".response.start"):
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value.replace(f"frame-ancestors {NOBODY}", ancestors))
            if origin:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE"
                headers["Access-Control-Allow-Headers"] = "authorization, content-type"
                headers["Access-Control-Expose-Headers"] = "location"
                headers["Access-Control-Max-Age"] = CORS_SECONDS
                headers["Cross-Origin-Resource-Policy"] = "cross-origin"
                headers.add_vary_header("Origin")
        await send(message)

    return headed
