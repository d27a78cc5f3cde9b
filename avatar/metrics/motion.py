"""Motion against the truth, and by itself: lips, blinks, head."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.eyes import count_blinks
from avatar.core.geometry import mean_rotation, to_vector
from avatar.core.motion_space import MotionSpace


def lip_vertex_error(expression: Tensor, truth: Tensor, space: MotionSpace) -> float:
    """Mean over frames of the largest distance of a lip vertex, in mm (LVE; Richard et al. 2021, MeshTalk, section 4).

    expression, truth: [T, K]; heads held still.
    """
    moved = torch.einsum("tk,klc->tlc", expression - truth, space.basis[:, space.lips])
    return 10 * float(moved.norm(dim=-1).amax(1).mean())


def lip_jerkiness(expression: Tensor, truth: Tensor, space: MotionSpace) -> float:
    """Mean acceleration of the lips in expressions [T, K], times that of the truth [N, K]: below 1 is smoother."""

    def acceleration(values: Tensor) -> Tensor:
        lips = torch.einsum("tk,klc->tlc", values, space.basis[:, space.lips])
        return lips.diff(n=2, dim=0).norm(dim=-1).mean()

    return float(acceleration(expression) / acceleration(truth).clamp_min(1e-9))


def blinks_per_minute(eyes: Tensor, fps: float) -> float:
    """How often the lids shut, of eyes [T, 4]."""
    return 60 * fps * count_blinks(eyes) / max(1, len(eyes))


def head_motion_degrees(rotation: Tensor) -> float:
    """Root mean square angle of rotations [T, 3, 3] about their mean, in degrees."""
    return float(torch.rad2deg(to_vector(mean_rotation(rotation).T @ rotation).square().sum(1).mean().sqrt()))


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson correlation of two curves [T]; 0 when one is constant."""
    a, b = first.double() - first.double().mean(), second.double() - second.double().mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12))
