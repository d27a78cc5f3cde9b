"""Progress of long work, for whoever passes a callback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """A callback for progress. Called at every step of a stage, from one thread; must return quickly."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """stage: `track`, `train`, `speak`, ...; total: 0 where it is not known; note: a short text beside it."""


def no_progress(stage: str, done: int, total: int, note: str = "") -> None:
    """The default: progress is not shown."""


def count_steps(items: Iterable[Item], stage: str, total: int, progress: Progress) -> Iterator[Item]:
    """The same items; each is a step of a stage, reported when the next one is asked for."""
    for number, item in enumerate(items, start=1):
        yield item
        progress(stage, number, total)
