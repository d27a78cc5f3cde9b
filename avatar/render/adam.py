"""Adam's state by name, for trainables that hold their own parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cuda_ext import ops

BETAS = (0.9, 0.99)  # the second shorter than usual: a training has some thousand steps
EPSILON = 1e-15  # as Kerbl et al. 2023: gradients of single splats are tiny


class Adam:
    """Running moments of named tensors, and the step of all of them (Kingma and Ba 2015)."""

    def __init__(self) -> None:
        self.moments: dict[str, Tensor] = {}  # NAME.first, NAME.second, each of the tensor's shape
        self.steps = 0

    def advance(self) -> int:
        """Begin a step; `update` is then called once for each tensor. Returns its number, from 1."""
        self.steps += 1
        return self.steps

    def update(
        self,
        name: str,
        values: Tensor,
        gradient: Tensor,
        coefficients: Tensor,
        rates: Tensor | float,
        factor: Tensor,
    ) -> None:
        """Step values [K, M] in place, their gradient being coefficients [K] times gradient [M].

        rates: one, or [M]; factor: [1] of all of them, `bias_correction` among it.
        """
        if f"{name}.first" not in self.moments:
            self.moments |= {f"{name}.{moment}": torch.zeros_like(values) for moment in ("first", "second")}
        first, second = self.moments[f"{name}.first"], self.moments[f"{name}.second"]
        step = ops.AdamStep(0, rates, *BETAS, EPSILON, factor)
        ops.deform_adam_(values, first, second, gradient, coefficients, step)


def bias_correction(number: int) -> float:
    """What the rates of step `number` are multiplied with, since both means began at zero (Kingma and Ba 2015, 2)."""
    first, second = (1 - beta**number for beta in BETAS)
    return math.sqrt(second) / first
