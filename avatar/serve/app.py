"""The server: settings, the guarded application, and its life from start to drain."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from avatar.core.files import UserError, check_readable
from avatar.serve.guard import LOOPBACK_NAMES, Guard, is_loopback, protect, read_tokens
from avatar.serve.hub import Hub
from avatar.serve.ice import Ice, limit_ports
from avatar.serve.livetalking import livetalking_routes
from avatar.serve.protocol import MOST_MESSAGE
from avatar.serve.recording import Recordings
from avatar.serve.routes import routes
from avatar.serve.say import Speaker
from avatar.serve.whep import whep_routes

EXPIRE_SECONDS = 5.0  # between two looks at sessions that may have ended
DRAIN_SECONDS = 30.0  # that open sessions have to end when the server is asked to
PING_SECONDS, PONG_SECONDS = 20.0, 120.0  # between pings of sockets; pongs wait behind sound that is not read yet
MOST_BODY = 8 << 20  # bytes: a minute of sound at 48 kHz
OPEN_PATHS = frozenset({"/", "/healthz"})


@dataclass(frozen=True)
class Network:
    """Where a server can be reached, and by whom."""

    host: str = "127.0.0.1"
    port: int = 8010
    names: tuple[str, ...] = ()  # that the Host header may have beside those of the loopback interface
    origins: tuple[str, ...] = ()  # of other sites' pages that may use it
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    framed_by: str = ""  # the origin whose pages may show this server's in a frame

    def guard(self) -> Guard:
        """Whose requests are answered. Raises: UserError when others could use the server unasked."""
        if not is_loopback(self.host) and self.token_file is None:
            raise UserError(f"--host {self.host}: others reach it; give --token-file FILE with a token a line")
        if (self.certificate is None) != (self.key is None):
            raise UserError("--cert and --key belong together; give both")
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise UserError(f"--allow-origin: '{origin}' is no origin; give for example https://example.org")
        for file in (self.certificate, self.key):
            if file:
                check_readable(file, "certificate or key")
        tokens = read_tokens(self.token_file) if self.token_file else ()
        hosts = (*LOOPBACK_NAMES, *(name.lower() for name in self.names))
        return Guard(
            hosts=hosts if is_loopback(self.host) or self.names else (),  # without names a token stands for them
            origins=self.origins,
            framed_by=self.framed_by,
            tokens=tokens,
            open_paths=OPEN_PATHS,
            open_folders=("/static/", "/viewer/"),
            most_bytes=MOST_BODY,
        )

    def certificate_error(self) -> str | None:
        """What is wrong with certificate and key; None when nothing is."""
        if self.certificate is None or self.key is None:
            return None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            return f"{self.certificate}: {error}"
        return None


def make_app(hub: Hub, guard: Guard, ice: Ice, recordings: Recordings | None = None) -> ASGIApp:
    """The application of a hub that was started; it ends sessions that expire, and all when it shuts down."""

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        if ice.ports:
            limit_ports(asyncio.get_running_loop(), ice.ports)
        task = asyncio.create_task(_expire(hub))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.to_thread(hub.shut_down)

    app = Starlette(routes=[*routes(), *whep_routes(ice), *livetalking_routes(ice)], lifespan=life)
    app.state.hub, app.state.speaker, app.state.recordings = hub, Speaker(), recordings or Recordings(None)
    return protect(app, guard)


async def _expire(hub: Hub) -> None:
    while True:
        await asyncio.sleep(EXPIRE_SECONDS)
        await asyncio.to_thread(hub.expire)


class _Server(uvicorn.Server):
    """Asked to end, it opens no more sessions, and gives those that are open some time."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        self._hub.draining = True
        end = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while self._hub.sessions and not self.force_exit and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.1)
        for session in self._hub.sessions:
            self._hub.close(session, "the server is shutting down")
        await super().shutdown(sockets)  # type: ignore[arg-type]


def make_server(hub: Hub, network: Network, ice: Ice, recordings: Recordings | None = None) -> uvicorn.Server:
    """The server of a hub, to be run. Raises: UserError."""
    config = uvicorn.Config(
        make_app(hub, network.guard(), ice, recordings),
        host=network.host.strip("[]"),
        port=network.port,
        ssl_certfile=network.certificate,
        ssl_keyfile=str(network.key) if network.key else None,
        loop="asyncio",  # whose sockets `limit_ports` can bind
        ws="websockets-sansio",
        ws_max_size=MOST_MESSAGE,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PONG_SECONDS,
        ws_per_message_deflate=False,  # media does not get smaller
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    return _Server(config, hub)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what was given as `extra`."""

    _OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": self.formatTime(record), "level": record.levelname.lower(), "logger": record.name}
        fields["message"] = record.getMessage()
        fields |= {name: value for name, value in vars(record).items() if name not in self._OWN}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def log_to_stderr() -> None:
    """Write structured logs of the server to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("avatar.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def unique_names(paths: list[Path]) -> Mapping[str, Path]:
    """Avatar files by the names that clients ask for. Raises: UserError when two are alike."""
    named: dict[str, Path] = {}
    for path in paths:
        if path.stem in named:
            raise UserError(f"{path}: another avatar is named {path.stem}, too; rename one")
        named[path.stem] = path
    return named
