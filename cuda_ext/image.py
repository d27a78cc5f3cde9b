"""Pictures: the photometric error, and bytes for the screen or the video encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext import native


class _PhotoError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, weight: Tensor, moments: Any, ssim_weight: float) -> Tensor:
        size, device = image.shape[1], image.device
        gradient = torch.empty(3, size, size, device=device)
        workspace = torch.empty(9, size, size, device=device)
        blocks = 3 * (-(-size // 16)) ** 2  # of a GPU; the CPU sums rows
        sums = torch.empty(max(3 * size, 128 + blocks), dtype=torch.float64, device=device)
        error = torch.empty(1, dtype=torch.float64, device=device)
        arrays = [native.plain(tensor) for tensor in (image, target, weight)]
        cached = None if moments is None else native.plain(moments)
        native.call("photo_error", device, *arrays, cached, size, ssim_weight, workspace, sums, gradient, error)
        ctx.save_for_backward(gradient)
        return error[0].float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None, None, None, None


def photo_error(
    image: Tensor, target: Tensor, weight: Tensor, *, ssim_weight: float = 0.2, moments: Tensor | None = None
) -> Tensor:
    """Weighted mean of (1 - ssim_weight) * L1 + ssim_weight * (1 - SSIM) / 2: a scalar, differentiable in image only.

    image, target [3,S,S] in 0..1; weight [1,S,S] >= 0 (all zero gives 0). SSIM: Gaussian window 11, sigma 1.5, zero
    padding, C1 = 0.01^2, C2 = 0.03^2, per channel and pixel. moments [6,S,S]: `photo_moments` of the target, for a
    target that comes again. Raises ValueError or TypeError naming the argument.
    """
    tensors = {"image": (image, "3 S S"), "target": (target, "3 S S"), "weight": (weight, "1 S S")}
    native.check("photo_error", tensors if moments is None else tensors | {"moments": (moments, "6 S S")})
    return _PhotoError.apply(image, target, weight, moments, ssim_weight)


def photo_moments(target: Tensor) -> Tensor:
    """What `photo_error` makes of its target [3,S,S] alone: its blurred mean, then mean square, [6,S,S]."""
    size = native.check("photo_moments", {"target": (target, "3 S S")})["S"]
    moments = torch.empty(6, size, size, device=target.device)
    native.call("photo_moments", target.device, native.plain(target), size, moments)
    return moments


def _over(where: str, rgb: Tensor, alpha: Tensor, background: Tensor) -> tuple[int, int, tuple[Any, ...]]:
    """Check a picture over a background: size, batch, the three tensors and the background's stride."""
    lead = "B " if isinstance(rgb, Tensor) and rgb.dim() == 4 else ""
    sizes = native.check(where, {"rgb": (rgb, f"{lead}3 S S"), "alpha": (alpha, f"{lead}1 S S")})
    each = "B " if lead and isinstance(background, Tensor) and background.dim() == 4 else ""
    under = {"background": (background, f"{each}S S 3")}
    native.check(where, under, dtype=torch.uint8, sizes=sizes, device=rgb.device)
    background, stride = native.plain_frames(background if each else background[None])
    return sizes["S"], sizes.get("B", 1), (native.plain(rgb), native.plain(alpha), background, stride if each else 0)


def to_bytes(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [3,S,S] and alpha [1,S,S] in 0..1 over background [S,S,3] uint8 -> [S,S,3] uint8, rounded.

    rgb and alpha may have a leading dimension B, then so has the result, and so may the background.
    """
    size, batch, arrays = _over("to_bytes", rgb, alpha, background)
    out = torch.empty(*rgb.shape[:-3], size, size, 3, dtype=torch.uint8, device=rgb.device)
    native.call("to_bytes", rgb.device, *arrays, size, batch, out)
    return out


def to_nv12(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """As `to_bytes`, for a video encoder: NV12 [3 S / 2, S] uint8, S even.

    S rows of luma, then S / 2 rows of interleaved blue and red chroma, each the mean of 2 x 2 pixels; BT.709 in the
    limited range (luma 16..235). Raises ValueError for an odd S.
    """
    size, batch, arrays = _over("to_nv12", rgb, alpha, background)
    if size % 2:
        raise ValueError(f"to_nv12.rgb is {size} px wide, expected an even number")
    out = torch.empty(*rgb.shape[:-3], 3 * size // 2, size, dtype=torch.uint8, device=rgb.device)
    native.call("to_nv12", rgb.device, *arrays, size, batch, out)
    return out
