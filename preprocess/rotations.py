"""Rotations and poses of many frames at once, in numpy float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Poses:
    """Head to camera, frame by frame."""

    rotation: Array  # [T, 3, 3]
    translation: Array  # [T, 3] cm

    def at(self, frames: slice | Array) -> Poses:
        """The poses of some frames."""
        return Poses(self.rotation[frames], self.translation[frames])


def exponential(vector: Array) -> Array:
    """Rotation vectors [T, 3] -> matrices [T, 3, 3] (Rodrigues)."""
    angle = np.linalg.norm(vector, axis=1).clip(1e-12)[:, None, None]
    x, y, z = (vector / angle[:, 0]).T
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew


def nearest_rotation(matrices: Array) -> Array:
    """The rotations nearest to matrices [T, 3, 3]."""
    u, _, v = np.linalg.svd(matrices)
    sign = np.sign(np.linalg.det(u @ v))
    u[:, :, 2] *= sign[:, None]
    return u @ v


def logarithm(matrices: Array) -> Array:
    """Matrices [T, 3, 3] -> rotation vectors [T, 3] rad; angles below 3 rad."""
    trace = np.trace(matrices, axis1=1, axis2=2)
    angle = np.arccos(((trace - 1) / 2).clip(-1, 1))
    axis = np.stack([matrices[:, 2, 1] - matrices[:, 1, 2], matrices[:, 0, 2] - matrices[:, 2, 0],
                     matrices[:, 1, 0] - matrices[:, 0, 1]], 1)  # fmt: skip
    factor = np.where(angle < 1e-4, 0.5, angle / (2 * np.sin(angle).clip(1e-8)))
    return axis * factor[:, None]
