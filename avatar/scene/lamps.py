"""Lights by name, and what light falls on a surface from lamps and from all around."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.light import products, to_matrices

Vector = tuple[float, float, float]

NORMALS = 300  # directions that a light is written as products of normals at
BACKSIDE = 0.15  # weight of normals away from the camera: hardly seen
LEAST = 0.02  # of the brightest: what receives no lamp's light is not black


@dataclass(frozen=True)
class Lamp:
    """A lamp, and what comes from all around."""

    direction: Vector  # towards it: x right, y down, z away from the camera
    colour: Vector = (1.0, 1.0, 1.0)  # linear
    strength: float = 1.0
    ambient: float = 0.2  # from all around, in the lamp's own colour by half
    wrap: float = 0.3  # how far its light goes round a form: the larger, the softer

    def __call__(self, normals: Tensor) -> Tensor:
        """The light [N, 3] on normals [N, 3]."""
        toward = functional.normalize(torch.tensor(self.direction), dim=0)
        shade = ((normals @ toward + self.wrap) / (1 + self.wrap)).clamp_min(0)
        colour = torch.tensor(self.colour)
        return self.strength * shade[:, None] * colour + self.ambient * (0.5 + 0.5 * colour)


WARM, COOL = (1.15, 0.95, 0.70), (0.85, 0.96, 1.16)
LAMPS = {
    "left": Lamp((-1.0, -0.35, -0.45), ambient=0.12),
    "right": Lamp((1.0, -0.35, -0.45), ambient=0.12),
    "top": Lamp((0.0, -1.0, -0.35)),
    "window": Lamp((-1.0, -0.2, -0.35), COOL, ambient=0.15, wrap=0.5),
    "ring": Lamp((0.0, 0.0, -1.0), ambient=0.5),
    "warm": Lamp((-0.5, -0.4, -0.75), WARM, ambient=0.3),
    "cool": Lamp((0.5, -0.4, -0.75), COOL, ambient=0.3),
}


def log_light(light: Callable[[Tensor], Tensor]) -> Tensor:
    """The matrices [3, 4, 4] of a light that gives linear [N, 3] for normals [N, 3], as `ClipLight` has them."""
    normals, solver = _sphere()
    received = light(normals)
    logs = received.clamp_min(LEAST * max(float(received.amax()), 1e-9)).log()
    return to_matrices((solver @ logs).mT)


@functools.cache
def _sphere() -> tuple[Tensor, Tensor]:
    """Normals [N, 3] all around, and what makes coefficients [10, N] of values there."""
    index = torch.arange(NORMALS) + 0.5
    z = 1 - 2 * index / NORMALS  # a spiral of equal areas
    angle, across = math.pi * (1 + math.sqrt(5)) * index, (1 - z * z).sqrt()
    normals = torch.stack([across * angle.cos(), across * angle.sin(), z], 1)
    weighted, basis = torch.where(z < 0, 1.0, BACKSIDE)[:, None] * products(normals), products(normals)
    return normals, torch.linalg.solve(weighted.mT @ basis + 1e-4 * torch.eye(basis.shape[1]), weighted.mT)


def irradiance(directions: Tensor, radiance: Tensor) -> Callable[[Tensor], Tensor]:
    """The light on a surface on which radiance [P, 3], times its solid angle, falls from directions [P, 3]."""

    def light(normals: Tensor) -> Tensor:
        return (normals @ directions.mT).clamp_min(0) @ radiance

    return light
