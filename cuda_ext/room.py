"""Buffers on a GPU whose size is chosen before it is known how much is needed."""

from __future__ import annotations

import torch
from torch import Tensor

FULL, SPARE = 0.9, 1.5  # share from which a room is enlarged, before it overflows; size beside what was needed then
SMALLER = 0.75  # of its size, that a room could have, before it is worth to be captured anew


class Room:
    """How many items fit into a buffer on a GPU, and how many were ever needed; nothing waits for the second."""

    def __init__(self, size: int, device: torch.device, *, least: int | None = None, spare: float = SPARE) -> None:
        """least: size that it may go back to, where idle room costs time (default: it never becomes smaller)."""
        self.size, self._least, self._spare = size, least, spare
        self.needed = torch.zeros(1, dtype=torch.int64, device=device)

    def note(self, needed: Tensor) -> None:
        """Keep the largest of the numbers needed [B] int64 so far; may be captured into a CUDA graph."""
        torch.maximum(self.needed, needed.max(), out=self.needed)

    def forget(self) -> None:
        """Count what was needed long ago for less, by an eighth at each call."""
        self.needed.mul_(7).div_(8, rounding_mode="floor")

    def resize(self, needed: int) -> bool:
        """Make room for what was needed, and more; False where its size is right. What was captured is then void."""
        size = max(int(self._spare * needed), self._least or 0)
        idle = self._least is not None and size < SMALLER * self.size
        if needed <= FULL * self.size and not idle:
            return False
        self.size = size
        return True
