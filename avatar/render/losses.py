"""What renderers are trained on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatar.core.geometry import Camera
from avatar.core.landmarks import LEFT_CORNER, LEFT_EYE, MOUTH_EXTREMES, RIGHT_CORNER, RIGHT_EYE
from cuda_ext import ops

HOLE = 0.01  # of the light: what shines through a person and cannot be seen
SSIM_WEIGHT = 0.2  # as Kerbl et al. 2023
MOUTH_WEIGHT, MOUTH_RADIUS = 2.0, 0.6  # added in the middle of the mouth; of its width: lips and the skin beside them
FINE_MOUTH = 6.0  # added to the mouth's weight after `Schedule.mouth_from`
EYE_WEIGHT, EYE_RADIUS = 1.5, 0.7  # added in the middle of an eye; of its width: lids and the skin that they fold


def blob_weights(on_mouth: bool) -> tuple[float, float, float]:
    """Weight added in the middle of the mouth and of each eye; on_mouth: much more in the mouth."""
    return MOUTH_WEIGHT + on_mouth * FINE_MOUTH, EYE_WEIGHT, EYE_WEIGHT


def weight_blobs(landmarks: Tensor, camera: Camera) -> Tensor:
    """Gaussians about the mouth and the eyes of landmarks [T, 478, 3] px: across and down [T, 3, 2, S].

    A pixel's value, 1 in the middle, is the product of both; `ops.compose` makes weights of them.
    """
    corners = landmarks[:, [LEFT_CORNER, RIGHT_CORNER], :2]
    blobs = [_blob(landmarks[:, list(MOUTH_EXTREMES), :2].mean(1), MOUTH_RADIUS * _length(corners), camera.size)]
    for eye in (LEFT_EYE, RIGHT_EYE):
        corners = landmarks[:, [eye.outer, eye.inner], :2]
        blobs.append(_blob(corners.mean(1), EYE_RADIUS * _length(corners), camera.size))
    return torch.stack(blobs, 1)


def _length(ends: Tensor) -> Tensor:
    """[T] of lines [T, 2, 2]."""
    return (ends[:, 0] - ends[:, 1]).norm(dim=1)


def _blob(center: Tensor, radius: Tensor, size: int) -> Tensor:
    """Gaussians across and down [T, 2, S], 1 at their centers [T, 2] px, 1/e at the radius [T]."""
    return torch.exp(-((torch.arange(size) + 0.5 - center[..., None]) / radius[:, None, None]).square())


def picture_loss(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """0.8 L1 + 0.2 D-SSIM (Kerbl et al. 2023, eq. 7), weighted per pixel; images [3, S, S] 0..1."""
    return ops.photo_error(image, target, weight, ssim_weight=SSIM_WEIGHT)


def hole_loss(alpha: Tensor, matte: Tensor) -> Tensor:
    """Mean of log(1 + light / HOLE): the light that coverage [1, S, S] 0..1 lets through where the matte is full.

    matte: [1, S, S] uint8. Splats let through products of what each does. So a difference would pull the less, the less
    is left; the logarithm pulls on the last per cent as on the first.
    """
    light = (1 - alpha) * (matte == 255)
    return (light + HOLE).log().mean() - math.log(HOLE)
