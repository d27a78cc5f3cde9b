"""Convolutions over time of a few rows, for networks that run live: one native call on the CPU, torch's on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from cuda_ext import native, reference
from cuda_ext.reference import Convolution

BLOCK = 32  # columns of weights that lie together


@dataclass(frozen=True)
class PackedConvolution(Convolution):
    """A convolution, ready for `convolve`; made by `pack_convolution`."""

    packed: Tensor | None = None  # [ceil(O / 32), K ceil(I / 2), 32, 2] bfloat16; None: torch's own convolution is used
    packed_bias: Tensor | None = None  # [ceil(O / 32) 32]


def pack_convolution(layer: Convolution, precision: torch.dtype = torch.bfloat16) -> PackedConvolution:
    """A convolution's weights as the kernels read them.

    precision: bfloat16 weights (and inputs, on processors that multiply those) with float32 sums, on the CPU alone; or
    float32, by torch's own convolution. Raises ValueError or TypeError.
    """
    scale, shift = layer.normalized or (None, None)
    given = {"weight": (layer.weight, "O I K"), "bias": (layer.bias, "O")}
    given |= {} if scale is None or shift is None else {"scale": (scale, "I"), "shift": (shift, "I")}
    sizes = native.check("pack_convolution", given)
    if precision not in (torch.bfloat16, torch.float32):
        raise ValueError(f"pack_convolution.precision is {precision}, expected bfloat16 or float32")
    if min(*sizes.values(), layer.dilation, layer.stride) < 1:
        steps = f"dilation {layer.dilation} and stride {layer.stride}"
        raise ValueError(f"pack_convolution: sizes {sizes}, {steps} must be 1 or more")
    weight, bias = native.plain(layer.weight), native.plain(layer.bias)
    kept = None if scale is None or shift is None else (native.plain(scale), native.plain(shift))
    plain = replace(layer, weight=weight, bias=bias, normalized=kept)
    if precision == torch.float32 or native.stream(weight.device) is not None:
        return PackedConvolution(**vars(plain))
    padded = functional.pad(bias, (0, -len(bias) % BLOCK))
    return PackedConvolution(**vars(plain), packed=_packed(weight), packed_bias=padded)


def _packed(weight: Tensor) -> Tensor:
    out, width, _ = weight.shape
    padded = functional.pad(weight, (0, 0, 0, width % 2, 0, -out % BLOCK))
    pairs = padded.unflatten(1, (-1, 2)).unflatten(0, (-1, BLOCK))  # [blocks, 32, I / 2, 2, K]
    return pairs.permute(0, 4, 2, 1, 3).flatten(1, 2).contiguous().to(torch.bfloat16)


def convolve(
    inputs: Tensor, layer: PackedConvolution, *, left: int = 0, right: int = 0, added: Tensor | None = None
) -> Tensor:
    """Rows [B,T,I] -> [B,N,O], by a layer, with so many rows of zeros before and after; added: [B,N,O], to the result.

    Without gradients. Natively by one thread; an output does not depend on which others are made with it. Raises
    ValueError or TypeError.
    """
    out, width, taps = layer.weight.shape
    sizes = native.check("convolve", {"inputs": (inputs, f"B T {width}")}, device=layer.weight.device)
    if left < 0 or right < 0:
        raise ValueError(f"convolve: {left} and {right} rows of zeros, expected 0 or more")
    batch, rows = sizes["B"], sizes["T"]
    count = max(0, (rows + left + right - layer.dilation * (taps - 1) - 1) // layer.stride + 1)
    if added is not None:
        native.check("convolve", {"added": (added, f"{batch} {count} {out}")}, device=inputs.device)
    if layer.packed is None:
        return reference.convolve(inputs, layer, left, right, added)
    scale, shift = layer.normalized or (None, None)
    inputs, added = native.plain(inputs), None if added is None else native.plain(added)
    result = torch.empty(batch, count, out)
    native.call(
        "convolve", inputs.device, inputs, scale, shift, layer.packed, layer.packed_bias, added,
        batch, rows, width, out, count, taps, layer.dilation, layer.stride, left, layer.gelu, result,
    )  # fmt: skip
    return result
