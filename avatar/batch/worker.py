"""A worker of the local engine: tasks come as lines of JSON on stdin, outcomes go as such to stdout."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from avatar.batch.attempt import Outcome, attempt, explain, is_full, printing_to
from avatar.batch.progress import ProgressFile
from avatar.batch.work import Made, Runner, Task, run_one, task_from_json

READY = "ready"
"""The first line of a worker; the time limit of its first job begins with it."""


def serve(run: Runner = run_one) -> None:
    """Do tasks until stdin ends.

    When it ends in the middle of a task, the process of the batch is dead; then this one ends, with its encoders.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that what libraries print is no answer
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    idle = threading.Event()
    idle.set()
    threading.Thread(target=_read_tasks, args=(lines, idle), daemon=True).start()
    _answer(answers, READY)
    while line := lines.get():
        idle.clear()
        message = json.loads(line)
        outcome = _do(message, run)
        idle.set()
        _answer(answers, json.dumps(outcome.to_json()))


def _read_tasks(lines: queue.SimpleQueue[str], idle: threading.Event) -> None:
    for line in sys.stdin:
        lines.put(line)
    if not idle.is_set() or not lines.empty():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    lines.put("")


def _do(message: dict, run: Runner) -> Outcome:
    task = task_from_json(message["task"])
    pin_to(message["cores"])
    try:
        with printing_to(Path(message["log"])):
            sys.stderr.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {task.job.id}\n")
            outcome = _attempt(task, run, ProgressFile(Path(message["log"]).with_suffix(".progress")))
            sys.stdout.flush()
            sys.stderr.flush()
    except OSError as error:  # not even the log could be written
        return Outcome("full" if is_full(error) else "failed", explain(error))
    return outcome


def _attempt(task: Task, run: Runner, progress: ProgressFile) -> Outcome:
    def with_progress(task: Task) -> Made:
        return run_one(task, progress)

    try:
        return attempt(task, with_progress if run is run_one else run)
    finally:
        progress.remove()


def _answer(answers: TextIO, line: str) -> None:
    answers.write(line + "\n")
    answers.flush()


def pin_to(cores: list[int]) -> None:
    """Run on these cores only, with all threads and with encoders started later, which count their cores by this."""
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), cores)
        except ProcessLookupError:  # a thread that has just ended
            continue


if __name__ == "__main__":
    serve()
