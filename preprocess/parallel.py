"""Work on many frames by all cores. NumPy and OpenCV let other threads run while they compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cuda_ext.limits import core_count

CHUNK = 256  # frames worked on at a time, in double precision: little memory, and enough chunks for all cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def chunks(length: int) -> Iterator[slice]:
    """Slices of so many frames."""
    return (slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK))


def map_chunks(work: Callable[[slice], Result], length: int) -> list[Result]:
    """The results of work on slices of frames, in order."""
    with ThreadPoolExecutor(core_count()) as pool:
        return list(pool.map(work, chunks(length)))


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor, most: int
) -> Iterator[Result]:
    """The results of work, in order, on so many items more than have been asked for."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
