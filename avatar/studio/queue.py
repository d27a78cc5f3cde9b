"""The queue: one job file of the library, which `avatar batch` reads, too. What is in it is not done yet."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from avatar.batch.jobs import KINDS
from avatar.batch.journal import state_folder
from avatar.core.files import whole
from avatar.pipelines.option_table import options_of
from avatar.pipelines.verbs import VERBS
from avatar.studio.errors import RefusalError, not_found

NAME = "studio.jsonl"
Job = dict[str, Any]
"""A line of the file: keys as in a job file, paths relative to the library; always with id, kind and output."""


class Queue:
    """The queue of a library. Changed by this process alone; every change is on disk when its method returns."""

    def __init__(self, root: Path) -> None:
        self.path = root / NAME
        self.folder = state_folder(self.path)  # of the journal and logs
        self._lock = threading.Lock()

    def jobs(self) -> list[Job]:
        """In order; lines that are no job are left to the plan to complain about."""
        if not self.path.is_file():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if isinstance(values, dict) and {"kind", "output"} <= values.keys():
                found.append({"id": str(values["output"])} | values)
        return found

    def find(self, id: str) -> Job:
        """The job of an id. Raises: RefusalError."""
        if (found := next((job for job in self.jobs() if job["id"] == id), None)) is None:
            raise not_found(id)
        return found

    def add(self, job: Job) -> Job:
        """Add a job at the end. Raises: RefusalError when its output is being made already, or it is not valid."""
        check_job(job)

        def changed(jobs: list[Job]) -> list[Job]:
            if any(other["output"] == job["output"] for other in jobs):
                raise RefusalError("queued", f"{job['output']} is in the queue already", 409, id=job["id"])
            return [*jobs, job]

        self._change(changed)
        return job

    def update(self, id: str, **changes: Any) -> None:
        """Change keys of a job."""
        self._change(lambda jobs: [job | changes if job["id"] == id else job for job in jobs])

    def remove(self, ids: Iterable[str]) -> None:
        """Take jobs out."""
        gone = set(ids)
        if gone:
            self._change(lambda jobs: [job for job in jobs if job["id"] not in gone])

    def _change(self, change: Callable[[list[Job]], list[Job]]) -> None:
        with self._lock:
            jobs = change(self.jobs())
            with whole(self.path) as temporary:
                temporary.write_text("".join(json.dumps(job, ensure_ascii=False) + "\n" for job in jobs), "utf-8")


def check_job(job: Job) -> None:
    """Raise RefusalError for a job whose options cannot be."""
    try:
        KINDS[job["kind"]].model_validate(job)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
        raise RefusalError("setting", f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


def command_of(job: Job) -> str:
    """The command line that does the same, in the library's folder."""
    words, flags = ["avatar", job["kind"]], []
    for option in options_of(VERBS[job["kind"]]):
        value = job.get(option.name)
        if value is None or value is False or value == option.default:
            continue
        if option.given.positional:
            words.append(str(value))
        else:
            flags += [option.flags[0], *([] if value is True else [str(value)])]
    return shlex.join([*words, *flags])
