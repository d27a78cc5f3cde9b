"""What renderers are trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.geometry import Camera
from avatar.core.landmarks import LEFT_CORNER, LEFT_EYE, MOUTH_EXTREMES, RIGHT_CORNER, RIGHT_EYE
from cuda_ext import ops

SSIM_WEIGHT = 0.2  # as Kerbl et al. 2023
MOUTH_WEIGHT, MOUTH_RADIUS = 2.0, 0.6  # added in the middle of the mouth; of its width: lips and the skin beside them
EYE_WEIGHT, EYE_RADIUS = 1.5, 0.7  # added in the middle of an eye; of its width: lids and the skin that they fold


def pixel_weights(landmarks: Tensor, camera: Camera) -> Tensor:
    """Weight [1, S, S] of each pixel: 1, and more around the mouth and the eyes of landmarks [478, 3] px."""
    weight = 1 + MOUTH_WEIGHT * mouth_weights(landmarks, camera)[0]
    for eye in (LEFT_EYE, RIGHT_EYE):
        corners = landmarks[[eye.outer, eye.inner], :2]
        width = (corners[0] - corners[1]).norm()
        weight = weight + EYE_WEIGHT * _blob(corners.mean(0), width * EYE_RADIUS, camera.size)
    return weight[None]


def mouth_weights(landmarks: Tensor, camera: Camera) -> Tensor:
    """Weight [1, S, S], 1 in the middle of the mouth of landmarks [478, 3] px and 0 away from it."""
    width = (landmarks[LEFT_CORNER, :2] - landmarks[RIGHT_CORNER, :2]).norm()
    return _blob(landmarks[list(MOUTH_EXTREMES), :2].mean(0), width * MOUTH_RADIUS, camera.size)[None]


def _blob(center: Tensor, radius: Tensor, size: int) -> Tensor:
    """A Gaussian [S, S], 1 at its center [2] px, 1/e at the radius."""
    axis = torch.arange(size) + 0.5
    across = torch.exp(-((axis - center[0]) / radius).square())
    down = torch.exp(-((axis - center[1]) / radius).square())
    return down[:, None] * across[None]


def picture_loss(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """0.8 L1 + 0.2 D-SSIM (Kerbl et al. 2023, eq. 7), weighted per pixel; images [3, S, S] 0..1."""
    return ops.photo_error(image, target, weight, ssim_weight=SSIM_WEIGHT)


def matte_loss(alpha: Tensor, matte: Tensor) -> Tensor:
    """Mean absolute difference of coverage and person matte, both [1, S, S] 0..1."""
    return (alpha - matte).abs().mean()
