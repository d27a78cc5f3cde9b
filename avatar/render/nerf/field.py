"""The head's radiance field: position, motion and light -> density and colour.

Position: a multi-resolution hash grid (Mueller et al. 2022), or three of planes (Li et al. 2023, ER-NeRF). Motion: a
few ambient coordinates with a hash grid of their own (Tang et al. 2022, RAD-NeRF), or a code whose channels each region
of the head takes or leaves (ER-NeRF's region attention). Light: a few numbers a training frame (Martin-Brualla et al.
2021).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.render.features import EYE_FEATURES, POSE_FEATURES
from avatar.render.nerf.backends import Backend
from avatar.render.nerf.lora import PREFIX, low_rank
from avatar.render.nerf.settings import NerfSettings
from avatar.render.nerf.warp import HINTS

GEOMETRY = 15  # numbers that the density network tells the colour network
AMBIENT_LEVELS, AMBIENT_ENTRIES = 6, 4096
AMBIENT_CELLS = (4, 64)  # coarsest, finest
HIDDEN = 32  # of the small networks
ATTENTION_WIDTH = 16
FIRST_DENSITY = 2.0  # log of 1/cm, before anything is learned
MOST_LOG_DENSITY = 6.0
PLANES = ((0, 1), (0, 2), (1, 2))

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Conditions:
    """What one frame tells the whole field."""

    code: Tensor  # [C] of the expression
    eyes: Tensor  # [4] features of lids and gaze
    light: Tensor  # [A]


def level_sizes(coarsest: int, finest: int, levels: int) -> Tensor:
    """Cells a side of each level [L] int32, growing evenly."""
    growth = (finest / coarsest) ** (1 / max(1, levels - 1))
    return torch.tensor([round(coarsest * growth**level) for level in range(levels)], dtype=torch.int32)


def network_shapes(settings: NerfSettings, features: int) -> dict[str, list[int]]:
    """Widths of each network of the head; features: of a frame."""
    planes = 3 if settings.encoding == "triplane" else 1
    hints = HINTS if settings.warp else 0
    space, told = 2 * settings.levels * planes + hints, settings.code + EYE_FEATURES
    shapes = {"head.code": [features - POSE_FEATURES - EYE_FEATURES, HIDDEN, settings.code]}
    if settings.conditioning == "ambient":
        shapes["head.ambient"] = [space + settings.code, HIDDEN, settings.ambient]
        told = 2 * AMBIENT_LEVELS + EYE_FEATURES
    else:
        shapes["head.attention"] = [space, ATTENTION_WIDTH, told]
    width = settings.width
    shapes["head.density"] = [space + told, width, 1 + GEOMETRY]
    shapes["head.color"] = [GEOMETRY + 3 + settings.appearance, width, 3]
    return shapes


def begin_head(settings: NerfSettings, features: int, generator: torch.Generator) -> Values:
    """Fresh parameters of the head."""
    planes = 3 if settings.encoding == "triplane" else 1
    values = {"head.tables": begin_tables(planes, settings.levels, 2**settings.log2_entries, generator)}
    if settings.conditioning == "ambient":
        values["head.ambient_tables"] = begin_tables(1, AMBIENT_LEVELS, AMBIENT_ENTRIES, generator)
    for name, widths in network_shapes(settings, features).items():
        values[name] = begin_network(widths, generator)
    return values


def begin_tables(planes: int, levels: int, entries: int, generator: torch.Generator) -> Tensor:
    """Fresh tables [planes, L, T, 2] of hash grids."""
    return 1e-4 * (2 * torch.rand(planes, levels, entries, 2, generator=generator) - 1)


def begin_network(widths: Sequence[int], generator: torch.Generator) -> Tensor:
    """Fresh flat weights of a network (He et al. 2015)."""
    parts = [torch.randn(b * a, generator=generator) * (2 / a) ** 0.5 for a, b in itertools.pairwise(widths)]
    return torch.cat(parts)


class HeadField:
    """The field as a function of its parameters; holds none of them."""

    def __init__(self, settings: NerfSettings, features: int, backend: Backend, device: torch.device) -> None:
        self._settings, self._backend = settings, backend
        self._shapes = network_shapes(settings, features)
        self._resolutions = level_sizes(settings.coarsest, settings.finest, settings.levels).to(device)
        self._ambient_resolutions = level_sizes(*AMBIENT_CELLS, AMBIENT_LEVELS).to(device)

    def condition(self, values: Values, features: Tensor, light: Tensor) -> Conditions:
        """Conditions of a frame with features [D] and light [A]."""
        turn = len(features) - POSE_FEATURES
        expression, eyes = features[: turn - EYE_FEATURES], features[turn - EYE_FEATURES : turn]
        code = self._network(values, "head.code", expression[None])[0]
        return Conditions(code, eyes, light)

    def __call__(
        self, values: Values, positions: Tensor, hints: Tensor, directions: Tensor, conditions: Conditions
    ) -> tuple[Tensor, Tensor]:
        """Density [P] a cm and colour [P, 3] 0..1 at positions [P, 3] 0..1, seen along unit directions [P, 3].

        hints: [P, H] how the expression was undone (`Warp.undo`); nothing without a warp.
        """
        space = torch.cat([self._encode(values, positions), hints], 1)
        told = self._tell(values, space, conditions)
        out = self._network(values, "head.density", torch.cat([space, told], 1))
        density = (out[:, 0] + FIRST_DENSITY).clamp(max=MOST_LOG_DENSITY).exp()
        parts = [out[:, 1:], directions, _repeat(conditions.light, len(positions))]
        return density, torch.sigmoid(self._network(values, "head.color", torch.cat(parts, 1)))

    def _encode(self, values: Values, positions: Tensor) -> Tensor:
        tables, resolutions = values["head.tables"], self._resolutions
        if len(tables) == 1:
            return self._backend.hash_grid(positions, tables[0], resolutions)
        planes = [positions[:, list(axes)] for axes in PLANES]
        return torch.cat([self._backend.hash_grid(*pair, resolutions) for pair in zip(planes, tables, strict=True)], 1)

    def _tell(self, values: Values, space: Tensor, conditions: Conditions) -> Tensor:
        count = len(space)
        if self._settings.conditioning == "ambient":
            told = torch.cat([space, _repeat(conditions.code, count)], 1)
            coordinates = torch.sigmoid(self._network(values, "head.ambient", told))
            tables = values["head.ambient_tables"][0]
            motion = self._backend.hash_grid(coordinates, tables, self._ambient_resolutions)
            return torch.cat([motion, _repeat(conditions.eyes, count)], 1)
        pixel_weights = torch.sigmoid(self._network(values, "head.attention", space))
        return pixel_weights * torch.cat([conditions.code, conditions.eyes])

    def _network(self, values: Values, name: str, inputs: Tensor) -> Tensor:
        weights, widths, factors = values[name], self._shapes[name], values.get(PREFIX + name)
        if factors is not None:
            weights = weights + low_rank(factors, widths, self._settings.lora_rank)
        return self._backend.mlp(inputs.contiguous(), weights, widths)


def _repeat(vector: Tensor, count: int) -> Tensor:
    return vector.expand(count, -1)
