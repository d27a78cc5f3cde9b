"""STUN and TURN servers for WebRTC, and the UDP ports that this server uses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatar.core.files import UserError, check_readable

CREDENTIAL_SECONDS = 6 * 3600  # that a client may use credentials made of a secret
LEAST_PORT = 1024


class IceServer(BaseModel):
    """A server as browsers have it; with a secret in place of a credential for coturn's `use-auth-secret`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: list[str] = Field(min_length=1)
    username: str | None = None
    credential: str | None = None
    secret: str | None = None

    def for_client(self, now: float) -> dict[str, Any]:
        """What a client is given; of a secret, credentials that end by themselves (TURN REST API, draft-uberti)."""
        if self.secret is None:
            return self.model_dump(exclude_none=True)
        username = str(int(now) + CREDENTIAL_SECONDS)
        digest = hmac.digest(self.secret.encode(), username.encode(), hashlib.sha1)
        return {"urls": self.urls, "username": username, "credential": base64.b64encode(digest).decode()}


class _IceFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    iceServers: list[IceServer]  # noqa: N815, browsers' own name


@dataclass(frozen=True)
class Ice:
    """How peers find each other."""

    servers: tuple[IceServer, ...] = ()
    ports: range | None = None  # UDP; None: any

    def for_client(self) -> dict[str, Any]:
        """An `RTCConfiguration`."""
        return {"iceServers": [server.for_client(time.time()) for server in self.servers]}


def read_ice(path: Path | None, ports: str) -> Ice:
    """The servers of a JSON file `{"iceServers": [...]}`, and ports such as `40000-40100`. Raises: UserError."""
    servers: tuple[IceServer, ...] = ()
    if path is not None:
        check_readable(path, "file of ICE servers")
        try:
            servers = tuple(_IceFile.model_validate_json(path.read_bytes()).iceServers)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            example = json.dumps({"iceServers": [{"urls": ["stun:stun.example.org"]}]})
            raise UserError(f"{path}: {place}: {first['msg']}; for example {example}") from error
    return Ice(servers, _read_ports(ports) if ports else None)


def _read_ports(text: str) -> range:
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and LEAST_PORT <= int(first) <= int(last) <= 65535):
        raise UserError(f"--udp-ports: '{text}' is no range of ports; give for example 40000-40100")
    return range(int(first), int(last) + 1)


def limit_ports(loop: asyncio.AbstractEventLoop, ports: range) -> None:
    """Bind UDP sockets of a loop that ask for any port to one of a range: aiortc has no setting of its own for that."""
    bind = loop.create_datagram_endpoint

    async def limited(factory: Any, local_addr: tuple[str, int] | None = None, **settings: Any) -> Any:
        if local_addr is None or local_addr[1] != 0:
            return await bind(factory, local_addr=local_addr, **settings)
        for port in random.sample(ports, len(ports)):
            try:
                return await bind(factory, local_addr=(local_addr[0], port), **settings)
            except OSError:
                continue
        raise OSError(f"all UDP ports from {ports.start} to {ports.stop - 1} are in use")

    loop.create_datagram_endpoint = limited  # type: ignore[method-assign,assignment]
