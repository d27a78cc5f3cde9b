"""Buffers on a GPU whose size is chosen before it is known how much is needed."""

from __future__ import annotations

import torch
from torch import Tensor

FULL, SPARE = 0.9, 1.5  # share from which a room is enlarged, before it overflows; size beside what was needed then


class Room:
    """How many items fit into a buffer on a GPU, and how many were ever needed; nothing waits for the second."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.size = size
        self.needed = torch.zeros(1, dtype=torch.int64, device=device)

    def note(self, needed: Tensor) -> None:
        """Keep the largest of the numbers needed [B] int64 so far; may be captured into a CUDA graph."""
        torch.maximum(self.needed, needed.max(), out=self.needed)

    def enlarge(self, needed: int) -> bool:
        """Make room for what was needed, and more; False where it is large enough. What was captured is then void."""
        if needed <= FULL * self.size:
            return False
        self.size = int(SPARE * needed)
        return True
