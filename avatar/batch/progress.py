"""How far a running job is: a small file beside its log, which its worker keeps up to date and anybody may read."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from avatar.batch.journal import log_path

WRITE_SECONDS = 0.3  # between two writes within a stage


@dataclass(frozen=True)
class JobProgress:
    """Where in its work a job is."""

    stage: str  # `track`, `train`, `speak`, ...
    done: int
    total: int  # 0 where it is not known
    note: str  # a short text beside it
    began: float  # of the job, s since 1970
    stage_began: float  # of the stage
    now: float  # when this was written


def progress_path(folder: Path, job: str) -> Path:
    """Where the progress of a job of a batch's folder is."""
    return log_path(folder, job).with_suffix(".progress")


class ProgressFile:
    """A `Progress` callback that keeps a file; a disk that is full or away only leaves it behind."""

    def __init__(self, path: Path) -> None:
        self._path, self._began = path, time.time()
        self._stage, self._stage_began, self._written = "", self._began, 0.0

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        now = time.time()
        if stage != self._stage:
            self._stage, self._stage_began = stage, now
        elif now - self._written < WRITE_SECONDS and done < total:
            return
        self._written = now
        state = JobProgress(stage, done, total, note, self._began, self._stage_began, now)
        temporary = self._path.with_suffix(".progress.part")
        try:
            temporary.write_text(json.dumps(asdict(state)), encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError:
            return

    def remove(self) -> None:
        """Take the file away, once the job is over."""
        self._path.unlink(missing_ok=True)


def read_progress(folder: Path, job: str) -> JobProgress | None:
    """How far a job is; None where nothing is known."""
    try:
        return JobProgress(**json.loads(progress_path(folder, job).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
