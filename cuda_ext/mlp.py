"""Small fully connected networks in one native call."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext import native

MOST_LAYERS, MOST_WIDTH = 6, 128  # the kernels' own
TASK = 1024  # samples of a thread's task
PAD = 16  # floats that rows are padded to


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, widths: list[int]) -> Tensor:
        arrays, where = (native.plain(inputs), native.plain(weights)), inputs.device
        samples = len(inputs)
        on_gpu = native.stream(where) is not None
        hidden = torch.empty(samples, sum(widths[1:-1]), device=where) if on_gpu else None
        out = torch.empty(samples, widths[-1], device=where)
        native.call("mlp", where, *arrays, widths, samples, hidden, out)
        ctx.save_for_backward(*arrays, *([hidden] if hidden is not None else []))
        ctx.widths = widths
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights, *kept = ctx.saved_tensors
        samples, gradient, widths = len(inputs), native.plain(gradient), ctx.widths
        hidden = kept[0] if kept else None
        grad_hidden = torch.empty_like(hidden) if hidden is not None else None
        padded = sum(-(-before // PAD) * PAD * after for before, after in itertools.pairwise(widths))
        partial = None if kept else torch.empty(-(-samples // TASK), padded)
        grad_inputs, grad_weights = torch.empty_like(inputs), torch.empty_like(weights)
        arrays = (inputs, weights, widths, samples, gradient, hidden, grad_hidden, partial, grad_inputs, grad_weights)
        native.call("mlp_backward", inputs.device, *arrays)
        if hidden is not None and grad_hidden is not None:
            grad_weights = _outer_products(inputs, hidden, grad_hidden, gradient, widths)
        return grad_inputs, grad_weights, None


def _outer_products(inputs: Tensor, hidden: Tensor, grad_hidden: Tensor, gradient: Tensor, widths: list[int]) -> Tensor:
    values = [inputs, *hidden.split(widths[1:-1], 1)]
    gradients = [*grad_hidden.split(widths[1:-1], 1), gradient]
    return torch.cat([(after.T @ before).reshape(-1) for before, after in zip(values, gradients, strict=True)])


def mlp(inputs: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
    """A network without biases, ReLU between its layers: inputs [P,I] -> [P,O]; differentiable in both tensors.

    widths: I, hidden..., O, each at most 128, at most 6 matrices; weights: the matrices [out,in] one after the other,
    flat. On the CPU the result is the same for any number of threads. Raises ValueError or TypeError.
    """
    widths = [int(width) for width in widths]
    if not 2 <= len(widths) <= MOST_LAYERS + 1 or not all(1 <= width <= MOST_WIDTH for width in widths):
        raise ValueError(f"mlp.widths is {widths}, expected 2 to {MOST_LAYERS + 1} numbers of 1 to {MOST_WIDTH}")
    count = sum(a * b for a, b in itertools.pairwise(widths))
    native.check("mlp", {"inputs": (inputs, f"P {widths[0]}"), "weights": (weights, str(count))})
    return _Mlp.apply(inputs, weights, widths)
