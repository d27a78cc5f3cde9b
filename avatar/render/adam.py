"""Adam's state by name, for trainables that hold their own parameters."""

from __future__ import annotations

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

    def advance(self) -> None:
        """Begin a step; `update` is then called once for each tensor."""
        self.steps += 1

    def update(self, name: str, values: Tensor, gradient: Tensor, coefficients: Tensor, rates: Tensor | float) -> None:
        """Step values [K, M] in place, their gradient being coefficients [K] times gradient [M]; rates: one, or [M]."""
        if f"{name}.first" not in self.moments:
            self.moments |= {f"{name}.{moment}": torch.zeros_like(values) for moment in ("first", "second")}
        first, second = self.moments[f"{name}.first"], self.moments[f"{name}.second"]
        step = ops.AdamStep(self.steps, rates, *BETAS, EPSILON)
        ops.deform_adam_(values, first, second, gradient, coefficients, step)
