"""What the renderers are trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.geometry import Camera
from cuda_ext import ops

LIPS = (61, 291, 0, 17)
EYES = ((33, 133), (263, 362))


def pixel_weights(landmarks: Tensor, camera: Camera, *, mouth: float = 2.0, eyes: float = 1.5) -> Tensor:
    """Weight [1, S, S] of each pixel: 1, and more around the mouth and the eyes of landmarks [478, 3] px."""
    points = landmarks[:, :2]
    breadth = (points[LIPS[0]] - points[LIPS[1]]).norm()
    weight = 1 + mouth * _blob(points[list(LIPS)].mean(0), breadth * 0.6, camera.size)
    for pair in EYES:
        width = (points[pair[0]] - points[pair[1]]).norm()
        weight = weight + eyes * _blob(points[list(pair)].mean(0), width * 0.7, camera.size)
    return weight[None]


def mouth_weights(landmarks: Tensor, camera: Camera) -> Tensor:
    """Weight [1, S, S], 1 in the middle of the mouth of landmarks [478, 3] px and 0 away from it."""
    points = landmarks[list(LIPS), :2]
    return _blob(points.mean(0), (points[0] - points[1]).norm() * 0.6, camera.size)[None]


def _blob(center: Tensor, radius: Tensor, size: int) -> Tensor:
    axis = torch.arange(size) + 0.5
    across = torch.exp(-((axis - center[0]) / radius).square())
    down = torch.exp(-((axis - center[1]) / radius).square())
    return down[:, None] * across[None]


def picture_loss(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """0.8 L1 + 0.2 D-SSIM (Kerbl et al. 2023, eq. 7), weighted per pixel; images [3, S, S] 0..1."""
    return ops.photo_error(image, target, weight, ssim_weight=0.2)


def matte_loss(alpha: Tensor, matte: Tensor) -> Tensor:
    """Mean absolute difference of coverage and person matte, both [1, S, S] 0..1."""
    return (alpha - matte).abs().mean()
