"""What lips do, read off landmarks: the curves that sound is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

EYE_CORNERS = (33, 263)
CURVES = {"opening": (13, 14), "height": (0, 17), "width": (61, 291)}
"""Inner gap, outer height and width of the mouth: pairs of landmarks."""
MOST_LAG = 5  # frames, of the offset at which a correlation is best


def lip_curves(landmarks: Tensor) -> Tensor:
    """The curves [T, 3] of landmarks [T, 478, 2..3] px, in distances of the outer eye corners."""
    points = landmarks[..., :2]
    eyes = (points[:, EYE_CORNERS[0]] - points[:, EYE_CORNERS[1]]).norm(dim=-1).clamp_min(1e-6)
    return torch.stack([(points[:, a] - points[:, b]).norm(dim=-1) / eyes for a, b in CURVES.values()], 1)


def protrusion_curve(landmarks: Tensor) -> Tensor:
    """How far the middle of the lips stands before their corners [T], of landmarks [T, 478, 3] px, in eye distances."""
    eyes = (landmarks[:, EYE_CORNERS[0], :2] - landmarks[:, EYE_CORNERS[1], :2]).norm(dim=-1).clamp_min(1e-6)
    return (landmarks[:, CURVES["width"], 2].mean(1) - landmarks[:, CURVES["height"], 2].mean(1)) / eyes


def best_correlation(heard: Tensor, seen: Tensor, sure: Tensor) -> float:
    """Correlation of two curves [T] at the offset of up to 5 frames where it is best, over frames `sure` [T] bool."""
    return max(correlate_lags(heard, seen, sure))


def correlate_lags(heard: Tensor, seen: Tensor, sure: Tensor) -> list[float]:
    """Correlations of two curves [T], the second -5 to 5 frames later than the first, over frames `sure` [T] bool."""
    count, found = len(heard), []
    for lag in range(-MOST_LAG, MOST_LAG + 1):
        early, late = slice(max(0, -lag), count - max(0, lag)), slice(max(0, lag), count - max(0, -lag))
        believed = sure[late]
        pair = torch.stack([heard[early][believed], seen[late][believed]])
        found.append(float(torch.corrcoef(pair)[0, 1].nan_to_num(0)) if pair.shape[1] > MOST_LAG else 0.0)
    return found


def read_lips(basis: Tensor) -> Tensor:
    """[K, 4]: the curves (cm, head frame), and how far lips are pushed out, of one unit of each mode [K, 478, 3]."""
    axes = {"opening": 1, "height": 1, "width": 0}
    curves = [(basis[:, b] - basis[:, a])[:, axes[name]] for name, (a, b) in CURVES.items()]
    corners, middle = basis[:, CURVES["width"], 2].mean(1), basis[:, CURVES["height"], 2].mean(1)
    return torch.stack([*curves, corners - middle], 1)
