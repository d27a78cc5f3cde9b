"""Splats in the order of a space-filling curve: neighbours in space are neighbours in memory and in the file.

Blocks of codes then hold splats that move alike: those of hair and torso are zero for whole blocks, and scales fit what
they scale, so that the packed picture is nearer to the unpacked one (docs/lab/picture.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 10  # of each coordinate: cells of a quarter of a millimetre over a person


def morton_order(points: Tensor) -> Tensor:
    """The permutation [N] that sorts points [N, 3] along the Z-order curve of their bounding box (Morton 1966)."""
    low, high = points.amin(0), points.amax(0)
    extent = (high - low).amax().clamp_min(1e-9)
    cells = ((points - low) / extent * (2**BITS - 1)).long()
    code = torch.zeros(len(points), dtype=torch.int64)
    for bit in range(BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort(stable=True)
