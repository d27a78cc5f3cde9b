"""Person over background, and to bytes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cuda_ext import ops

Pixels = ops.Pixels
Paint = Callable[[Tensor, Tensor, Tensor], Tensor]


def over(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [B, 3, S, S] over a background [S, S, 3] uint8 -> [B, S, S, 3] uint8."""
    return ops.to_bytes(rgb, alpha, background)


def over_nv12(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """As `over`, for the video encoder: NV12 [B, 3 S / 2, S] uint8."""
    return ops.to_nv12(rgb, alpha, background)


def picture_nv12(picture: Tensor) -> Tensor:
    """A picture [H, W, 3] uint8 with even sides as NV12 [3 H / 2, W]."""
    height, width, _ = picture.shape
    side = math.gcd(height, width)
    tiles = (
        picture.unflatten(1, (-1, side)).unflatten(0, (-1, side)).transpose(1, 2).flatten(0, 1)
    )  # [n, side, side, 3]
    nothing = torch.zeros(1, 4, side, side, device=picture.device).expand(len(tiles), 4, side, side)
    converted = ops.to_nv12(nothing[:, :3], nothing[:, 3:], tiles.contiguous()).unflatten(0, (height // side, -1))
    planes = converted.split([side, side // 2], 2)
    return torch.cat([plane.transpose(1, 2).reshape(-1, width) for plane in planes])


def with_alpha(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [B, 3, S, S] and alpha -> RGB and alpha, not premultiplied, [B, S, S, 4] uint8."""
    return ops.with_alpha(rgb, alpha)


PAINT: dict[Pixels, Paint] = {"rgb": over, "nv12": over_nv12, "rgba": with_alpha}
