"""The one camera and rotation convention: OpenCV axes (x right, y down, z forward), cm, px, radians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """Pinhole camera of a square picture; principal point at the centre."""

    focal: float  # px
    size: int  # px a side

    def scaled(self, size: int) -> Camera:
        """The same view drawn at another number of pixels."""
        return Camera(self.focal * size / self.size, size)


def project(points: Tensor, camera: Camera) -> Tensor:
    """Camera-frame points [..., 3] cm -> pixels [..., 2]; depth must be positive."""
    return camera.focal * points[..., :2] / points[..., 2:3] + camera.size / 2


def to_camera(points: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """Head-frame points [T, V, 3] or [V, 3] -> camera frame, by rotation [T, 3, 3] and translation [T, 3]."""
    return points @ rotation.mT + translation[..., None, :]


def exponential(vector: Tensor) -> Tensor:
    """Rotation vector [..., 3] rad -> rotation matrix [..., 3, 3] (Rodrigues); differentiable, exact at zero."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vector.shape[:-1], 3, 3)
    return torch.linalg.matrix_exp(skew)


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
