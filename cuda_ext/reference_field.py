"""The ops of radiance fields in plain torch, any float type: the manual, and in float64 the oracle of the tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

PRIMES = (1, 2654435761, 805459861, 3674653429)  # of the spatial hash, as Mueller et al. 2022
STOP = 1e-4  # transmittance at which a ray ends


def hash_grid(positions: Tensor, tables: Tensor, resolutions: Tensor) -> Tensor:
    """As `cuda_ext.ops.hash_grid`."""
    dimensions, entries = positions.shape[1], tables.shape[1]
    features = []
    for table, resolution in zip(tables, resolutions.tolist(), strict=True):
        scaled = positions.clamp(0, 1) * resolution
        lower = scaled.detach().floor().clamp(0, resolution - 1)
        part = scaled - lower
        dense = (resolution + 1) ** dimensions <= entries
        total = table.new_zeros(len(positions), 2)
        for upper in itertools.product((0, 1), repeat=dimensions):
            corner = lower.long() + lower.new_tensor(upper, dtype=torch.int64)
            weight = torch.ones_like(positions[:, 0])
            index = torch.zeros_like(corner[:, 0])
            for d in range(dimensions):
                weight = weight * (part[:, d] if upper[d] else 1 - part[:, d])
                if dense:
                    index = index + corner[:, d] * (resolution + 1) ** d
                else:
                    index = index ^ (corner[:, d] * PRIMES[d] & 0xFFFFFFFF)
            total = total + weight[:, None] * table[index if dense else index & (entries - 1)]
        features.append(total)
    return torch.cat(features, 1)


def mlp(inputs: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
    """As `cuda_ext.ops.mlp`."""
    values, at = inputs, 0
    for layer, (columns, rows) in enumerate(itertools.pairwise(widths)):
        matrix = weights[at : at + rows * columns].view(rows, columns)
        values, at = values @ matrix.T, at + rows * columns
        if layer + 2 < len(widths):
            values = functional.relu(values)
    return values


def march(
    origins: Tensor,
    directions: Tensor,
    occupancy: Tensor,
    *,
    near: float,
    far: float,
    step: float,
    jitter: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `cuda_ext.ops.march`, looking at every step: positions [P,3], distances [P], counts [R]."""
    steps = torch.arange(math.ceil((far - near) / step))
    shift = torch.full_like(origins[:, 0], 0.5) if jitter is None else jitter
    distances = near + (steps + shift[:, None]) * step
    positions = origins[:, None] + directions[:, None] * distances[..., None]
    inside = ((positions >= 0) & (positions < 1)).all(-1)
    side = occupancy.shape[0]
    x, y, z = (positions.clamp(0, 1) * side).long().clamp(0, side - 1).unbind(-1)
    kept = inside & (occupancy[z, y, x] > 0)
    return positions[kept], distances[kept], kept.sum(1)


def composite(sigmas: Tensor, colors: Tensor, lengths: Tensor, starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """As `cuda_ext.ops.composite`; samples after the stop count for nothing."""
    rays, alphas = [], []
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        part = slice(start, start + count)
        passed = torch.exp(-sigmas[part] * lengths[part])
        before = torch.cat([passed.new_ones(1), passed.cumprod(0)[:-1]]) if count else passed
        share = before * (1 - passed) * (before.detach() >= STOP)
        rays.append((share[:, None] * colors[part]).sum(0))
        alphas.append(share.sum())
    if not rays:
        return colors.new_zeros(0, colors.shape[1]), sigmas.new_zeros(0)
    return torch.stack(rays), torch.stack(alphas)
