"""Rays of a picture through the box that the head lies in."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.geometry import Camera, project, to_camera, to_rays
from cuda_ext.reference import NEAREST_CM


@dataclass(frozen=True)
class Box:
    """A box in the head frame; positions within it are 0..1 a side."""

    lower: Tensor  # [3] cm
    upper: Tensor  # [3] cm

    def to(self, device: torch.device) -> Box:
        return Box(self.lower.to(device), self.upper.to(device))

    def corners(self) -> Tensor:
        """[8, 3] cm."""
        chosen = torch.tensor(list(itertools.product((0, 1), repeat=3)), device=self.lower.device)
        return torch.where(chosen > 0, self.upper, self.lower)

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
    near: float  # cm of depth
    far: float

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


def cast_rays(camera: Camera, rotation: Tensor, translation: Tensor, box: Box, filled: Box) -> Rays:
    """The rays, in units of a box, through all pixels that may see its `filled` part; both move with the head's pose.

    rotation: [3, 3]; translation: [3] cm.
    """
    corners = to_camera(filled.corners(), rotation, translation)
    corners[:, 2].clamp_min_(NEAREST_CM)
    near, far = float(corners[:, 2].min()), float(corners[:, 2].max())
    device, size, seen = rotation.device, camera.size, project(corners, camera)
    low, high = seen.amin(0).floor().clamp(0, size).long().tolist(), seen.amax(0).ceil().clamp(0, size).long().tolist()
    rows = torch.arange(low[1], high[1], device=device)
    columns = torch.arange(low[0], high[0], device=device)
    pixels = (rows[:, None] * size + columns).reshape(-1)
    slopes = to_rays(pixel_centers(rows, columns), camera).reshape(-1, 2)
    extent = box.upper - box.lower
    directions = torch.cat([slopes, torch.ones_like(slopes[:, :1])], 1) @ rotation / extent
    origins = box.to_unit(-translation @ rotation).expand(len(pixels), 3).contiguous()
    return Rays(pixels, origins, directions, extent, near, max(far, near + 1e-3))


def pixel_centers(rows: Tensor, columns: Tensor) -> Tensor:
    """The centres [H, W, 2] of the pixels in rows [H] and columns [W]: x, y px."""
    x, y = columns + 0.5, rows + 0.5
    return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)
