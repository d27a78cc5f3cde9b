"""Curves of the lips, measured on landmarks: what sound is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.geometry import eye_distance
from avatar.core.landmarks import (
    LEFT_CORNER,
    LEFT_EYE,
    LIP_BOTTOM,
    LIP_TOP,
    LOWER_LIP,
    NOSE_BASE,
    RIGHT_CORNER,
    RIGHT_EYE,
    UPPER_LIP,
)

CURVES = {"opening": (UPPER_LIP, LOWER_LIP), "height": (LIP_TOP, LIP_BOTTOM), "width": (LEFT_CORNER, RIGHT_CORNER)}
"""Inner gap, outer height and width of the mouth: pairs of landmarks."""
POSITIONS = ("opening", "width", "lower lip", "upper lip")
"""Of `seen_lip_positions` and `read_lip_positions`: the inner gap, the corners' distance, the outer edges."""
MOST_LAG = 5  # frames between two curves; larger offsets of a clip's sound are undone when it is preprocessed


def lip_curves(landmarks: Tensor) -> Tensor:
    """The curves [T, 3] of landmarks [T, 478, 2..3] px, in distances of the outer eye corners."""
    points, eyes = landmarks[..., :2], eye_distance(landmarks)
    return torch.stack([(points[:, a] - points[:, b]).norm(dim=-1) / eyes for a, b in CURVES.values()], 1)


def protrusion_curve(landmarks: Tensor) -> Tensor:
    """How far the middle of the lips lies before their corners [T], of landmarks [T, 478, 3] px, in eye distances."""
    corners, middle = landmarks[:, CURVES["width"], 2].mean(1), landmarks[:, CURVES["height"], 2].mean(1)
    return (corners - middle) / eye_distance(landmarks)


def best_correlation(first: Tensor, second: Tensor, valid: Tensor) -> float:
    """The largest of `correlate_lags`."""
    return max(correlate_lags(first, second, valid))


def correlate_lags(first: Tensor, second: Tensor, valid: Tensor) -> list[float]:
    """Pearson correlations of two curves [T] for lags of -5 to 5 frames, positive where the second is later.

    valid: [T] bool, the frames of the second that count. 0 where too few do, and where a curve is constant.
    """
    count, found = len(first), []
    for lag in range(-MOST_LAG, MOST_LAG + 1):
        early, late = slice(max(0, -lag), count - max(0, lag)), slice(max(0, lag), count - max(0, -lag))
        kept = valid[late]
        pair = torch.stack([first[early][kept], second[late][kept]])
        found.append(float(torch.corrcoef(pair)[0, 1].nan_to_num(0)) if pair.shape[1] > MOST_LAG else 0.0)
    return found


def read_lips(basis: Tensor) -> Tensor:
    """What one unit of each mode [K, 478, 3] does: the three curves and the protrusion [K, 4], cm, head frame."""
    axes = {"opening": 1, "height": 1, "width": 0}
    curves = [(basis[:, b] - basis[:, a])[:, axes[name]] for name, (a, b) in CURVES.items()]
    corners, middle = basis[:, CURVES["width"], 2].mean(1), basis[:, CURVES["height"], 2].mean(1)
    return torch.stack([*curves, corners - middle], 1)


def seen_lip_positions(landmarks: Tensor) -> Tensor:
    """Where a picture shows the lips: gap, width, lower and upper edge [T, 4], of landmarks [T, 478, 2..3] px.

    In eye distances, along the line of the eyes and across it; edges from below the nose, down and up.
    """
    points, eyes = landmarks[..., :2], eye_distance(landmarks)
    across = (points[:, RIGHT_EYE.outer] - points[:, LEFT_EYE.outer]) / eyes[:, None]
    down = torch.stack([-across[:, 1], across[:, 0]], 1)

    def between(first: int, second: int, axis: Tensor) -> Tensor:
        return ((points[:, second] - points[:, first]) * axis).sum(1) / eyes

    return torch.stack(
        [
            between(UPPER_LIP, LOWER_LIP, down),
            between(LEFT_CORNER, RIGHT_CORNER, across),
            between(NOSE_BASE, LIP_BOTTOM, down),
            -between(NOSE_BASE, LIP_TOP, down),
        ],
        1,
    )


def read_lip_positions(basis: Tensor) -> Tensor:
    """What one unit of each mode [K, 478, 3] does: inner gap, width, lower and upper edge of the lips [K, 4], cm.

    Each is positive where the mouth opens or widens; head frame.
    """
    gap = basis[:, LOWER_LIP, 1] - basis[:, UPPER_LIP, 1]
    width = basis[:, RIGHT_CORNER, 0] - basis[:, LEFT_CORNER, 0]
    return torch.stack([gap, width, basis[:, LIP_BOTTOM, 1], -basis[:, LIP_TOP, 1]], 1)
