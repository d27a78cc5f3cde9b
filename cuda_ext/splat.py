"""Gaussian splats to a picture and back, on either device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext import native
from cuda_ext.room import Room

TILE = 16  # px
BUCKET = 32  # splats of one tile
RECORD = 64  # bytes of a projected splat
SUMS = 12  # floats of a gradient slot
LOW_PASS = 0.3  # px^2, kLowPass of the native code


@dataclass(frozen=True)
class Part:
    """Which part of a square view a picture shows; the camera's axis meets the middle of the view."""

    whole: float  # px a side of the view
    left: float  # px of the view, of the picture's left border
    top: float
    low_pass: float = LOW_PASS  # px^2 added to each splat's covariance: less gives samples of a larger picture


@dataclass(frozen=True)
class SplatCall:
    """The arguments that every native splat function begins with."""

    arrays: tuple[Tensor, ...]  # means, quaternions, log_scales, opacity_logits, colors: [B,N,...]
    strides: tuple[int, ...]
    focal: float
    size: int
    focals: Tensor | None = None  # [B], where each frame has its own
    part: Part | None = None  # None: the whole view

    @property
    def device(self) -> torch.device:
        return self.arrays[0].device

    @property
    def batch(self) -> int:
        return self.arrays[0].shape[0]

    @property
    def count(self) -> int:
        return self.arrays[0].shape[1]

    @property
    def first(self) -> tuple[Any, ...]:
        part = self.part or Part(float(self.size), 0.0, 0.0)
        view = self.focal, self.size, (part.whole, part.left, part.top, part.low_pass)
        return (*self.arrays, self.focals), self.strides, self.count, self.batch, *view

    def pictures(self) -> tuple[Tensor, Tensor]:
        shape = (self.size, self.size)
        return (
            torch.empty(self.batch, 3, *shape, device=self.device),
            torch.empty(self.batch, 1, *shape, device=self.device),
        )


@dataclass(frozen=True)
class SplatSpace:
    """Buffers of one forward pass on a GPU, as `include/splat_gpu.h` describes them."""

    buffers: tuple[Tensor | None, ...]
    pairs: int  # (splat, tile) pairs that fit, a frame

    @property
    def needed(self) -> Tensor:
        """Pairs that each frame needs [B]; a frame that needs more than fit was drawn empty."""
        needed = self.buffers[1]
        assert needed is not None
        return needed


def _space(call: SplatCall, pairs: int, *, training: bool) -> SplatSpace:
    batch, tiles = call.batch, (-(-call.size // TILE)) ** 2
    buckets = pairs // BUCKET + tiles

    def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.empty(batch, *shape, dtype=dtype, device=call.device)

    records, needed = empty(call.count, RECORD // 4), empty(dtype=torch.int64)
    tile_arrays = (empty(tiles), empty(tiles), empty(tiles), empty(tiles + 1))
    keys = empty(pairs, dtype=torch.int64)
    checkpoints = empty(buckets, TILE * TILE, 4, dtype=torch.float32) if training else None
    return SplatSpace((records, needed, *tile_arrays, empty(buckets), keys, checkpoints, None), pairs)


def first_pairs(count: int) -> int:
    """Room to begin with: 16 tiles a splat is twice what fitted faces need."""
    return 16 * count + 4096


def draw_into(call: SplatCall, rgb: Tensor, alpha: Tensor, *, pairs: int, training: bool) -> SplatSpace:
    """Launch a drawing on a GPU with room for `pairs` a frame; nothing waits: `needed` of the space says if it fit."""
    space = _space(call, pairs, training=training)
    native.call("splat_forward_gpu", call.device, *call.first, space.buffers, space.pairs, rgb, alpha)
    return space


def draw_bytes_into(call: SplatCall, background: Tensor, bytes_: Tensor, *, pairs: int) -> SplatSpace:
    """As `draw_into`, over a background [S,S,3] or [B,S,S,3] uint8, as `to_bytes` or `to_nv12` make it of floats.

    bytes_: written, uint8: [B,S,S,3], or [B,3 S / 2,S] for NV12.
    """
    space, nv12 = _space(call, pairs, training=False), bytes_.dim() == 3
    stride = background.stride(0) if background.dim() == 4 else 0
    arguments = (space.buffers, space.pairs, background, stride, bytes_, nv12)
    native.call("splat_bytes_gpu", call.device, *call.first, *arguments)
    return space


def _draw_gpu(call: SplatCall, rgb: Tensor, alpha: Tensor, *, pairs: int, training: bool) -> SplatSpace:
    while True:
        space = draw_into(call, rgb, alpha, pairs=pairs, training=training)
        needed = int(space.needed.max())
        if needed <= space.pairs:
            return space
        if needed >= 2**32:
            raise ValueError("splat: more than 4e9 (splat, tile) pairs in a frame; the splats are far too large")
        pairs = needed + needed // 4


def _draw(call: SplatCall, training: bool, room: Room | None) -> tuple[Tensor, Tensor, Any]:
    rgb, alpha = call.pictures()
    if native.stream(call.device) is not None and room is not None:
        space = draw_into(call, rgb, alpha, pairs=room.size, training=training)
        room.note(space.needed)
        return rgb, alpha, space
    if native.stream(call.device) is not None:
        return rgb, alpha, _draw_gpu(call, rgb, alpha, pairs=first_pairs(call.count), training=training)
    return rgb, alpha, native.call("splat_forward", call.device, *call.first, training, rgb, alpha)


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: SplatCall, room: Room | None, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        rgb, alpha, ctx.left = _draw(call, True, room)
        ctx.save_for_backward(*call.arrays, rgb, alpha)
        ctx.call = replace(call, arrays=())  # the graph alone holds those tensors
        return rgb, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rgb: Tensor, grad_alpha: Tensor) -> tuple[Tensor | None, ...]:
        *arrays, rgb, alpha = ctx.saved_tensors
        call = replace(ctx.call, arrays=tuple(arrays))
        gradients = [torch.empty(array.shape, device=call.device) for array in arrays]
        pictures = (rgb, alpha, native.plain(grad_rgb), native.plain(grad_alpha))
        if isinstance(ctx.left, SplatSpace):
            sums = torch.empty(call.batch, ctx.left.pairs, SUMS, device=call.device)
            buffers = (*ctx.left.buffers[:-1], sums)
            native.call(
                "splat_backward_gpu", call.device, *call.first, buffers, ctx.left.pairs, *pictures, tuple(gradients)
            )
        else:
            native.call("splat_backward", call.device, ctx.left, *call.first, *pictures, tuple(gradients))
        return None, None, *gradients


def plan(*inputs: Tensor, focal: float | Tensor, size: int, part: Part | None = None) -> SplatCall:
    """The five batched tensors of `splat`, checked by the caller, as the native functions take them."""
    arrays, strides = zip(*(native.plain_frames(tensor) for tensor in inputs), strict=True)
    if isinstance(focal, Tensor):
        return SplatCall(arrays, strides, 0.0, size, focal, part)
    return SplatCall(arrays, strides, focal, size, part=part)


def splat(
    means: Tensor,
    quaternions: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    colors: Tensor,
    *,
    focal: float,
    size: int,
    room: Room | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw Gaussian splats: rgb [3,S,S] premultiplied, alpha [1,S,S]; differentiable in all five tensors.

    means [N,3] cm, camera frame (OpenCV axes); quaternions [N,4] wxyz, any length; log_scales [N,3] of cm;
    opacity_logits [N]; colors [N,3]; focal and size in px. Every tensor may have a leading dimension B, then so have
    the pictures; `expand` shares one tensor among all frames without a copy. room: of (splat, tile) pairs a frame;
    with it a GPU's drawing waits for nothing, and a frame that needs more of them is left empty.
    Raises ValueError or TypeError naming the argument. Source: EWA projection of 3D Gaussian Splatting (Kerbl 2023).
    """
    batched = isinstance(means, Tensor) and means.dim() == 3
    lead = "B " if batched else ""
    tensors = {
        "means": (means, f"{lead}N 3"),
        "quaternions": (quaternions, f"{lead}N 4"),
        "log_scales": (log_scales, f"{lead}N 3"),
        "opacity_logits": (opacity_logits, f"{lead}N"),
        "colors": (colors, f"{lead}N 3"),
    }
    native.check("splat", tensors)
    if not 0 < focal < float("inf") or not 0 < size <= 16384:
        raise ValueError(f"splat: focal is {focal} and size is {size}, expected focal > 0 and size in 1..16384")
    native.check_finite("splat", {name: tensor for name, (tensor, _) in tensors.items()})
    inputs = [tensor if batched else tensor[None] for tensor, _ in tensors.values()]
    call = plan(*inputs, focal=focal, size=size)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        rgb, alpha = _Splat.apply(call, room, *inputs)
    else:
        rgb, alpha, _ = _draw(call, False, room)
    return (rgb, alpha) if batched else (rgb[0], alpha[0])


def splat_part(*inputs: Tensor, focal: float, size: int, part: Part) -> tuple[Tensor, Tensor]:
    """As `splat` of B frames, but of a part of the view, whose focal length it is; not differentiable.

    Inputs are the first five arguments of `splat`, checked by the caller.
    """
    rgb, alpha, _ = _draw(plan(*inputs, focal=focal, size=size, part=part), False, None)
    return rgb, alpha
