"""Tensors made smaller: bytes without loss (blendshapes are half zeros, backgrounds smooth), weights by rounding."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

LEAST = 50_000  # bytes: smaller ones stay as they are
KINDS = {"int8": torch.int8, "uint8": torch.uint8}
LEVEL = 6
FREE, MOST_RATIO = 64_000_000, 20  # bytes of flat pictures in any file; of blendshapes, which shrink to a third

Forms = dict[str, tuple[str, list[int]]]  # name -> dtype and shape before


def deflate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Forms]:
    """Large int8 and uint8 tensors as zlib streams [n] uint8, all others as they are, and what `inflate` must know.

    Pictures [H, W, C] uint8 are stored as differences from the row above, modulo 256.
    """
    names = {kind: name for name, kind in KINDS.items()}
    packed, forms = dict(tensors), Forms()
    for name, tensor in tensors.items():
        if tensor.dtype not in names or tensor.numel() < LEAST:
            continue
        forms[name] = names[tensor.dtype], list(tensor.shape)
        data = zlib.compress(_change(tensor).contiguous().numpy().tobytes(), LEVEL)
        packed[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return packed, forms


def inflate(tensors: Mapping[str, Tensor], forms: Mapping[str, Sequence]) -> dict[str, Tensor]:
    """What `deflate` was given.

    Raises: ValueError when a stream is damaged or of another length than its form says, or when forms ask for much more
    memory than such a file needs; nothing is inflated then.
    """
    whole = dict(tensors)
    sizes = {name: _size(name, shape) for name, (_, shape) in forms.items()}
    if sum(sizes.values()) > FREE + MOST_RATIO * sum(tensors[name].numel() for name in forms):
        raise ValueError(
            f"{sum(tensors[name].numel() for name in forms)} bytes say that they hold {sum(sizes.values())}"
        )
    for name, (kind, shape) in forms.items():
        size = sizes[name]
        stream = zlib.decompressobj()
        try:
            data = stream.decompress(tensors[name].numpy().tobytes(), size + 1)
        except zlib.error as error:
            raise ValueError(f"{name} cannot be inflated ({error})") from error
        if len(data) != size:
            raise ValueError(f"{name} holds {len(data)} bytes, expected {size}")
        plain = torch.frombuffer(bytearray(data), dtype=KINDS[kind]).view(shape)
        whole[name] = plain if plain.dim() != 3 else plain.cumsum(0, dtype=plain.dtype)
    return whole


def _size(name: str, shape: Sequence[int]) -> int:
    if not all(type(side) is int and 0 <= side < 1 << 31 for side in shape):
        raise ValueError(f"{name} has the shape {str(shape)[:80]}")
    return math.prod(shape)


def _change(tensor: Tensor) -> Tensor:
    return torch.cat([tensor[:1], tensor[1:] - tensor[:-1]]) if tensor.dim() == 3 else tensor


def shorten(weights: Tensor, digits: int) -> Tensor:
    """Weights in half precision with so many binary digits after the point, of ten, to the nearest, ties to even.

    The last digits of weights are noise that does not deflate; as zeros they take no place in a package.
    """
    if not (dropped := 10 - digits):
        return weights.half().contiguous()
    bits = weights.half().contiguous().view(torch.int16).int()
    half = (1 << dropped - 1) - 1 + (bits >> dropped & 1)
    return ((bits + half) >> dropped << dropped).to(torch.int16).view(torch.float16)
