"""Child processes as the server uses them: one task each, or a helper that stays open."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from avatar.core.files import UserError
from avatar.studio.child import Answer
from avatar.studio.errors import RefusalError

TASK_SECONDS = 600.0  # that a task may take
ANSWER_SECONDS = 60.0  # until the next part of an answer; a helper that starts loads torch and an avatar
IDLE_SECONDS = 300.0  # after which a helper is ended: it holds an avatar in memory
LONGEST_LINE = 1 << 20
QUIET = {"GLOG_minloglevel": "3", "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_WAIT_POLICY": "PASSIVE"}


async def _start(module: str, *arguments: str, stdout: int = DEVNULL) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=PIPE,
        stdout=stdout,
        stderr=None,
        env=os.environ | QUIET,
        start_new_session=True,
        limit=LONGEST_LINE,
    )


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def run_task(task: str, request: dict[str, Any], *, seconds: float = TASK_SECONDS) -> dict[str, Any]:
    """Do a task of `avatar.studio.child`; the result may hold an `error`. Raises: RefusalError beyond its limits."""
    with tempfile.TemporaryDirectory(prefix="avatar-studio-") as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        process = await _start("avatar.studio.child", task, str(asked), str(answered))
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            raise RefusalError(
                "too-long", f"looking at the file took longer than {seconds:g} s and was stopped"
            ) from None
        finally:
            _kill(process)
            await process.wait()
        if not answered.is_file():
            raise RefusalError("broken", "the file cannot be looked at: it ended the process that read it; try another")
        return dict(json.loads(answered.read_text(encoding="utf-8")))


class Live:
    """Live avatars' servers, one for each avatar that somebody talks with, on ports of this machine alone."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], tuple[Process, int]] = {}

    async def open(self, avatar: Path, origin: str) -> str:
        """The address of an avatar's live page, which pages of an origin may show in a frame.

        Raises: RefusalError when it does not start.
        """
        key = str(avatar), origin
        process, port = self._running.get(key, (None, 0))
        if process is None or process.returncode is not None:
            port = _free_port()
            process = await _start("avatar.studio.talking", str(avatar), str(port), origin)
            self._running[key] = process, port
            await self._wait_for(process, port)
        return f"http://127.0.0.1:{port}/"

    async def _wait_for(self, process: Process, port: int) -> None:
        until = time.monotonic() + ANSWER_SECONDS
        while process.returncode is None and time.monotonic() < until:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.2)
                continue
            writer.close()
            return
        raise RefusalError("talk", "the live avatar does not start; `avatar serve` in a terminal says why", 503)

    def stop(self) -> None:
        """End them all."""
        for process, _ in self._running.values():
            if process.returncode is None:
                _kill(process)
        self._running.clear()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Helper:
    """A helper process of a role (`avatar.studio.helper`): started when it is asked, ended when nobody asks."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._process: Process | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Queue[Answer]] = {}
        self._starting = asyncio.Lock()
        self._asked = 0.0

    async def ask(self, request: dict[str, Any], data: bytes = b"") -> AsyncIterator[Answer]:
        """The parts of an answer. A request that comes later ends it early.

        Raises: UserError as the helper does; RefusalError when it has died; the next request starts another.
        """
        process, number = await self._ready(), next(self._numbers)
        answers = self._answers[number] = asyncio.Queue()
        try:
            assert process.stdin
            head = request | {"id": number, "bytes": len(data)}
            process.stdin.write(json.dumps(head).encode() + b"\n" + data)
            await process.stdin.drain()
            while True:
                header, part = await asyncio.wait_for(answers.get(), ANSWER_SECONDS)
                if text := header.get("error"):
                    raise UserError(text)
                if header.get("end"):
                    return
                yield header, part
        except (TimeoutError, OSError) as error:
            self.stop()
            raise RefusalError("helper", "the preview has stopped; change something to start it again", 503) from error
        finally:
            self._answers.pop(number, None)

    @property
    def busy(self) -> bool:
        """Whether something is being answered."""
        return bool(self._answers)

    async def start(self) -> None:
        """Start the process, which takes seconds, before it is asked."""
        await self._ready()

    async def _ready(self) -> Process:
        async with self._starting:
            self._asked = time.monotonic()
            if self._process is None or self._process.returncode is not None:
                self._process = await _start("avatar.studio.helper", self._role, stdout=PIPE)
                self._reading = asyncio.create_task(self._read(self._process))
            return self._process

    async def _read(self, process: Process) -> None:
        assert process.stdout
        with contextlib.suppress(ValueError, asyncio.IncompleteReadError):
            while line := await process.stdout.readline():
                header = json.loads(line)
                part = await process.stdout.readexactly(header.pop("bytes"))
                if queue := self._answers.get(header.pop("id")):
                    queue.put_nowait((header, part))
        for queue in self._answers.values():
            queue.put_nowait(
                ({"end": True, "error": "the preview has stopped; change something to start it again"}, b"")
            )
        await process.wait()

    def stop_idle(self) -> None:
        """End the process when nobody has asked for a while."""
        if not self._answers and time.monotonic() - self._asked > IDLE_SECONDS:
            self.stop()

    def stop(self) -> None:
        """End the process now."""
        if self._process is not None and self._process.returncode is None:
            _kill(self._process)
        self._process = None
