"""Predicted lips, brought to the person's own range. The range is measured by `avatar.learn.lip_range`."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.speech_model import LipRange


def to_own_range(expression: Tensor, mean: Tensor, lips: LipRange, reading: Tensor) -> Tensor:
    """Expressions [T, K] whose lip positions move as far from the person's mean [K] as the person's own do.

    reading: `read_lip_positions` of the MotionSpace.
    """
    predicted = (expression - mean) @ reading
    wanted = predicted * lips.gain
    wanted[:, 0] = close(wanted[:, 0], lips.gaps, lips.closing)
    return expression + (wanted - predicted) @ lips.along


def close(gap: Tensor, gaps: Tensor, closing: Tensor) -> Tensor:
    """Gaps [T], each changed by `closing` [Q], interpolated linearly between `gaps` [Q], which ascend.

    Beyond the least of these the change stays, but nothing gets below what the least becomes; above the largest, the
    median, nothing is changed.
    """
    inside = gap.clamp(gaps[0], gaps[-1])
    upper = torch.bucketize(inside, gaps).clamp(1, len(gaps) - 1)
    part = (inside - gaps[upper - 1]) / (gaps[upper] - gaps[upper - 1]).clamp_min(1e-6)
    changed = gap + torch.lerp(closing[upper - 1], closing[upper], part.clamp(0, 1))
    return torch.maximum(changed, torch.minimum(gap, gaps[0] + closing[0]))
