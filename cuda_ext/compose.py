"""A drawn frame over its plate, as bright as it was filmed, beside the truth: what a training step compares."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext import native

SUMS = 7  # the kernels' own: plain times truth and plain squared of each channel, the matte's error
PIXELS = 256  # of a block on a GPU


class Composed(NamedTuple):
    """A drawn frame and what it is compared with."""

    image: Tensor  # [3, S, S] with the gain of its exposure; differentiable
    matte_error: Tensor  # [] mean absolute difference of coverage and matte; differentiable
    truth: Tensor  # [3, S, S] 0..1
    weight: Tensor  # [1, S, S] of each pixel: 1, and more in the blobs
    sums: Tensor  # [7] float64, for `update_exposure_`


class _Compose(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rgb: Tensor, alpha: Tensor, *fixed: Tensor) -> tuple[Tensor, ...]:
        plate, picture, *_, exposure, _ = fixed
        size, where = rgb.shape[1], rgb.device
        arrays = [native.plain(tensor) for tensor in (rgb, alpha, *fixed)]
        image, truth = torch.empty_like(arrays[0]), torch.empty_like(arrays[0])
        weight, gain = torch.empty_like(arrays[1]), torch.empty(3, device=where)
        partial = torch.empty(max(size, -(-(size**2) // PIXELS)), SUMS, dtype=torch.float64, device=where)
        sums = torch.empty(SUMS, dtype=torch.float64, device=where)
        outputs = (image, truth, weight, gain, partial, sums)
        native.call("compose", where, *arrays, len(exposure) - 1, size, *outputs)
        ctx.save_for_backward(arrays[1], plate, picture, gain)
        ctx.mark_non_differentiable(truth, weight, sums)
        return image, sums[-1].float(), truth, weight, sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor, grad_matte: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        alpha, plate, picture, gain = ctx.saved_tensors
        incoming = (native.plain(grad_image), native.plain(grad_matte))
        grad_rgb, grad_alpha = torch.empty_like(incoming[0]), torch.empty_like(alpha)
        arrays = (alpha, native.plain(plate), native.plain(picture), gain, alpha.shape[1], *incoming)
        native.call("compose_backward", alpha.device, *arrays, grad_rgb, grad_alpha)
        return grad_rgb, grad_alpha, *[None] * 6


def compose(
    rgb: Tensor,
    alpha: Tensor,
    plate: Tensor,
    picture: Tensor,
    blobs: Tensor,
    weights: Tensor,
    exposure: Tensor,
    frame: Tensor,
) -> Composed:
    """Compose a drawn frame and what it is compared with; differentiable in rgb and alpha.

    rgb [3,S,S] premultiplied and alpha [1,S,S], over plate [3,S,S], all 0..1; picture [4,S,S] uint8: the truth and its
    matte; blobs [3,2,S] across and down, weights [3] in their middles: a pixel's weight is 1 + sum of weight * down *
    across. exposure [T+1,4]: log of the gains of each frame and 1 where they are known, its last row the sums; frame
    [1] int64. The frame is multiplied with exp(log - mean of all known logs). Raises ValueError or TypeError.
    """
    where, floats = rgb.device, {"rgb": (rgb, "3 S S"), "alpha": (alpha, "1 S S"), "plate": (plate, "3 S S")}
    others = {"blobs": (blobs, "3 2 S"), "weights": (weights, "3"), "exposure": (exposure, "E 4")}
    sizes = native.check("compose", floats | others)
    native.check("compose", {"picture": (picture, "4 S S")}, dtype=torch.uint8, sizes=sizes, device=where)
    native.check("compose", {"frame": (frame, "1")}, dtype=torch.int64, device=where)
    _check_frame("compose", exposure, frame)
    return Composed(*_Compose.apply(rgb, alpha, plate, picture, blobs, weights, exposure, frame))


def update_exposure_(
    exposure: Tensor, frame: Tensor, sums: Tensor, fitted: Tensor, *, rate: float, most: float
) -> None:
    """Move a frame's gains towards those that make it as bright as the truth, in place; see `compose`.

    sums [7] float64 of `compose`; fitted [1]: 0 changes nothing, nor does a sum that is not finite; rate 0..1: of the
    way; most: largest log of a gain. Raises ValueError or TypeError naming the argument.
    """
    native.check("update_exposure_", {"exposure": (exposure, "E 4"), "fitted": (fitted, "1")})
    native.check("update_exposure_", {"frame": (frame, "1")}, dtype=torch.int64, device=exposure.device)
    native.check("update_exposure_", {"sums": (sums, "7")}, dtype=torch.float64, device=exposure.device)
    _check_frame("update_exposure_", exposure, frame)
    arrays = (frame, len(exposure) - 1, sums, native.plain(fitted), rate, most)
    native.call("update_exposure", exposure.device, exposure, *arrays)


def _check_frame(where: str, exposure: Tensor, frame: Tensor) -> None:
    # On a GPU this would synchronize.
    if native.stream(exposure.device) is None and not 0 <= int(frame) < len(exposure) - 1:
        raise ValueError(f"{where}.frame is {int(frame)}, expected 0 to {len(exposure) - 2}")
