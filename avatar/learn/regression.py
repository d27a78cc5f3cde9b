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
from avatar.core.speech_model import KernelRegression
from avatar.motion.encoder import CHANNELS, DIRECTIONS
from avatar.motion.regression import kernel
from avatar.motion.regression_inputs import split_frames

# Chosen on five people (docs/figures.md, "Speech to motion").
CENTERS = 600  # rows of each kind at most that serve as centers
COMPONENTS = 128  # principal components of the centers, beside the directions
LIPS_SHARE = 0.5  # of the inputs' mean square length, for the encoder's lip curves
DIRECTIONS_SHARE = 0.5  # beside it, for the projections onto the directions
RIDGE = 2.2  # the penalty, in rows: it counts the less the more rows there are
LEAST_RIDGE = 3e-4  # of the mean of the squares, since weights are kept in half precision
JITTER = 1e-3  # of the kernel matrix, which is singular where centers coincide
LEAST_SPREAD = 1e-3
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class RegressionRows:
    """Inputs and targets of a regression."""

    inputs: Tensor  # [N, I]
    targets: Tensor  # [N, K]
    weight: float  # of each row


def fit_regression(examples: Sequence[RegressionRows], *, ridge: float = RIDGE) -> KernelRegression:
    """The regression of least weighted squared error over all rows plus `ridge` times its weights' kernel norm."""
    total = sum(len(rows.inputs) * rows.weight for rows in examples)

    def average(of: Callable[[RegressionRows], Tensor]) -> Tensor:
        return torch.stack([rows.weight * of(rows) for rows in examples]).sum(0) / total

    mean, usual = average(lambda rows: rows.inputs.sum(0)), average(lambda rows: rows.targets.sum(0))
    spread = average(lambda rows: (rows.inputs - mean).square().sum(0)).sqrt().clamp_min(LEAST_SPREAD)
    spread[-DIRECTIONS:] = spread[-DIRECTIONS:].norm()
    chosen = [(rows.inputs[_evenly_spaced(len(rows.inputs))] - mean, rows.weight) for rows in examples]
    scale = _input_lengths(len(mean)) / spread
    project = scale[:, None] * _components([(inputs * scale, weight) for inputs, weight in chosen])
    centers = torch.cat([inputs for inputs, _ in chosen]) @ project
    count = len(centers)
    gram, about = torch.zeros(count, count).double(), torch.zeros(count).double()
    cross = torch.zeros(count, len(usual)).double()
    for rows in examples:
        for inputs, targets in zip(rows.inputs.split(ROWS_AT_ONCE), rows.targets.split(ROWS_AT_ONCE), strict=True):
            near = kernel((inputs - mean) @ project, centers).double()
            weighted = rows.weight / total * near
            gram += weighted.T @ near
            cross += weighted.T @ (targets - usual).double()
            about += weighted.sum(0)
    penalty = kernel(centers, centers).double() + JITTER * torch.eye(count)
    factor = torch.linalg.cholesky(gram - torch.outer(about, about) + max(LEAST_RIDGE, ridge / total) * penalty)
    weight = torch.cholesky_solve(cross, factor).float()
    return KernelRegression(mean, project, centers, weight, usual - about.float() @ weight)


def in_half_precision(regression: KernelRegression) -> KernelRegression:
    """As kept in avatar files; it changes motion by far less than a landmark's noise."""
    return replace(
        regression,
        project=regression.project.half(),
        centers=regression.centers.half(),
        weight=regression.weight.half(),
    )


def _evenly_spaced(count: int) -> Tensor:
    """CENTERS indices below count, evenly spaced; all where there are no more."""
    return torch.linspace(0, count - 1, min(count, CENTERS)).round().long()


def _components(chosen: Sequence[tuple[Tensor, float]]) -> Tensor:
    """[I, COMPONENTS + DIRECTIONS]: principal components of weighted inputs [C, I], and each direction as it is."""
    width = chosen[0][0].shape[1]
    others = torch.cat([weight**0.5 * inputs[:, :-DIRECTIONS] for inputs, weight in chosen])
    length, most = torch.linalg.eigh(others @ others.T)
    most = most[:, -COMPONENTS:] / length[-COMPONENTS:].clamp_min(1e-6 * float(length[-1])).sqrt()
    result = torch.zeros(width, most.shape[1] + DIRECTIONS)
    result[:-DIRECTIONS, : most.shape[1]] = others.T @ most
    result[-DIRECTIONS:, most.shape[1] :] = torch.eye(DIRECTIONS)
    return result


def _input_lengths(width: int) -> Tensor:
    """Scale of each standardized input [I]: all the same, but for lip curves and directions, which have their shares."""
    wide = width - DIRECTIONS
    lengths = torch.full((width,), wide**-0.5)
    lips = split_frames(lengths)[:, CHANNELS + len(ARTICULATION) :][:, : len(CURVES)]
    lips.fill_((LIPS_SHARE / lips.numel()) ** 0.5)
    lengths[-DIRECTIONS:] = DIRECTIONS_SHARE**0.5
    return lengths
