"""Directions of the backbone features that lips change along, whoever speaks: a metric for each person's regression.

The average gradient outer product of regressions of many people's lips (Radhakrishnan et al. 2024, Mechanism for
feature learning in neural networks and backpropagation-free machine learning models). Which of two thousand inputs
matter together cannot be estimated from a person's few seconds, but from other people's clips. Then the directions are
optimized so that such a regression, fitted to a part of a clip, predicts the held-out part best (as in Patacchiola et
al. 2020, Bayesian Meta-Learning for the Few-Shot Setting via Deep Kernels, with errors in place of the likelihood).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.core.progress import Progress, no_progress
from avatar.learn.regression import DIRECTIONS_SHARE, MIN_SPREAD, ridge_matrix
from avatar.motion.encoder import DIRECTIONS
from avatar.motion.regression import LINEAR_WEIGHT, RBF_GAMMA, rbf

MAX_ROWS = 1500  # of each person: the matrices of their products, 9 MB each, are all in memory at once
STEPS = 150  # twice as many at a higher rate overfit the people (docs/figures.md, "Speech to motion")
LEARNING_RATE = 0.02  # of the directions' root mean square
EPISODE_ROWS = 500  # of a clip in one step: 20 s, as short clips are
QUERY_SHARE = 0.2  # of these rows that are held out, as the benchmark does
GAP = 3  # rows beside them that are left out: neighbours are nearly the same
MIN_ROWS = 75  # of a clip that takes part in the optimization: three seconds


def find_directions(
    people: Sequence[tuple[Tensor, Tensor]], *, seed: int = 0, progress: Progress = no_progress
) -> Tensor:
    """Directions [32, F] from inputs [N, F] and lip curves [N, 3] of each person, rows in the order of time.

    The more lips change along a direction, the longer it is. They act on inputs in their own units.
    """
    outer, variance, clips = torch.zeros(()), torch.zeros(()), []
    for inputs, curves in people:
        spread, mean = torch.std_mean(inputs, 0)
        spread = spread.clamp_min(MIN_SPREAD)
        standard, curves = (inputs - mean) / spread, standardize_curves(curves)
        every = -(-len(inputs) // MAX_ROWS)
        outer = outer + outer_gradients(standard[::every], curves[::every])
        variance = variance + len(inputs) * spread.square()
        rows = standard[:MAX_ROWS] / standard.shape[1] ** 0.5
        clips.append(_Clip(inputs[:MAX_ROWS], rows @ rows.T, curves[:MAX_ROWS]))
    value, vector = torch.linalg.eigh(outer)
    length = (value[-DIRECTIONS:].clamp_min(0) / value.clamp_min(0).sum().clamp_min(1e-12)).sqrt()
    units = (variance / sum(len(inputs) for inputs, _ in people)).sqrt()
    usable = [replace(clip, inputs=clip.inputs / units) for clip in clips if len(clip.inputs) >= MIN_ROWS]
    return (_optimize(vector[:, -DIRECTIONS:] * length, usable, seed, progress) / units[:, None]).T


@dataclass(frozen=True)
class _Clip:
    """Backbone features of one person, and what the lips do."""

    inputs: Tensor  # [N, F]
    products: Tensor  # [N, N] dot products of the inputs, each standardized over the clip
    curves: Tensor  # [N, 3] standardized


def _optimize(directions: Tensor, clips: Sequence[_Clip], seed: int, progress: Progress) -> Tensor:
    """Directions [F, 32] along which held-out parts of the clips are predicted better than along those given."""
    if not clips:
        return directions
    optimized = directions.clone().requires_grad_()
    optimizer = torch.optim.Adam([optimized], LEARNING_RATE * float(directions.square().mean().sqrt()))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        with torch.enable_grad():
            errors, variances = zip(*(_episode(optimized, clip, generator) for clip in clips), strict=True)
            loss = (sum(errors) / sum(variances)).sum()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        schedule.step()
        progress("directions", step + 1, STEPS)
    return optimized.detach()


def _episode(directions: Tensor, clip: _Clip, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Squared error and variance, each [3], of curves in a held-out stretch (the query) of a random part of a clip.

    The regression is fitted to the rest of that part (the support).
    """
    count = min(EPISODE_ROWS, len(clip.inputs))
    start = int(torch.randint(len(clip.inputs) - count + 1, (1,), generator=generator))
    part = slice(start, start + count)
    length = int(QUERY_SHARE * count)
    first = int(torch.randint(count - length + 1, (1,), generator=generator))
    query, support = slice(first, first + length), torch.ones(count, dtype=torch.bool)
    support[max(0, first - GAP) : first + length + GAP] = False
    along = clip.inputs[part] @ directions
    along = along - along[support].mean(0)
    along = along * (DIRECTIONS_SHARE / along[support].square().sum(1).mean()).sqrt()
    products = clip.products[part, part] + along @ along.T
    squares = products.diagonal()
    distance = (squares[:, None] + squares - 2 * products).clamp_min(0)
    gram = rbf(distance) + LINEAR_WEIGHT * products
    curves, target = clip.curves[part], clip.curves[part][query]
    curve_mean, kernel_mean = curves[support].mean(0), gram[support].mean(0)
    centered = gram[support][:, support] - kernel_mean[support]
    centered = centered - centered.mean(1, keepdim=True)
    weights = torch.linalg.solve(centered + ridge_matrix(len(centered)), curves[support] - curve_mean)
    weights = weights - weights.mean(0)
    error = (gram[query][:, support] - kernel_mean[support]) @ weights + curve_mean - target
    return (error - error.mean(0)).square().sum(0), (target - target.mean(0)).square().sum(0)


def standardize_curves(curves: Tensor) -> Tensor:
    """Curves [N, C] of zero mean and unit deviation."""
    spread, mean = torch.std_mean(curves, 0)
    return (curves - mean) / spread.clamp_min(MIN_SPREAD)


def outer_gradients(inputs: Tensor, curves: Tensor) -> Tensor:
    """Mean of the outer products [F, F] of the gradients of curves [N, C] by standardized inputs [N, F], at these.

    The curves are those of a kernel regression, with the kernel of `avatar.motion.regression` and the penalty of
    `avatar.learn.regression`.
    """
    count, width = inputs.shape
    rows = inputs / width**0.5
    gaussian = rbf(torch.cdist(rows, rows).square())
    gram = gaussian + LINEAR_WEIGHT * rows @ rows.T + ridge_matrix(count)
    weights = torch.linalg.solve(gram.double(), curves.double()).float()
    outer = torch.zeros(width, width)
    for weight in weights.T:
        scaled = gaussian * weight
        nonlinear = -2 * RBF_GAMMA * (rows * scaled.sum(1, keepdim=True) - scaled @ rows)
        gradient = nonlinear + LINEAR_WEIGHT * weight @ rows
        outer += gradient.T @ gradient / count
    return outer
