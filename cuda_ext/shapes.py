"""The error that names the culprit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def check_shapes(
    where: str,
    tensors: Mapping[str, tuple[Tensor, str]],
    *,
    dtype: torch.dtype | None = None,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Check tensors against shape patterns such as "N 3"; return the size of each letter.

    tensors: name -> (tensor, pattern); a letter takes the size of its first use, a number must match exactly.
    sizes: letters known beforehand. Raises TypeError (no tensor, wrong dtype) or ValueError, naming the argument.
    """
    known: dict[str, int] = dict(sizes or {})
    origin = dict.fromkeys(known, where)
    for name, (tensor, pattern) in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{where}.{name} is {type(tensor).__name__}, expected a tensor")
        if dtype is not None and tensor.dtype != dtype:
            raise TypeError(f"{where}.{name} is {tensor.dtype}, expected {dtype}")
        parts = pattern.split()
        for part, size in zip(parts, tensor.shape, strict=False):
            if not part.isdigit() and part not in known:
                known[part], origin[part] = size, name
        expected = [int(part) if part.isdigit() else known.get(part) for part in parts]
        if len(parts) != tensor.dim() or list(tensor.shape) != expected:
            letters = [part for part in parts if not part.isdigit() and origin.get(part, name) != name]
            given = "".join(f" with {part} = {known[part]} (from {origin[part]})" for part in dict.fromkeys(letters))
            raise ValueError(f"{where}.{name} is {list(tensor.shape)}, expected [{', '.join(parts)}]{given}")
    return known
