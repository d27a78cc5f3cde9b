"""Low-rank changes of a network's weights (Hu et al. 2022): what adapts the generic motion branch to a person."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

PREFIX = "lora."


def begin_lora(widths: Sequence[int], rank: int, generator: torch.Generator) -> Tensor:
    """Flat factors of a network with these widths: for each layer A [rank, in], then B [out, rank], which is zero."""
    parts = []
    for before, after in itertools.pairwise(widths):
        parts += [torch.randn(rank * before, generator=generator) / before**0.5, torch.zeros(after * rank)]
    return torch.cat(parts)


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
