"""Parts of pictures as inputs of networks, as MediaPipe makes them with OpenCV 3.4: corners of the part go to corners
of the input, places are rounded to 1/32 px, colours to whole levels. The networks follow the last bit of their input.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

STEPS = 32  # of OpenCV's places, per px
FAR = 2**15 - 1  # px: OpenCV's places end there


@dataclass(frozen=True)
class Regions:
    """Turned rectangles of pictures, px."""

    center: Tensor  # [B, 2]
    size: Tensor  # [B, 2] width, height
    angle: Tensor  # [B] rad, clockwise as the picture is seen


def whole_picture(count: int, height: int, width: int, device: torch.device, *, square: bool = False) -> Regions:
    """The region of all of a picture; square: with what lies outside of its shorter sides."""
    center = torch.tensor([width / 2, height / 2], device=device).expand(count, 2)
    sides = [max(height, width)] * 2 if square else [width, height]
    return Regions(
        center, torch.tensor(sides, device=device, dtype=torch.float32).expand(count, 2), center.new_zeros(count)
    )


def cut_out(pictures: Tensor, regions: Regions, side: int, *, black_outside: bool = False) -> Tensor:
    """Regions of pictures [B, H, W, 3] uint8 as [B, 3, side, side] whole levels 0..255, float32.

    black_outside: else the border's colours are repeated.
    """
    places = _places(regions, side).clamp(-FAR * STEPS, FAR * STEPS)
    # OpenCV's sums are these, and five times as fast on a CPU
    levels = (_remap if pictures.device.type == "cpu" else _interpolate)(pictures, places, black_outside)
    return levels.permute(0, 3, 1, 2)


def _interpolate(pictures: Tensor, places: Tensor, black_outside: bool) -> Tensor:
    """Levels [B, side, side, 3] of pictures at places [B, side, side, 2] in steps."""
    count, height, width, _ = pictures.shape
    whole = torch.div(places.flatten(1, 2), STEPS, rounding_mode="floor").long()
    share = (places.flatten(1, 2) - whole * STEPS).float() / STEPS
    rows = pictures.reshape(count, height * width, 3)
    total = torch.zeros(*whole.shape[:2], 3, device=pictures.device)
    limit = torch.tensor([width - 1, height - 1], device=pictures.device)
    for across, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        corner = whole + torch.tensor([across, down], device=pictures.device)
        weight = (share[..., 0] if across else 1 - share[..., 0]) * (share[..., 1] if down else 1 - share[..., 1])
        kept = corner.clamp_min(0).minimum(limit)
        if black_outside:
            weight = weight * (kept == corner).all(-1)
        index = (kept[..., 1] * width + kept[..., 0])[..., None].expand(-1, -1, 3)
        total += weight[..., None] * rows.gather(1, index)
    return torch.floor(total + 0.5).reshape(*places.shape[:3], 3)


def _remap(pictures: Tensor, places: Tensor, black_outside: bool) -> Tensor:
    border = cv2.BORDER_CONSTANT if black_outside else cv2.BORDER_REPLICATE
    cut = []
    for picture, steps in zip(pictures.numpy(), places.int().numpy(), strict=True):
        share, whole = steps % STEPS, (steps // STEPS).astype(np.int16)
        table = (share[..., 1] * STEPS + share[..., 0]).astype(np.uint16)
        cut.append(cv2.remap(picture, whole, table, cv2.INTER_LINEAR, borderMode=border))
    return torch.from_numpy(np.stack(cut)).float()


def _places(regions: Regions, side: int) -> Tensor:
    """Where px of the input lie in the picture [B, side, side, 2], in whole steps of 1/32 px, float64.

    Corners are in single precision, as OpenCV's are, so that they are not quite a parallelogram's: the homography of a
    square to four corners (Heckbert 1989).
    """
    half = 0.5 * torch.stack([regions.angle.double().cos(), regions.angle.double().sin()], 1).float()
    (cosine, sine), (width, height) = half.T, regions.size.T
    x, y = regions.center.T
    left_bottom = torch.stack([x - sine * height - cosine * width, y + cosine * height - sine * width], 1)
    left_top = torch.stack([x + sine * height - cosine * width, y - cosine * height - sine * width], 1)
    corners = [left_top, 2 * regions.center - left_bottom, 2 * regions.center - left_top, left_bottom]
    a, b, c, d = (corner.double() for corner in corners)  # clockwise
    skew, first, second = a - b + c - d, b - c, d - c
    area = _cross(first, second)
    g, h = _cross(skew, second) / area, _cross(first, skew) / area
    matrix = torch.stack([b - a + g * b, d - a + h * d, a], 2)  # [B, 2, 3]
    share = torch.arange(side, device=x.device, dtype=torch.float64) / side
    u, v = (part.flatten() for part in torch.meshgrid(share, share, indexing="xy"))
    ahead = matrix @ torch.stack([u, v, torch.ones_like(u)])  # [B, 2, P]
    return (STEPS * ahead / (g[..., None] * u + h[..., None] * v + 1)).round().mT.unflatten(1, (side, side))


def _cross(one: Tensor, other: Tensor) -> Tensor:
    """[B, 1] of vectors [B, 2]."""
    return one[:, :1] * other[:, 1:] - one[:, 1:] * other[:, :1]
