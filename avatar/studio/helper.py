"""A process that answers many requests: it keeps what is slow to open. ROLE `draw`: previews; `look`: hints on filming.

    python -m avatar.studio.helper ROLE

Requests come as lines of JSON on stdin, each followed by as many bytes as its `bytes` says; answers go so to stdout.
A new request ends the one that is being answered.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from avatar.core.files import UserError
from avatar.core.threads import torch_threads
from avatar.studio.child import Answer, limit_process

MOST_CPU = 36_000  # s: it lives as long as somebody watches


class Role(Protocol):
    """What a helper does."""

    def answer(self, request: dict[str, Any], data: bytes) -> Iterator[Answer]:
        """The parts of the answer. Raises: UserError."""


def serve(role: Role, source: BinaryIO, target: BinaryIO) -> None:
    """Answer until the source ends, which ends this process at once."""
    waiting: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(source, waiting), daemon=True).start()
    while True:
        request, data = waiting.get()
        number = request["id"]
        try:
            for header, part in role.answer(request, data):
                _send(target, header | {"id": number}, part)
                if not waiting.empty():
                    break
            _send(target, {"id": number, "end": True})
        except (UserError, OSError) as error:
            _send(target, {"id": number, "end": True, "error": " ".join(str(error).split())})


def _read(source: BinaryIO, waiting: queue.SimpleQueue[tuple[dict[str, Any], bytes]]) -> None:
    while line := source.readline():
        request = json.loads(line)
        waiting.put((request, source.read(request.get("bytes", 0))))
    os._exit(0)


def _send(target: BinaryIO, header: dict[str, Any], data: bytes = b"") -> None:
    target.write(json.dumps(header | {"bytes": len(data)}).encode() + b"\n" + data)
    target.flush()


def main() -> None:
    """Serve the role of the command line."""
    limit_process(MOST_CPU)
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # so that what libraries print is no answer
    role: Role
    if sys.argv[1] == "draw":
        from avatar.studio.drawing import Drawer

        role = Drawer()
    else:
        from avatar.studio.looking import Looker

        role = Looker()
    with torch_threads(1):  # the native pool uses the cores
        serve(role, os.fdopen(os.dup(0), "rb"), target)


if __name__ == "__main__":
    main()
