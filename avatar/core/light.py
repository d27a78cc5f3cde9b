"""The light that a surface receives, as the second order of its normal: spherical harmonics up to order two.

The logarithm of the light is [n, 1]^T M [n, 1] of a unit normal n, with a symmetric matrix M for each colour
(Ramamoorthi and Hanrahan 2001 write irradiance so). As a logarithm it is never negative, lights are compared by
differences, and the sum of all is linear in ten products of the normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TERMS = 10
LUMINANCE = (0.2126, 0.7152, 0.0722)
DISPLAY = 2.2  # exponent from a picture's values to light


@dataclass(frozen=True)
class ClipLight:
    """The light that a clip was filmed in, and how an avatar's splats stand in it."""

    normals: Tensor  # [N, 3] unit, head frame
    matrices: Tensor  # [3, 4, 4] log light of red, green and blue, camera frame; its mean is that of the skin
    explained: float  # share of the skin's variance in log luminance, 0..1


def products(normals: Tensor) -> Tensor:
    """The ten products [..., 10] of normals [..., 3] that light is linear in: 1, x, y, z, xy, yz, xz, xx, yy, zz."""
    x, y, z = normals.unbind(-1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, y * z, x * z, x * x, y * y, z * z], -1)


def coefficients(matrices: Tensor) -> Tensor:
    """What `products` are multiplied with: matrices [..., 4, 4] -> [..., 10]."""
    m = matrices
    two = [2 * m[..., 0, 3], 2 * m[..., 1, 3], 2 * m[..., 2, 3], 2 * m[..., 0, 1], 2 * m[..., 1, 2], 2 * m[..., 0, 2]]
    return torch.stack([m[..., 3, 3], *two, m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], -1)


def to_matrices(values: Tensor) -> Tensor:
    """The matrices [..., 4, 4] of coefficients [..., 10]."""
    one, x, y, z, xy, yz, xz, xx, yy, zz = values.unbind(-1)
    rows = [[xx, xy / 2, xz / 2, x / 2], [xy / 2, yy, yz / 2, y / 2], [xz / 2, yz / 2, zz, z / 2],
            [x / 2, y / 2, z / 2, one]]  # fmt: skip
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def in_frame(matrices: Tensor, rotation: Tensor) -> Tensor:
    """The light on normals of a frame that `rotation` [..., 3, 3] brings to the light's own."""
    whole = functional.pad(rotation, (0, 1, 0, 1))
    whole[..., 3, 3] = 1.0
    return whole.mT @ matrices @ whole
