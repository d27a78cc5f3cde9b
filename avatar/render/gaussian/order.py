"""Splats in the order of a space-filling curve: neighbours in space are neighbours in memory and in the file.

Blocks of codes then hold splats that move alike: those of hair and torso are zero for whole blocks, and scales fit what
they scale, so that the packed picture is nearer to the unpacked one (docs/lab/picture.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ext import ops

BITS = 10  # of each coordinate: cells of a quarter of a millimetre over a person


def morton_order(points: Tensor) -> Tensor:
    """The permutation [N] that sorts points [N, 3] along the Z-order curve of their bounding box (Morton 1966)."""
    low, high = points.amin(0), points.amax(0)
    extent = (high - low).amax().clamp_min(1e-9)
    cells = ((points - low) / extent * (2**BITS - 1)).long()
    code = torch.zeros_like(cells[:, 0])
    for bit in range(BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort(stable=True)


def reorder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same splats, base, deltas, quaternions and rigidity in the order of `morton_order`, all else as it is.

    What is drawn stays the same but for splats at exactly the same depth, which are blended in their order.
    """
    order = morton_order(ops.split_attributes(tensors["base"])["means"])

    def planar(values: Tensor) -> Tensor:
        """[..., 10 N]"""
        dimension = values.dim() - 1
        parts = ops.split_attributes(values).values()
        return torch.cat([part.index_select(dimension, order).flatten(dimension) for part in parts], dimension)

    moved = {name: planar(tensors[name]) for name in ("base", "deltas")}
    return tensors | moved | {name: tensors[name][order] for name in ("quaternions", "rigidity")}
