"""Directions in what is perceived that lips go by, whoever speaks: a metric for the regression of each person.

The average gradient outer product of regressions of many people's lips (Radhakrishnan et al. 2024, Mechanism for
feature learning in neural networks and backpropagation-free machine learning models). Which of two thousand numbers
matter together a person's few seconds cannot tell; other people's clips do. Then the directions are turned to where
such a regression, learned from a part of a clip, tells best the part that it has not seen (as in Patacchiola et al.
2020, Bayesian Meta-Learning for the Few-Shot Setting via Deep Kernels, with errors in place of the likelihood).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.core.progress import Progress, no_progress
from avatar.learn.regression import DIRECTIONS_SHARE, LEAST_RIDGE, LEAST_SPREAD, RIDGE
from avatar.motion.encoder import DIRECTIONS
from avatar.motion.regression import LINEAR_WEIGHT, RBF_GAMMA, rbf

MOST_ROWS = 1500  # of each person
STEPS, LEARNING_RATE = 150, 0.02  # of the turning, the rate against the directions' root mean square
WINDOW = 500  # rows of a clip at a time,
HELD_OUT, GAP = 0.2, 3  # the share of them that is told, and rows beside them that are not learned from either
LEAST_ROWS = 75  # of a clip that is learned from in part


def find_directions(
    people: Sequence[tuple[Tensor, Tensor]], *, seed: int = 0, progress: Progress = no_progress
) -> Tensor:
    """Directions [32, F] of inputs [N, F], with the lips' curves [N, 3] that go with them, of each person.

    The more lips change along a direction, the longer it is.
    """
    outer, variance, clips = torch.zeros(()), torch.zeros(()), []
    for inputs, curves in people:
        spread, about = torch.std_mean(inputs, 0)
        spread = spread.clamp_min(LEAST_SPREAD)
        standard, curves = (inputs - about) / spread, in_standard_units(curves)
        every = -(-len(inputs) // MOST_ROWS)
        outer = outer + outer_gradients(standard[::every], curves[::every])
        variance = variance + len(inputs) * spread.square()
        rows = standard[:MOST_ROWS] / standard.shape[1] ** 0.5
        clips.append(_Clip(inputs[:MOST_ROWS], rows @ rows.T, curves[:MOST_ROWS]))
    value, vector = torch.linalg.eigh(outer)
    length = (value[-DIRECTIONS:].clamp_min(0) / value.clamp_min(0).sum().clamp_min(1e-12)).sqrt()
    units = (variance / sum(len(inputs) for inputs, _ in people)).sqrt()
    usable = [replace(clip, inputs=clip.inputs / units) for clip in clips if len(clip.inputs) >= LEAST_ROWS]
    return (_turn(vector[:, -DIRECTIONS:] * length, usable, seed, progress) / units[:, None]).T


@dataclass(frozen=True)
class _Clip:
    """What is perceived of one person, and what the lips do."""

    inputs: Tensor  # [N, F]
    products: Tensor  # [N, N] of the inputs, each in standard units of the person's own
    curves: Tensor  # [N, 3] in standard units


def _turn(directions: Tensor, clips: Sequence[_Clip], seed: int, progress: Progress) -> Tensor:
    """Directions [F, 32] from which parts of clips that were not learned from are told better than from those given."""
    if not clips:
        return directions
    turned = directions.clone().requires_grad_()
    optimizer = torch.optim.Adam([turned], LEARNING_RATE * float(directions.square().mean().sqrt()))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        with torch.enable_grad():
            missed, varied = zip(*(_miss(turned, clip, generator) for clip in clips), strict=True)
            loss = (sum(missed) / sum(varied)).sum()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        schedule.step()
        progress("directions", step + 1, STEPS)
    return turned.detach()


def _miss(directions: Tensor, clip: _Clip, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Squared error and variance, each [3], of curves in a stretch told by a regression on what is about it."""
    count = min(WINDOW, len(clip.inputs))
    start = int(torch.randint(len(clip.inputs) - count + 1, (1,), generator=generator))
    window = slice(start, start + count)
    length = int(HELD_OUT * count)
    first = int(torch.randint(count - length + 1, (1,), generator=generator))
    learned = torch.ones(count, dtype=torch.bool)
    learned[max(0, first - GAP) : first + length + GAP] = False
    along = clip.inputs[window] @ directions
    along = along - along[learned].mean(0)
    along = along * (DIRECTIONS_SHARE / along[learned].square().sum(1).mean()).sqrt()
    products = clip.products[window, window] + along @ along.T
    squares = products.diagonal()
    distance = (squares[:, None] + squares - 2 * products).clamp_min(0)
    near = rbf(distance) + LINEAR_WEIGHT * products
    curves, told = clip.curves[window], slice(first, first + length)
    usual, about = curves[learned].mean(0), near[learned].mean(0)
    centered = near[learned][:, learned] - about[learned]
    centered = centered - centered.mean(1, keepdim=True)
    penalty = _ridge(len(centered))
    weights = torch.linalg.solve(centered + penalty, curves[learned] - usual)
    weights = weights - weights.mean(0)
    error = (near[told][:, learned] - about[learned]) @ weights + usual - curves[told]
    seen = curves[told]
    return (error - error.mean(0)).square().sum(0), (seen - seen.mean(0)).square().sum(0)


def in_standard_units(curves: Tensor) -> Tensor:
    """Curves [N, C] of zero mean and unit deviation."""
    spread, about = torch.std_mean(curves, 0)
    return (curves - about) / spread.clamp_min(LEAST_SPREAD)


def outer_gradients(inputs: Tensor, curves: Tensor) -> Tensor:
    """Mean of the outer products [F, F] of the gradients of curves [N, C] by inputs [N, F], at the inputs.

    The curves are those of a kernel regression, with the kernel and the penalty of `avatar.motion.regression`.
    """
    count, width = inputs.shape
    rows = inputs / width**0.5
    near = rbf(torch.cdist(rows, rows).square())
    penalty = _ridge(count)
    weights = torch.linalg.solve((near + LINEAR_WEIGHT * rows @ rows.T + penalty).double(), curves.double()).float()
    outer = torch.zeros(width, width)
    for weight in weights.T:
        pulled = near * weight
        gradient = -2 * RBF_GAMMA * (rows * pulled.sum(1, keepdim=True) - pulled @ rows) + LINEAR_WEIGHT * weight @ rows
        outer += gradient.T @ gradient / count
    return outer


def _ridge(count: int) -> Tensor:
    """The penalty [N, N] of a regression on so many rows, as in `avatar.learn.regression`."""
    return max(LEAST_RIDGE * count, RIDGE) * torch.eye(count)
