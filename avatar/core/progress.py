"""Progress of long work, told to whoever asked for it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callback for progress. Called at every step of a stage, from one thread; must return quickly."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """stage: `track`, `train`, `speak`, ...; total: 0 where it is not known; note: a short text beside it."""


def no_progress(stage: str, done: int, total: int, note: str = "") -> None:
    """The default: progress is not shown."""
