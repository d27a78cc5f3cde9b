"""Parameters at the beginning of a training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from avatar.render.nerf.field import AMBIENT_ENTRIES, AMBIENT_LEVELS, HIDDEN_WIDTH, Values, head_shapes
from avatar.render.nerf.settings import NerfSettings
from avatar.render.nerf.torso import torso_shapes
from avatar.render.nerf.upscale import LAST_UPSCALE, UPSCALE_SHAPES

TABLE_RANGE = 1e-4  # of a hash table's first entries, as Mueller et al. 2022


def initial_head(settings: NerfSettings, features: int, generator: torch.Generator) -> Values:
    """Parameters of the head; features: of a frame."""
    planes = 3 if settings.encoding == "triplane" else 1
    values = {"head.tables": _tables(planes, settings.levels, 2**settings.log2_entries, generator)}
    if settings.conditioning == "ambient":
        values["head.ambient_tables"] = _tables(1, AMBIENT_LEVELS, AMBIENT_ENTRIES, generator)
    for name, widths in head_shapes(settings, features).items():
        values[name] = _network(widths, generator)
    return values


def initial_torso(settings: NerfSettings, generator: torch.Generator) -> Values:
    """Parameters of the torso."""
    values = {"torso.tables": _tables(1, settings.torso_levels, 2**settings.torso_log2_entries, generator)}
    for name, widths in torso_shapes(settings).items():
        values[name] = _network(widths, generator)
        if name != "torso.color":  # at first nothing is shifted, and the head changes nothing (docs/lab/nerf.md)
            values[name][-HIDDEN_WIDTH * widths[-1] :] = 0
    return values


def initial_upscale(generator: torch.Generator) -> Values:
    """Weights of the convolutions that enlarge; the last is zero, so that at first nothing is added."""
    values = {}
    for name, shape in UPSCALE_SHAPES.items():
        values[name] = torch.randn(shape, generator=generator) * (2 / (9 * shape[1])) ** 0.5
    return values | {LAST_UPSCALE: torch.zeros(UPSCALE_SHAPES[LAST_UPSCALE])}


def initial_lora(widths: Sequence[int], rank: int, generator: torch.Generator) -> Tensor:
    """Flat factors of a network with these widths: for each layer A [rank, in], then B [out, rank], which is zero."""
    parts = []
    for before, after in itertools.pairwise(widths):
        parts += [torch.randn(rank * before, generator=generator) / before**0.5, torch.zeros(after * rank)]
    return torch.cat(parts)


def _tables(planes: int, levels: int, entries: int, generator: torch.Generator) -> Tensor:
    """Tables [planes, L, T, 2] of hash grids."""
    return TABLE_RANGE * (2 * torch.rand(planes, levels, entries, 2, generator=generator) - 1)


def _network(widths: Sequence[int], generator: torch.Generator) -> Tensor:
    """Flat weights of a network (He et al. 2015)."""
    parts = [torch.randn(b * a, generator=generator) * (2 / a) ** 0.5 for a, b in itertools.pairwise(widths)]
    return torch.cat(parts)
