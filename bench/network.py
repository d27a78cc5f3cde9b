"""A network between a client and a server on one machine: a relay that delays what goes through it, and loses some."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

CHUNK = 1400  # bytes: a packet
AGAIN_SECONDS = 0.2  # after which TCP sends a packet again, which holds up those behind it


@dataclass(frozen=True)
class Network:
    """How bad it is."""

    jitter: float  # s that a packet is delayed by at most
    loss: float  # share of packets that are sent again
    seed: int = 0


@contextlib.asynccontextmanager
async def relay(port: int, network: Network) -> AsyncIterator[int]:
    """A port of this machine from which everything goes to another one and back, in order, as TCP delivers it."""
    draw = random.Random(network.seed)

    async def forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        clock = asyncio.get_running_loop().time

        async def deliver() -> None:
            while (item := await waiting.get())[1]:
                await asyncio.sleep(item[0] - clock())
                target.write(item[1])
                await target.drain()
            target.close()

        sending = asyncio.create_task(deliver())
        while data := await source.read(CHUNK):
            delay = draw.uniform(0, network.jitter) + (AGAIN_SECONDS if draw.random() < network.loss else 0.0)
            waiting.put_nowait((clock() + delay, data))  # one that is ready sooner waits for those before it
        waiting.put_nowait((0.0, b""))
        await sending

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):  # of a socket, or of the end of it all
            back, there = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(forward(reader, there), forward(back, writer), return_exceptions=True)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
