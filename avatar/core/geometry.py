"""The one camera and rotation convention: OpenCV axes (x right, y down, z forward), cm, px, radians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from avatar.core.landmarks import EYE_CORNERS

TINY_ANGLE = 1e-3  # rad, below which two terms of sine and cosine are exact in double precision

Values = TypeVar("Values", Tensor, np.ndarray)
"""Trackers work in numpy and float64, renderers in torch and float32; the formulas are the same."""


@dataclass(frozen=True)
class Camera:
    """Pinhole camera of a square picture; principal point at the centre."""

    focal: float  # px
    size: int  # px a side

    def scaled(self, size: int) -> Camera:
        """The same view drawn at another number of pixels."""
        return Camera(self.focal * size / self.size, size)


def project(points: Values, camera: Camera) -> Values:
    """Camera-frame points [..., 3] cm -> pixels [..., 2]; depth must be positive."""
    return camera.focal * points[..., :2] / points[..., 2:3] + camera.size / 2


def to_rays(pixels: Values, camera: Camera) -> Values:
    """Pixels [..., 2] -> x / z and y / z [..., 2] of all points that `project` puts there."""
    return (pixels - camera.size / 2) / camera.focal


def to_camera(points: Values, rotation: Values, translation: Values) -> Values:
    """Head-frame points [T, V, 3] or [V, 3] -> camera frame, by rotation [T, 3, 3] and translation [T, 3].

    Without the T, of one frame.
    """
    return points @ rotation.swapaxes(-1, -2) + translation[..., None, :]


def eye_distance(landmarks: Values) -> Values:
    """Distance [...] px of the outer eye corners of landmarks [..., 478, 2..3] px, at least 1e-6.

    Lengths in a face are measured in it: it changes neither with expression nor with the size of the picture.
    """
    left, right = (landmarks[..., corner, :2] for corner in EYE_CORNERS)
    if isinstance(landmarks, Tensor):
        return (left - right).norm(dim=-1).clamp_min(1e-6)
    return np.linalg.norm(left - right, axis=-1).clip(1e-6)


def apply_torso(points: Values, torso: Values) -> Values:
    """Points [..., 2] of the torso at rest -> where a frame with torso [4] shows them.

    p -> e^s Rot(r) p + shift, the torso's similarity transform: columns are shift x, y, log-scale s, roll r (rad);
    Rot(r) = [[cos r, -sin r], [sin r, cos r]]. Points are counted from the picture's centre, x right and y down, in
    the unit of the shift (px, as Motion has it).
    """
    cos, sin = _scaled_turn(torso[2], torso[3])
    x, y = points[..., 0], points[..., 1]
    return _stack(cos * x - sin * y + torso[0], sin * x + cos * y + torso[1])


def undo_torso(points: Values, torso: Values) -> Values:
    """Points [..., 2] of a frame with torso [4] -> where they lie on the torso at rest: `apply_torso` undone."""
    cos, sin = _scaled_turn(-torso[2], torso[3])
    x, y = points[..., 0] - torso[0], points[..., 1] - torso[1]
    return _stack(cos * x + sin * y, cos * y - sin * x)


def _scaled_turn(log_scale: Values, roll: Values) -> tuple[Values, Values]:
    if isinstance(log_scale, Tensor):
        return torch.exp(log_scale) * torch.cos(roll), torch.exp(log_scale) * torch.sin(roll)
    return np.exp(log_scale) * np.cos(roll), np.exp(log_scale) * np.sin(roll)


def _stack(x: Values, y: Values) -> Values:
    return torch.stack([x, y], -1) if isinstance(x, Tensor) else np.stack([x, y], -1)


def exponential(vector: Tensor) -> Tensor:
    """Rotation vector [..., 3] rad -> rotation matrix [..., 3, 3] (Rodrigues); differentiable, exact at zero."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vector.shape[:-1], 3, 3)
    squared = vector.square().sum(-1)[..., None, None]
    tiny = squared < TINY_ANGLE**2
    angle = torch.where(tiny, 1.0, squared).sqrt()  # whose slope at zero is no number
    first = torch.where(tiny, 1 - squared / 6, angle.sin() / angle)
    second = torch.where(tiny, 0.5 - squared / 24, 2 * ((angle / 2).sin() / angle).square())
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * skew + second * (skew @ skew)


def to_vector(rotation: Tensor) -> Tensor:
    """Rotation matrix [..., 3, 3] -> rotation vector [..., 3] rad; angles below 3 rad."""
    trace = rotation.diagonal(dim1=-2, dim2=-1).sum(-1)
    angle = torch.acos(((trace - 1) / 2).clamp(-1, 1))
    antisymmetric = torch.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        -1,
    )
    # angle / (2 sin angle) tends to 1/2 at zero
    factor = torch.where(angle < 1e-4, torch.full_like(angle, 0.5), angle / (2 * angle.sin().clamp_min(1e-8)))
    return antisymmetric * factor[..., None]


def mean_rotation(rotation: Tensor) -> Tensor:
    """The rotation [3, 3] nearest to the mean of rotations [T, 3, 3] (Frobenius norm)."""
    u, _, v = torch.linalg.svd(rotation.double().mean(0))
    sign = torch.det(u @ v)
    return (u @ torch.diag(torch.tensor([1.0, 1.0, float(sign)], dtype=torch.float64)) @ v).float()
