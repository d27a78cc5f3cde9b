"""A worker that runs the commands in a job's speech file instead of speaking it: python -m tests.batch_worker."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

from avatar.batch.work import Made, Task
from avatar.batch.worker import serve
from avatar.core.files import UserError, whole


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
        elif command == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "film.mp4")
        elif command == "fail":
            raise UserError(f"{speech}: cannot be spoken; give another")
        elif command == "count":
            with speech.with_suffix(".count").open("a") as file:
                file.write("x")
    with whole(Path(task.job.outputs["output"])) as temporary:
        temporary.write_text(speech.read_text())
        if "half" in speech.read_text():
            os.kill(os.getpid(), signal.SIGKILL)
    return Made(2.0)


if __name__ == "__main__":
    serve(run_commands)
