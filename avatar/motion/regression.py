"""Kernel regression from encoder outputs to one person's expression. It is fitted by `avatar.learn.regression`.

The kernel is a Gaussian RBF plus a weighted linear kernel, between projected inputs and C centers (the subset of
regressors, Quinonero-Candela and Rasmussen 2005, A Unifying View of Sparse Approximate Gaussian Process Regression,
section 5).
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.speech_model import KernelRegression

RBF_GAMMA = 0.5  # exp(-gamma d^2) of inputs whose mean square length is 1, 2 with lips and directions
LINEAR_WEIGHT = 0.3  # of the linear kernel against 1 of the RBF; chosen in docs/figures.md, "Speech to motion"


def predict(regression: KernelRegression, inputs: Tensor) -> Tensor:
    """Expression [T, K] for inputs [T, I] of `regression_inputs`."""
    centered = inputs - regression.mean
    expression = kernel(centered @ regression.project, regression.centers) @ regression.weight + regression.offset
    if regression.positions is None or regression.along is None:
        return expression
    return expression + centered @ regression.positions @ regression.along


def kernel(inputs: Tensor, centers: Tensor) -> Tensor:
    """Kernel matrix [N, C] of projected inputs [N, P] and centers [C, P]."""
    along = inputs @ centers.T
    squared = inputs.square().sum(1, keepdim=True) + centers.square().sum(1) - 2 * along
    return rbf(squared.clamp_min(0)) + LINEAR_WEIGHT * along


def rbf(squared_distance: Tensor) -> Tensor:
    """The Gaussian kernel of squared distances, elementwise."""
    return torch.exp(-RBF_GAMMA * squared_distance)
