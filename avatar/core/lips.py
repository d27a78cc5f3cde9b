"""What lips do, read off landmarks: the curves that sound is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

EYE_CORNERS = (33, 263)
CURVES = {"opening": (13, 14), "height": (0, 17), "width": (61, 291)}
"""Inner gap, outer height and width of the mouth: pairs of landmarks."""


def lip_curves(landmarks: Tensor) -> Tensor:
    """The curves [T, 3] of landmarks [T, 478, 2..3] px, in distances of the outer eye corners."""
    points = landmarks[..., :2]
    eyes = (points[:, EYE_CORNERS[0]] - points[:, EYE_CORNERS[1]]).norm(dim=-1).clamp_min(1e-6)
    return torch.stack([(points[:, a] - points[:, b]).norm(dim=-1) / eyes for a, b in CURVES.values()], 1)
