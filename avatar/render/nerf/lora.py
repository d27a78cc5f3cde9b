"""Low-rank changes of a network's weights (Hu et al. 2022): what adapts the generic motion branch to a person."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

PREFIX = "lora."


def low_rank(factors: Tensor, widths: Sequence[int], rank: int) -> Tensor:
    """The change B A of all layers, flat as the network's weights."""
    parts, at = [], 0
    for before, after in itertools.pairwise(widths):
        inward = factors[at : at + rank * before].view(rank, before)
        at += rank * before
        outward = factors[at : at + after * rank].view(after, rank)
        at += after * rank
        parts.append((outward @ inward).reshape(-1))
    return torch.cat(parts)
