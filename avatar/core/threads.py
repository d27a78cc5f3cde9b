"""How many threads torch uses, which is for whoever calls us to say; and work in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
END = object()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside, and as many as before afterwards.

    The native ops have a pool of their own; torch's workers, which spin while they wait, would take its cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each made in a thread of its own, by one torch thread, while the one before is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as worker:
        following = worker.submit(next, iterator, END)
        while (item := following.result()) is not END:
            following = worker.submit(next, iterator, END)
            yield item  # type: ignore[misc]
