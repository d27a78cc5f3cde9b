"""How many threads torch uses; the setting belongs to whoever calls us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
