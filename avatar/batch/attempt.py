"""One attempt at a job: timed, its errors turned into one line, its outputs digested."""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from avatar.batch.address import digest, fingerprint
from avatar.batch.jobs import is_url
from avatar.batch.work import Runner, Task
from avatar.core.files import UserError
from avatar.core.notes import warnings_as_notes

End = Literal["done", "failed", "crashed", "lost", "late", "full"]
"""How an attempt ended. crashed: the job's worker died. lost: its node went away. late: over the time limit. full: the
disk was full."""
FULL_DISK = ("No space left on device", "Disk quota exceeded", "database or disk is full")
REASON_LENGTH = 500
LOG_BYTES = 64_000  # of a log that are sent back


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt."""

    end: End
    reason: str = ""  # one line, for people; of a job that is done, what is worth knowing
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    media_seconds: float = 0.0
    bytes: int = 0
    made: dict[str, tuple[str, str]] = field(default_factory=dict)  # output -> fingerprint, digest
    log: str = ""  # what the job printed, where its worker could not write the log itself

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def attempt(task: Task, run: Runner) -> Outcome:
    """Do a task. Whatever goes wrong is in the outcome, and with its traceback on stderr."""
    start, cpu = time.monotonic(), _cpu_seconds()
    media_seconds, reason, end = 0.0, "", "done"
    made: dict[str, tuple[str, str]] = {}
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        sys.stderr.write(f"note: {text}\n")

    try:
        with warnings_as_notes(note):
            media_seconds = run(task).media_seconds
        reason = "; ".join(dict.fromkeys(notes))[:REASON_LENGTH]
        made = {place: (fingerprint(place), digest(place)) for place in task.job.outputs.values()}
        if missing := [place for place, (found, _) in made.items() if not found]:
            end, reason = "failed", f"{missing[0]}: was not written"
    except Exception as error:
        traceback.print_exc()
        end, reason = "full" if is_full(error) else "failed", explain(error)
    seconds = time.monotonic() - start
    return Outcome(
        end,  # type: ignore[arg-type]
        reason,
        seconds,
        _cpu_seconds() - cpu,
        seconds * task.job.need.gpus,
        media_seconds,
        sum(_size(place) for place in made),
        made,
    )


def explain(error: Exception) -> str:
    """An error as one line."""
    if isinstance(error, UserError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
    elif isinstance(error, MemoryError):
        text = "out of memory; give the job more `memory`, so that fewer run at once"
    else:
        text = f"internal error, {type(error).__name__}: {error}; see the log"
    return " ".join(text.split())[:REASON_LENGTH]


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes of, means that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(text in str(error) for text in FULL_DISK):
            return True
        error = error.__cause__ or error.__context__
    return False


def _cpu_seconds() -> float:
    """Of this process and of its encoders that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _size(place: str) -> int:
    if is_url(place) or not os.path.exists(place):
        return 0
    if not os.path.isdir(place):
        return os.path.getsize(place)
    return sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())


@contextmanager
def printing_to(path: Path) -> Iterator[None]:
    """Append all that this process and its children print to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = [os.dup(stream) for stream in (1, 2)]
    with path.open("ab", buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    try:
        yield
    finally:
        for stream, before in zip((1, 2), saved, strict=True):
            os.dup2(before, stream)
            os.close(before)


def read_end(path: Path) -> str:
    """The end of a log."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return file.read().decode("utf-8", "replace")
