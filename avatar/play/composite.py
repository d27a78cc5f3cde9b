"""Person over background, and to bytes."""

from __future__ import annotations

from collections.abc import Callable

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


def with_alpha(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [B, 3, S, S] and alpha -> RGB and alpha, not premultiplied, [B, S, S, 4] uint8."""
    return ops.with_alpha(rgb, alpha)


PAINT: dict[Pixels, Paint] = {"rgb": over, "nv12": over_nv12, "rgba": with_alpha}
