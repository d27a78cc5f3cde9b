"""A worker that runs the commands in a job's speech file instead of speaking it: python -m tests.batch_worker.

With a job file as argument: the process of a batch with such workers.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.batch.machine import Machine
from avatar.batch.work import Made, Task
from avatar.batch.worker import serve
from avatar.core.files import UserError, whole

if TYPE_CHECKING:
    from avatar.batch.run import Snapshot

WORKER = (sys.executable, "-m", "tests.batch_worker")
HERE = Machine((0,), 100.0)


def go(
    file: Path, *, workers: int = 2, show: Callable[[Snapshot], None] | None = None, **options: bool | float
) -> Snapshot:
    """Run a job file, or go on with it."""
    from avatar.batch.local import LocalEngine  # here, since workers start sooner without them
    from avatar.batch.plan import make_plan
    from avatar.batch.run import RunOptions, run_batch

    plan, problems = make_plan(file)
    assert not problems
    state = file.with_suffix(".batch")
    engine = LocalEngine(HERE, state, workers=workers, command=WORKER)
    return run_batch(plan, engine, state, options=RunOptions(**options), show=show)  # type: ignore[arg-type]


def run_commands(task: Task) -> Made:
    """Lines of the speech: `COMMAND` or `COMMAND once`, the latter only the first time; then the film is the text."""
    speech = Path(task.job.inputs["speech"])
    for line in speech.read_text().splitlines():
        command, *rest = line.split()
        mark = speech.with_suffix(f".{command}.done")
        if rest == ["once"]:
            if mark.exists():
                continue
            mark.touch()
        if command == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif command == "hang":
            time.sleep(1000)
        elif command == "sleep":
            time.sleep(float(rest[0]))
        elif command == "wait":  # for a file `go` beside the speech, a minute at most
            for _ in range(600):
                if (speech.parent / "go").exists():
                    break
                time.sleep(0.1)
        elif command == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "film.mp4")
        elif command == "fail":
            raise UserError(f"{speech}: cannot be spoken; give another")
        elif command == "count":
            with speech.with_suffix(".count").open("a") as file:
                file.write("x")
        elif command == "read":
            from avatar.core.media import read_speech

            list(read_speech(speech.parent / rest[0]))
        elif command == "note":
            with speech.with_suffix(".note").open("a") as file:
                file.write(" ".join(name for name in ("replaces", "repeated") if getattr(task, name)) + "\n")
    with whole(Path(task.job.outputs["output"])) as temporary:
        temporary.write_text(speech.read_text())
        if "half" in speech.read_text():
            os.kill(os.getpid(), signal.SIGKILL)
    return Made(2.0)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        # a background job of a shell ignores interrupts, and so would what it starts
        signal.signal(signal.SIGINT, signal.default_int_handler)
        go(Path(sys.argv[1]))
    else:
        serve(run_commands)
