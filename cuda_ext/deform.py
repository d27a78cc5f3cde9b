"""Blendshapes: base + coefficients @ deltas, in float32 and int8, and Adam on the deltas. The family to copy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext import native
from cuda_ext.reference import COLUMNS, AdamStep


def _output(coefficients: Tensor, columns: int) -> Tensor:
    return torch.empty(*coefficients.shape[:-1], columns, device=coefficients.device)


class _Deform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, deltas: Tensor, coefficients: Tensor) -> Tensor:
        base, deltas, coefficients = (native.plain(tensor) for tensor in (base, deltas, coefficients))
        rows, columns = deltas.shape
        batch = coefficients.shape[0] if coefficients.dim() == 2 else 1
        out = _output(coefficients, columns)
        native.call("deform", base.device, base, deltas, coefficients, columns, rows, batch, out)
        ctx.save_for_backward(deltas, coefficients)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        deltas, coefficients = ctx.saved_tensors
        (rows, columns), grad = deltas.shape, native.plain(grad)
        frames = grad if grad.dim() == 2 else grad[None]
        grad_deltas = grad_coefficients = None
        if ctx.needs_input_grad[1]:
            grad_deltas = coefficients.reshape(len(frames), rows).T @ frames
        if ctx.needs_input_grad[2]:
            grad_coefficients = torch.empty_like(coefficients)
            native.call("deform_coefficients", grad.device, deltas, grad, columns, rows, len(frames), grad_coefficients)
        return frames.sum(0), grad_deltas, grad_coefficients


def deform(base: Tensor, deltas: Tensor, coefficients: Tensor) -> Tensor:
    """Blendshapes: base [M] + coefficients [K] @ deltas [K,M] -> [M]; differentiable in all three.

    coefficients may be [B,K], the result is then [B,M]. Leave requires_grad of deltas off and use `deform_adam_` to
    train them without a [K,M] gradient.
    """
    lead = "B " if isinstance(coefficients, Tensor) and coefficients.dim() == 2 else ""
    native.check("deform", {"base": (base, "M"), "deltas": (deltas, "K M"), "coefficients": (coefficients, f"{lead}K")})
    return _Deform.apply(base, deltas, coefficients)


def deform_adam_(
    deltas: Tensor, moment1: Tensor, moment2: Tensor, gradient: Tensor, coefficients: Tensor, adam: AdamStep
) -> None:
    """One Adam step of deltas [K,M] in place, their gradient being coefficients [K] times gradient [M].

    moment1, moment2 [K,M] are Adam's state, also in place. Raises ValueError or TypeError naming the argument.
    """
    rate = adam.rate
    tensors = {
        "deltas": (deltas, "K M"),
        "moment1": (moment1, "K M"),
        "moment2": (moment2, "K M"),
        "gradient": (gradient, "M"),
        "coefficients": (coefficients, "K"),
    }
    if isinstance(rate, Tensor):
        tensors["rate"] = (rate, "M")
    if adam.factor is not None:
        tensors["factor"] = (adam.factor, "1")
    sizes = native.check("deform_adam_", tensors)
    for name in ("deltas", "moment1", "moment2"):
        if not tensors[name][0].is_contiguous():
            raise ValueError(f"deform_adam_.{name} is not contiguous, it cannot be updated in place")
    if adam.step < (adam.factor is None):
        raise ValueError(f"deform_adam_: step is {adam.step}, expected 1 or more, or 0 with a factor")
    rates, one_rate = (native.plain(rate), 0.0) if isinstance(rate, Tensor) else (None, rate)
    inputs = (native.plain(gradient), native.plain(coefficients), rates, one_rate, adam.factor)
    numbers = (adam.beta1, adam.beta2, adam.epsilon, adam.step)
    native.call("deform_adam", deltas.device, deltas, moment1, moment2, *inputs, *numbers, sizes["M"], sizes["K"])


def deform_int8(
    base: Tensor, codes: Tensor, scales: Tensor, coefficients: Tensor, choice: Tensor | None = None
) -> Tensor:
    """As `deform` with deltas from `quantize`: codes [K,M] int8, scales [K,ceil(M/64)]. Not differentiable.

    choice [B] int32, 0..A-1: base [A,M], codes [A,K,M] and scales [A,K,ceil(M/64)] are those of A people, of whom each
    frame takes one; it is not looked at on a GPU, so the caller answers for its range.
    """
    lead = "B " if isinstance(coefficients, Tensor) and coefficients.dim() == 2 else ""
    each = "" if choice is None else "A "
    sizes = native.check("deform_int8", {"base": (base, f"{each}M"), "coefficients": (coefficients, f"{lead}K")})
    native.check("deform_int8", {"codes": (codes, f"{each}K M")}, dtype=torch.int8, sizes=sizes, device=base.device)
    blocks = {**sizes, "C": -(-sizes["M"] // COLUMNS)}
    native.check("deform_int8", {"scales": (scales, f"{each}K C")}, sizes=blocks, device=base.device)
    if choice is not None:
        native.check("deform_int8", {"choice": (choice, "B")}, dtype=torch.int32, sizes=sizes, device=base.device)
    arrays = [native.plain(tensor) for tensor in (base, codes, scales, coefficients)]
    chosen = None if choice is None else native.plain(choice)
    out = _output(coefficients, sizes["M"])
    native.call("deform_int8", base.device, *arrays, chosen, sizes["M"], sizes["K"], sizes.get("B", 1), out)
    return out
