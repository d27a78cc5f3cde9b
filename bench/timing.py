"""Milliseconds of an action, on either device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Action = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One figure: our time, and what it is compared with, timed in the same run."""

    name: str
    min_ms: float
    median_ms: float
    against: str = ""
    against_ms: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as long the other takes."""
        return None if self.against_ms is None else self.against_ms / self.min_ms

    def __str__(self) -> str:
        line = f"{self.name:<52} min {self.min_ms:8.3f}  median {self.median_ms:8.3f} ms"
        return line if self.ratio is None else f"{line}  {self.ratio:8.1f}x {self.against}"


def times(action: Action, repeats: int, device: torch.device) -> list[float]:
    """Milliseconds of each run, after three that are not counted; a GPU is waited for."""

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(min(3, repeats)):
        action()
    spent = []
    for _ in range(repeats):
        finish()
        start = time.perf_counter()
        action()
        finish()
        spent.append(1e3 * (time.perf_counter() - start))
    return spent


def measure(
    name: str, action: Action, device: torch.device, *, repeats: int, against: str = "", other: Action | None = None
) -> Row:
    """Time an action, and another beside it."""
    spent = times(action, repeats, device)
    other_ms = min(times(other, max(2, repeats // 10), device)) if other else None
    return Row(name, min(spent), statistics.median(spent), against if other else "", other_ms)
