"""The head's radiance field: position, motion and appearance -> density and colour.

Position: a multi-resolution hash grid (Mueller et al. 2022), or three of planes (Li et al. 2023, ER-NeRF). Motion: a
few ambient coordinates with a hash grid of their own (Tang et al. 2022, RAD-NeRF), or a code whose channels are
weighted by region of the head (ER-NeRF's region attention). Appearance: an embedding of a few numbers for each training
frame's light (Martin-Brualla et al. 2021); the parameter is called `light`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.render.features import EYE_FEATURES, POSE_FEATURES
from avatar.render.nerf.backends import Backend
from avatar.render.nerf.lora import PREFIX, low_rank
from avatar.render.nerf.settings import NerfSettings
from avatar.render.nerf.warp import WARP_FEATURES

GEOMETRY_FEATURES = 15  # from the density network to the colour network, as in Instant-NGP
AMBIENT_LEVELS, AMBIENT_ENTRIES = 6, 4096  # motion has few coordinates and no fine detail: a small grid
AMBIENT_CELLS = (4, 64)  # coarsest, finest
HIDDEN_WIDTH, ATTENTION_WIDTH = 32, 16  # of the small networks: motion has few degrees of freedom
FIRST_DENSITY = 2.0  # log of 1/cm, at the beginning: opaque within a sample, so that gradients begin at the surface
MOST_LOG_DENSITY = 6.0  # opaque within a fiftieth of a sample: more cannot be seen
PLANES = ((0, 1), (0, 2), (1, 2))  # axes of each of the three

Values = dict[str, Tensor]
"""Parameters by name."""


@dataclass(frozen=True)
class Conditions:
    """What the whole field is conditioned on in one frame."""

    code: Tensor  # [C] of the expression
    eyes: Tensor  # [4] features of lids and gaze
    appearance: Tensor  # [A]


def level_sizes(coarsest: int, finest: int, levels: int) -> Tensor:
    """Cells a side of each level [L] int32, growing evenly."""
    growth = (finest / coarsest) ** (1 / max(1, levels - 1))
    return torch.tensor([round(coarsest * growth**level) for level in range(levels)], dtype=torch.int32)


def head_shapes(settings: NerfSettings, features: int) -> dict[str, list[int]]:
    """Widths of each network of the head; features: of a frame."""
    planes = 3 if settings.encoding == "triplane" else 1
    warp_features = WARP_FEATURES if settings.warp else 0
    space, motion = 2 * settings.levels * planes + warp_features, settings.code + EYE_FEATURES
    shapes = {"head.code": [features - POSE_FEATURES - EYE_FEATURES, HIDDEN_WIDTH, settings.code]}
    if settings.conditioning == "ambient":
        shapes["head.ambient"] = [space + settings.code, HIDDEN_WIDTH, settings.ambient]
        motion = 2 * AMBIENT_LEVELS + EYE_FEATURES
    else:
        shapes["head.attention"] = [space, ATTENTION_WIDTH, motion]
    width = settings.width
    shapes["head.density"] = [space + motion, width, 1 + GEOMETRY_FEATURES]
    shapes["head.color"] = [GEOMETRY_FEATURES + 3 + settings.appearance, width, 3]
    return shapes


class HeadField:
    """The field as a function of its parameters; holds none of them."""

    def __init__(self, settings: NerfSettings, features: int, backend: Backend, device: torch.device) -> None:
        self._settings, self._backend = settings, backend
        self._shapes = head_shapes(settings, features)
        self._resolutions = level_sizes(settings.coarsest, settings.finest, settings.levels).to(device)
        self._ambient_resolutions = level_sizes(*AMBIENT_CELLS, AMBIENT_LEVELS).to(device)

    def condition(self, values: Values, features: Tensor, appearance: Tensor) -> Conditions:
        """Conditions of a frame with features [D] and appearance [A]."""
        pose = len(features) - POSE_FEATURES
        expression, eyes = features[: pose - EYE_FEATURES], features[pose - EYE_FEATURES : pose]
        code = self._network(values, "head.code", expression[None])[0]
        return Conditions(code, eyes, appearance)

    def __call__(
        self, values: Values, positions: Tensor, warp_features: Tensor, directions: Tensor, conditions: Conditions
    ) -> tuple[Tensor, Tensor]:
        """Density [P] per cm and colour [P, 3] 0..1 at positions [P, 3] 0..1, seen along unit directions [P, 3].

        warp_features: [P, W] of `Warp.to_rest`; W = 0 without a warp.
        """
        space = torch.cat([self._encode(values, positions), warp_features], 1)
        motion = self._encode_motion(values, space, conditions)
        out = self._network(values, "head.density", torch.cat([space, motion], 1))
        density = (out[:, 0] + FIRST_DENSITY).clamp(max=MOST_LOG_DENSITY).exp()
        parts = [out[:, 1:], directions, _repeat(conditions.appearance, len(positions))]
        return density, torch.sigmoid(self._network(values, "head.color", torch.cat(parts, 1)))

    def _encode(self, values: Values, positions: Tensor) -> Tensor:
        tables, resolutions = values["head.tables"], self._resolutions
        if len(tables) == 1:
            return self._backend.hash_grid(positions, tables[0], resolutions)
        planes = [positions[:, list(axes)] for axes in PLANES]
        return torch.cat([self._backend.hash_grid(*pair, resolutions) for pair in zip(planes, tables, strict=True)], 1)

    def _encode_motion(self, values: Values, space: Tensor, conditions: Conditions) -> Tensor:
        """What the density network sees of the motion at encoded positions [P, ...]."""
        count = len(space)
        if self._settings.conditioning == "ambient":
            inputs = torch.cat([space, _repeat(conditions.code, count)], 1)
            coordinates = torch.sigmoid(self._network(values, "head.ambient", inputs))
            tables = values["head.ambient_tables"][0]
            motion = self._backend.hash_grid(coordinates, tables, self._ambient_resolutions)
            return torch.cat([motion, _repeat(conditions.eyes, count)], 1)
        attention = torch.sigmoid(self._network(values, "head.attention", space))
        return attention * torch.cat([conditions.code, conditions.eyes])

    def _network(self, values: Values, name: str, inputs: Tensor) -> Tensor:
        weights, widths, factors = values[name], self._shapes[name], values.get(PREFIX + name)
        if factors is not None:
            weights = weights + low_rank(factors, widths, self._settings.lora_rank)
        return self._backend.mlp(inputs.contiguous(), weights, widths)


def _repeat(vector: Tensor, count: int) -> Tensor:
    return vector.expand(count, -1)
