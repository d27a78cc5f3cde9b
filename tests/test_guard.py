"""Requests that a server refuses before any route sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from avatar.core.files import UserError
from avatar.serve.guard import Guard, digest_token, is_loopback, protect, read_tokens

TOKEN = "a-token-of-24-characters"
LOCAL = {"host": "localhost:8010"}


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


APP = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), WebSocketRoute("/live", talk)])


def ask(
    guard: Guard, headers: dict[str, str], *, method: str = "GET", path: str = "/", body: Sequence[bytes] = (b"",)
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a guarded application's answer; method WEBSOCKET: of the opening handshake."""
    socket = method == "WEBSOCKET"
    parts = iter(body)
    left = [{"type": "websocket.connect"}] if socket else []
    sent: list[Message] = []

    async def receive() -> Message:
        if left or socket:
            return left.pop() if left else {"type": "websocket.disconnect", "code": 1000}
        return {"type": "http.request", "body": next(parts, b""), "more_body": parts.__length_hint__() > 0}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "websocket" if socket else "http",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "extensions": {"websocket.http.response": {}},
        "subprotocols": [],
    } | ({} if socket else {"method": method})

    async def run() -> None:
        await protect(APP, guard)(scope, receive, send)

    anyio.run(run)
    if sent[0]["type"] == "websocket.accept":
        return 101, {}, b""
    answer = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answer, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize("method", ["GET", "WEBSOCKET"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8010"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:8010"}, 200),
        ({"host": "evil.example:8010"}, 400),  # DNS rebinding: the name leads here, the page is another's
        ({"host": "localhost.evil.example"}, 400),
        ({}, 400),
        (LOCAL | {"origin": "http://localhost:8010"}, 200),
        (LOCAL | {"origin": "http://localhost:8011"}, 403),  # another server of the same machine
        (LOCAL | {"origin": "https://evil.example"}, 403),
        (LOCAL | {"origin": "null"}, 403),
        (LOCAL | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        (LOCAL | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
    ],
)
def test_host_and_origin(method: str, headers: dict[str, str], status: int) -> None:
    found = ask(Guard(), headers, method=method, path="/" if method == "GET" else "/live")[0]
    assert found == (101 if status == 200 and method == "WEBSOCKET" else status)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 101),
        ({"sec-websocket-protocol": f"avatar.v1, bearer.{TOKEN}"}, 101),
        ({"sec-websocket-protocol": "avatar.v1, bearer."}, 401),
    ],
)
def test_token(headers: dict[str, str], status: int) -> None:
    guard = Guard(tokens=(digest_token("another-one-of-24-letters"), digest_token(TOKEN)))
    assert ask(guard, LOCAL | headers, method="WEBSOCKET", path="/live")[0] == status
    assert ask(guard, LOCAL | headers)[0] == (200 if status == 101 else 401)


def test_open_paths_need_no_token() -> None:
    guard = Guard(tokens=(digest_token(TOKEN),), open_paths=frozenset(["/"]), open_folders=("/static/",))
    assert ask(guard, LOCAL)[0] == 200
    assert ask(guard, LOCAL, path="/static/page.js")[0] == 404
    assert ask(guard, LOCAL, path="/static")[0] == 401


def test_bodies_have_a_limit() -> None:
    guard = Guard(most_bytes=10)
    assert ask(guard, LOCAL, method="POST", body=[b"12345", b"67890"])[::2] == (200, b"10")
    assert ask(guard, LOCAL, method="POST", body=[b"12345", b"678901"])[0] == 413
    assert ask(guard, LOCAL | {"content-length": "11"}, method="POST")[0] == 413
    assert ask(guard, LOCAL | {"content-length": "-5"}, method="POST", body=[b"1" * 11])[0] == 413


def test_answers_have_the_headers_that_browsers_heed() -> None:
    status, headers, _ = ask(Guard(), LOCAL)
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    assert "content-security-policy" in ask(Guard(), {"host": "evil.example"})[1]


def test_allowed_origins_may_read_answers() -> None:
    guard = Guard(origins=("https://example.org",), tokens=(digest_token(TOKEN),))
    cross = LOCAL | {"origin": "https://example.org"}
    status, headers, _ = ask(guard, cross, method="OPTIONS")
    assert status == 204
    assert headers["access-control-allow-origin"] == "https://example.org"
    assert ask(guard, cross)[0] == 401
    assert ask(guard, cross | {"authorization": f"Bearer {TOKEN}"})[0] == 200
    assert ask(guard, LOCAL | {"origin": "https://example.org.evil.example"}, method="OPTIONS")[0] == 403


def test_token_files(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n\n  another-one-of-24-letters\n")
    file.chmod(0o600)
    assert read_tokens(file) == (digest_token(TOKEN), digest_token("another-one-of-24-letters"))
    file.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        read_tokens(file)
    file.chmod(0o600)
    for wrong in ("", "short", f"{TOKEN}\nshort", "two words are no token"):
        file.write_text(wrong)
        with pytest.raises(UserError, match="openssl rand"):
            read_tokens(file)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False),
     ("192.168.1.5", False), ("example.org", False), ("::", False)],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
