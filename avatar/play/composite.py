"""Person over background, and to bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from cuda_ext import ops

Pixels = Literal["rgb", "nv12", "rgba"]
Paint = Callable[[Tensor, Tensor, Tensor], Tensor]


def over(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [B, 3, S, S] over a background [S, S, 3] uint8 -> [B, S, S, 3] uint8."""
    return ops.to_bytes(rgb, alpha, background)


def over_nv12(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """As `over`, for the video encoder: NV12 [B, 3 S / 2, S] uint8."""
    return ops.to_nv12(rgb, alpha, background)


def with_alpha(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [B, 3, S, S] and alpha -> RGB and alpha, not premultiplied, [B, S, S, 4] uint8."""
    straight = rgb / alpha.clamp_min(1 / 255)
    return (torch.cat([straight, alpha], 1).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


PAINT: dict[Pixels, Paint] = {"rgb": over, "nv12": over_nv12, "rgba": with_alpha}
