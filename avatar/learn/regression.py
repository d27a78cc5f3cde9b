"""Fitting of a person's kernel regression, in closed form and in seconds.

Ridge regression on a subset of regressors: centers are 600 evenly spaced frames of the clip, and of synthetic samples,
in the 128 principal components of these, and in the encoder's directions. From seconds or minutes of one person it
predicts lips a little better than a network fitted to the same (docs/figures.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.core.lips import CURVES
from avatar.core.speech_model import KernelRegression, decoder_tensors
from avatar.motion.encoder import CHANNELS, DIRECTIONS
from avatar.motion.regression import kernel
from avatar.motion.regression_inputs import split_frames

# Chosen on five people (docs/figures.md, "Speech to motion").
CENTERS = 600  # rows of each kind at most that serve as centers
COMPONENTS = 128  # principal components of the centers, beside the directions
LIPS_SHARE = 0.5  # of the inputs' mean square length, for the encoder's lip curves
DIRECTIONS_SHARE = 0.5  # beside it, for the projections onto the directions
RIDGE = 3.3  # the penalty, in rows: it counts the less the more rows there are
SPEED = 8.0  # of the squared error of changes from frame to frame, against that of what changes; above, levels suffer
MIN_RIDGE = 3e-4  # of the mean of the squares, since weights are kept in half precision
JITTER = 1e-3  # added to the kernel matrix's diagonal, as it is singular where centers coincide
MIN_SPREAD = 1e-3  # of an input: one that hardly varies is not amplified
MIN_EIGENVALUE = 1e-6  # of the largest: where rows are fewer than components, the others are rounding errors
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class RegressionRows:
    """Inputs and targets of a regression."""

    inputs: Tensor  # [N, I]
    targets: Tensor  # [N, K]
    weight: float  # of each row
    frames: Tensor | None = None  # [N] of the clip, in order, where changes from frame to frame count, too


def fit_regression(examples: Sequence[RegressionRows], *, ridge: float = RIDGE) -> KernelRegression:
    """Fit to all rows with the least weighted squared error plus `ridge` times the kernel norm of the weights.

    Least squares predicts quick movements least; where rows have frames, the error of changes counts beside it.
    """
    total = sum(len(rows.inputs) * rows.weight for rows in examples)

    def average(of: Callable[[RegressionRows], Tensor]) -> Tensor:
        return torch.stack([rows.weight * of(rows) for rows in examples]).sum(0) / total

    mean, target_mean = average(lambda rows: rows.inputs.sum(0)), average(lambda rows: rows.targets.sum(0))
    spread = average(lambda rows: (rows.inputs - mean).square().sum(0)).sqrt().clamp_min(MIN_SPREAD)
    spread[-DIRECTIONS:] = spread[-DIRECTIONS:].norm()
    chosen = [(rows.inputs[_evenly_spaced(len(rows.inputs))] - mean, rows.weight) for rows in examples]
    scale = _input_lengths(len(mean)) / spread
    project = scale[:, None] * _components([(inputs * scale, weight) for inputs, weight in chosen])
    centers = torch.cat([inputs for inputs, _ in chosen]) @ project
    count = len(centers)
    gram, kernel_mean = torch.zeros(count, count).double(), torch.zeros(count).double()
    cross = torch.zeros(count, len(target_mean)).double()
    for rows in examples:
        share = rows.weight / total
        for start in range(0, len(rows.inputs), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            values = kernel((rows.inputs[part] - mean) @ project, centers).double()
            targets = (rows.targets[part] - target_mean).double()
            gram += share * values.T @ values
            cross += share * values.T @ targets
            kernel_mean += share * values.sum(0)
            if rows.frames is not None:
                steps = rows.frames[part].diff() == 1
                changes = values.diff(dim=0)[steps]
                gram += SPEED * share * changes.T @ changes
                cross += SPEED * share * changes.T @ targets.diff(dim=0)[steps]
    penalty = kernel(centers, centers).double() + JITTER * torch.eye(count)
    covariance = gram - torch.outer(kernel_mean, kernel_mean)
    factor = torch.linalg.cholesky(covariance + max(MIN_RIDGE, ridge / total) * penalty)
    weight = torch.cholesky_solve(cross, factor).float()
    return KernelRegression(mean, project, centers, weight, target_mean - kernel_mean.float() @ weight)


def ridge_matrix(count: int) -> Tensor:
    """The penalty [N, N] of a regression on N rows that are all centers, unscaled: as in `fit_regression`."""
    return max(MIN_RIDGE * count, RIDGE) * torch.eye(count)


def in_half_precision(regression: KernelRegression) -> KernelRegression:
    """As kept in avatar files; it changes motion by far less than a landmark's noise."""
    halved = ("project", "centers", "weight", "positions", "along")
    tensors = {name: tensor.half() for name, tensor in decoder_tensors(regression).items() if name in halved}
    return replace(regression, **tensors)


def _evenly_spaced(count: int) -> Tensor:
    """CENTERS indices below count, evenly spaced; all where there are no more."""
    return torch.linspace(0, count - 1, min(count, CENTERS)).round().long()


def _components(chosen: Sequence[tuple[Tensor, float]]) -> Tensor:
    """[I, COMPONENTS + DIRECTIONS]: principal components of weighted inputs [C, I], and each direction as it is."""
    width = chosen[0][0].shape[1]
    others = torch.cat([weight**0.5 * inputs[:, :-DIRECTIONS] for inputs, weight in chosen])
    value, vector = torch.linalg.eigh(others @ others.T)
    floor = MIN_EIGENVALUE * float(value[-1])
    vector = vector[:, -COMPONENTS:] / value[-COMPONENTS:].clamp_min(floor).sqrt()
    result = torch.zeros(width, vector.shape[1] + DIRECTIONS)
    result[:-DIRECTIONS, : vector.shape[1]] = others.T @ vector
    result[-DIRECTIONS:, vector.shape[1] :] = torch.eye(DIRECTIONS)
    return result


def _input_lengths(width: int) -> Tensor:
    """Scale of each standardized input [I]: all the same, but lip curves and directions have shares of their own."""
    spliced = width - DIRECTIONS
    lengths = torch.full((width,), spliced**-0.5)
    lips = split_frames(lengths)[:, CHANNELS + len(ARTICULATION) :][:, : len(CURVES)]
    lips.fill_((LIPS_SHARE / lips.numel()) ** 0.5)
    lengths[-DIRECTIONS:] = DIRECTIONS_SHARE**0.5
    return lengths
