"""Small fully connected networks: one native call on the CPU, torch's matrix products on a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cuda_ext import native

MOST_LAYERS, MOST_WIDTH = 6, 128  # the kernels' own
TASK = 1024  # samples of a thread's task
PAD = 16  # floats that rows are padded to
COLUMNS = 8  # a GPU's widths are padded to multiples of this: 16 bytes of bfloat16, which its tensor cores load at once
TENSOR_CORES = (8, 0)  # of the first GPUs, Ampere, whose tensor cores multiply bfloat16 and tf32
FLOAT32_OUT = hasattr(torch.ops.aten.mm, "dtype")  # products of bfloat16 returned in float32: torch 2.8 and later

Precision = Literal["bfloat16", "tf32", "float32"]
"""Of the numbers that a GPU multiplies; sums and weights are float32 in all."""


class _Native(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, widths: list[int]) -> Tensor:
        arrays, samples = (native.plain(inputs), native.plain(weights)), len(inputs)
        out = torch.empty(samples, widths[-1])
        native.call("mlp", inputs.device, *arrays, widths, samples, out)
        ctx.save_for_backward(*arrays)
        ctx.widths = widths
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = ctx.saved_tensors
        samples, gradient, widths = len(inputs), native.plain(gradient), ctx.widths
        padded = sum(-(-before // PAD) * PAD * after for before, after in itertools.pairwise(widths))
        partial = torch.empty(-(-samples // TASK), padded)
        grad_inputs, grad_weights = torch.empty_like(inputs), torch.empty_like(weights)
        arrays = (inputs, weights, widths, samples, gradient, partial, grad_inputs, grad_weights)
        native.call("mlp_backward", inputs.device, *arrays)
        return grad_inputs, grad_weights, None


class _Products(torch.autograd.Function):
    """What is kept for the way back is in the precision of the products: half the memory in bfloat16."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, widths: list[int], precision: Precision) -> Tensor:
        number = torch.bfloat16 if precision == "bfloat16" else torch.float32
        values, matrices = [_columns(inputs.detach(), number)], _matrices(weights.detach(), widths, number)
        no_bias = values[0].new_zeros(max(len(matrix) for matrix in matrices))
        with _single_precision(precision):
            for matrix in matrices[:-1]:  # product and ReLU in one pass over memory
                values.append(torch._addmm_activation(no_bias[: len(matrix)], values[-1], matrix.T))
            out = _float32_product(values[-1], matrices[-1].T)
        ctx.save_for_backward(*values, *matrices)
        ctx.widths, ctx.precision = widths, precision
        return out[:, : widths[-1]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers, widths = len(ctx.widths) - 1, ctx.widths
        values, matrices = ctx.saved_tensors[:layers], ctx.saved_tensors[layers:]
        of_inputs, of_weights = ctx.needs_input_grad[:2]
        slope, grad_inputs = _columns(gradient, values[0].dtype), None
        grad_weights: list[Tensor] = []
        with _single_precision(ctx.precision):
            for layer in reversed(range(layers)):
                if of_weights:
                    whole = _float32_product(slope.T, values[layer])
                    grad_weights.insert(0, whole[: widths[layer + 1], : widths[layer]].reshape(-1))
                if layer > 0:
                    slope = slope @ matrices[layer]
                    torch.ops.aten.threshold_backward.grad_input(slope, values[layer], 0, grad_input=slope)
            if of_inputs:
                grad_inputs = _float32_product(slope, matrices[0])[:, : widths[0]]
        return grad_inputs, torch.cat(grad_weights) if of_weights else None, None, None


@contextmanager
def _single_precision(precision: Precision) -> Iterator[None]:
    """Products of float32 matrices on a GPU in a precision; torch's own setting is back afterwards."""
    matmul: Any = torch.backends.cuda.matmul
    if precision == "bfloat16":
        yield
        return
    name = "fp32_precision" if hasattr(matmul, "fp32_precision") else "allow_tf32"  # torch 2.9 and later, and before
    before, tf32 = getattr(matmul, name), precision == "tf32"
    setattr(matmul, name, ("tf32" if tf32 else "ieee") if name == "fp32_precision" else tf32)
    try:
        yield
    finally:
        setattr(matmul, name, before)


def _float32_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, summed and returned in float32."""
    if a.is_cuda and a.dtype != torch.float32 and FLOAT32_OUT:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()


def _columns(matrix: Tensor, number: torch.dtype) -> Tensor:
    """A matrix [P, N] as numbers of a type, its columns padded with zeros to a multiple of 8."""
    rows, columns = matrix.shape
    if columns % COLUMNS == 0:
        return matrix.to(number).contiguous()
    wide = matrix.new_zeros(rows, -(-columns // COLUMNS) * COLUMNS, dtype=number)
    wide[:, :columns] = matrix
    return wide


def _matrices(weights: Tensor, widths: list[int], number: torch.dtype) -> list[Tensor]:
    """The matrices [out, in] of flat weights, both sides padded with zeros to multiples of 8."""
    shapes = list(itertools.pairwise(widths))
    parts = weights.to(number).split([before * after for before, after in shapes])
    whole = [part.view(after, before) for part, (before, after) in zip(parts, shapes, strict=True)]
    padding = [(0, -before % COLUMNS, 0, -after % COLUMNS) for before, after in shapes]
    return [functional.pad(m, more) if any(more) else m for m, more in zip(whole, padding, strict=True)]


def mlp(inputs: Tensor, weights: Tensor, widths: Sequence[int], precision: Precision = "bfloat16") -> Tensor:
    """A network without biases, ReLU between its layers: inputs [P,I] -> [P,O]; differentiable in both tensors.

    widths: I, hidden..., O, each at most 128, at most 6 matrices; weights: the matrices [out,in] one after the other,
    flat. precision: of what a GPU multiplies, float32 where it is older than Ampere; inputs, weights, sums and results
    are float32, and so is all on the CPU, where the result is the same for any number of threads. Raises ValueError or
    TypeError.
    """
    widths = [int(width) for width in widths]
    if not 2 <= len(widths) <= MOST_LAYERS + 1 or not all(1 <= width <= MOST_WIDTH for width in widths):
        raise ValueError(f"mlp.widths is {widths}, expected 2 to {MOST_LAYERS + 1} numbers of 1 to {MOST_WIDTH}")
    if precision not in get_args(Precision):
        raise ValueError(f"mlp.precision is {precision!r}, expected one of {', '.join(get_args(Precision))}")
    count = sum(a * b for a, b in itertools.pairwise(widths))
    native.check("mlp", {"inputs": (inputs, f"P {widths[0]}"), "weights": (weights, str(count))})
    if native.stream(inputs.device) is None:
        return _Native.apply(inputs, weights, widths)
    old = inputs.is_cuda and torch.cuda.get_device_capability(inputs.device) < TENSOR_CORES
    return _Products.apply(inputs, weights, widths, "float32" if old else precision)
