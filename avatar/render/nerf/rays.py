"""Rays of a picture through the box that the head lies in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.geometry import Camera, project, to_camera, to_rays
from cuda_ext.reference import NEAREST_CM

LEAST_DEPTH_CM = 1e-3  # between near and far


@dataclass(frozen=True)
class Box:
    """A box in the head frame; positions within it are 0..1 a side."""

    lower: Tensor  # [3] cm
    upper: Tensor  # [3] cm

    def to(self, device: torch.device) -> Box:
        return Box(self.lower.to(device), self.upper.to(device))

    def corners(self) -> Tensor:
        """[8, 3] cm."""
        return torch.cartesian_prod(*torch.stack([self.lower, self.upper], 1))

    def to_unit(self, points: Tensor) -> Tensor:
        """Head-frame points [..., 3] cm -> 0..1 inside of the box."""
        return (points - self.lower) / (self.upper - self.lower)

    def to_cm(self, points: Tensor) -> Tensor:
        """The inverse of `to_unit`."""
        return self.lower + points * (self.upper - self.lower)


@dataclass(frozen=True)
class Rays:
    """Rays through some pixels of one frame, in units of a box."""

    pixels: Tensor  # [R] int64, row * S + column
    origins: Tensor  # [R, 3]
    directions: Tensor  # [R, 3] of which one length is one cm of depth
    extent: Tensor  # [3] cm, of the box
    depths: Tensor  # [2] cm, near and far

    def __len__(self) -> int:
        return len(self.pixels)

    def part(self, start: int, stop: int) -> Rays:
        """Some of the rays."""
        chosen = slice(start, stop)
        return replace(
            self, pixels=self.pixels[chosen], origins=self.origins[chosen], directions=self.directions[chosen]
        )

    def unit_directions(self) -> Tensor:
        """[R, 3] in the head frame, of length 1."""
        return functional.normalize(self.directions * self.extent, dim=1)


def cast_rays(
    camera: Camera, rotation: Tensor, translation: Tensor, box: Box, filled: Box, *, whole: bool = False
) -> Rays:
    """The rays, in units of a box, through all pixels that may see its `filled` part; both move with the head's pose.

    rotation: [3, 3]; translation: [3] cm. whole: through all pixels of the picture, so that nothing waits for a GPU.
    """
    corners = to_camera(filled.corners(), rotation, translation)
    corners[:, 2].clamp_min_(NEAREST_CM)
    near, far = corners[:, 2].aminmax()
    (left, top), (right, bottom) = (
        ((0, 0), (camera.size,) * 2) if whole else _picture_part(project(corners, camera), camera)
    )
    device, size = rotation.device, camera.size
    rows, columns = torch.arange(top, bottom, device=device), torch.arange(left, right, device=device)
    pixels = (rows[:, None] * size + columns).reshape(-1)
    slopes = to_rays(pixel_centers(rows, columns), camera).reshape(-1, 2)
    extent = box.upper - box.lower
    directions = torch.cat([slopes, torch.ones_like(slopes[:, :1])], 1) @ rotation / extent
    origins = box.to_unit(-translation @ rotation).expand(len(pixels), 3).contiguous()
    depths = torch.stack([near, torch.maximum(far, near + LEAST_DEPTH_CM)])
    return Rays(pixels, origins, directions, extent, depths)


def _picture_part(points: Tensor, camera: Camera) -> tuple[list[int], list[int]]:
    """The smallest part of a picture about points [P, 2] px: x, y of its first corner and of its last."""
    first, last = points.amin(0).floor(), points.amax(0).ceil()
    corners = torch.stack([first, last]).clamp(0, camera.size).long().tolist()
    return corners[0], corners[1]


def pixel_centers(rows: Tensor, columns: Tensor) -> Tensor:
    """The centres [H, W, 2] of the pixels in rows [H] and columns [W]: x, y px."""
    x, y = columns + 0.5, rows + 0.5
    return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)
