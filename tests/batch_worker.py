"""A worker that does what the speech file of a job says, instead of speaking it: python -m tests.batch_worker."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

from avatar.batch.work import Made, Task
from avatar.batch.worker import serve
from avatar.core.files import UserError, whole


def obey(task: Task) -> Made:
    """Lines of the speech: `VERB` or `VERB once`, the latter only the first time; then the film is the text."""
    speech = Path(task.job.inputs["speech"])
    for line in speech.read_text().splitlines():
        verb, *rest = line.split()
        mark = speech.with_suffix(f".{verb}.done")
        if rest == ["once"]:
            if mark.exists():
                continue
            mark.touch()
        if verb == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif verb == "hang":
            time.sleep(1000)
        elif verb == "sleep":
            time.sleep(float(rest[0]))
        elif verb == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "film.mp4")
        elif verb == "fail":
            raise UserError(f"{speech}: cannot be said; say something else")
        elif verb == "count":
            with speech.with_suffix(".count").open("a") as file:
                file.write("x")
    with whole(Path(task.job.outputs["output"])) as temporary:
        temporary.write_text(speech.read_text())
        if "half" in speech.read_text():
            os.kill(os.getpid(), signal.SIGKILL)
    return Made(2.0)


if __name__ == "__main__":
    serve(obey)
