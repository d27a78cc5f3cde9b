"""Eyelids: the one place that says when eyes are shut."""

from __future__ import annotations

from torch import Tensor

SHUT = 0.5  # mean openness of both lids below which eyes count as shut


def eyelid_closure(eyes: Tensor) -> Tensor:
    """How far the lids are shut [T], 0 open .. 1 shut, from eyes [T, 4]."""
    return (1 - eyes[:, :2].mean(1)).clamp(0, 1)


def are_shut(eyes: Tensor) -> Tensor:
    """Whether the lids are more than half shut [T] bool, of eyes [T, 4]."""
    return eyes[:, :2].mean(1) < SHUT


def count_blinks(eyes: Tensor) -> int:
    """How often the lids fall shut in eyes [T, 4]."""
    shut = are_shut(eyes)
    return int((shut[1:] & ~shut[:-1]).sum())
