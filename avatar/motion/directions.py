"""Directions in what is perceived that lips go by, whoever speaks: a metric for the regression of each person.

The average gradient outer product of regressions of many people's lips (Radhakrishnan et al. 2024, Mechanism for
feature learning in neural networks and backpropagation-free machine learning models). Which of two thousand numbers
matter together a person's few seconds cannot tell; other people's clips do.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from avatar.motion.decoder import LEAST_RIDGE, LEAST_SPREAD, LINE, NARROWNESS, NOISE
from avatar.motion.encoder import DIRECTIONS

MOST_ROWS = 1500  # of each person


def find_directions(people: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Directions [32, F] of inputs [N, F], with the lips' curves [N, 3] that go with them, of each person.

    The more lips change along a direction, the longer it is; inputs count in standard units.
    """
    outer, variance, count = torch.zeros(()), torch.zeros(()), 0
    for inputs, curves in people:
        every = -(-len(inputs) // MOST_ROWS)
        spread, about = torch.std_mean(inputs, 0)
        spread = spread.clamp_min(LEAST_SPREAD)
        outer = outer + outer_gradients((inputs[::every] - about) / spread, in_standard_units(curves[::every]))
        variance, count = variance + len(inputs) * spread.square(), count + len(inputs)
    value, vector = torch.linalg.eigh(outer)
    length = (value[-DIRECTIONS:].clamp_min(0) / value.clamp_min(0).sum().clamp_min(1e-12)).sqrt()
    return (vector[:, -DIRECTIONS:] * length / (variance / count).sqrt()[:, None]).T


def in_standard_units(curves: Tensor) -> Tensor:
    """Curves [N, C] of zero mean and unit deviation."""
    spread, about = torch.std_mean(curves, 0)
    return (curves - about) / spread.clamp_min(LEAST_SPREAD)


def outer_gradients(inputs: Tensor, curves: Tensor) -> Tensor:
    """Mean of the outer products [F, F] of the gradients of curves [N, C] by inputs [N, F], at the inputs.

    The curves are those of a kernel regression, with the kernel and the penalty of `avatar.motion.decoder`.
    """
    count, width = inputs.shape
    rows = inputs / width**0.5
    near = torch.exp(-NARROWNESS * torch.cdist(rows, rows).square())
    penalty = max(LEAST_RIDGE * count, NOISE) * torch.eye(count)
    weights = torch.linalg.solve((near + LINE * rows @ rows.T + penalty).double(), curves.double()).float()
    outer = torch.zeros(width, width)
    for weight in weights.T:
        pulled = near * weight
        gradient = -2 * NARROWNESS * (rows * pulled.sum(1, keepdim=True) - pulled @ rows) + LINE * weight @ rows
        outer += gradient.T @ gradient / count
    return outer
