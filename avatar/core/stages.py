"""How long each stage of long work took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stages:
    """Seconds of stages, in the order in which they began. Work beside a stage counts where it is waited for."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Count a block's time to a stage."""
        start = time.perf_counter()
        self.seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def __str__(self) -> str:
        """A table, the sum last."""
        rows = [*self.seconds.items(), ("all", sum(self.seconds.values()))]
        return "\n".join(f"  {name:<22}{seconds:8.1f} s" for name, seconds in rows)
