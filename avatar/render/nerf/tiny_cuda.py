"""tiny-cuda-nn's modules, run on our tables and weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.utils.weak import WeakTensorKeyDictionary

from cuda_ext import ops

PADDING = 16  # inputs and outputs of its networks are padded to multiples of this
ALIGNMENT = 8  # its dense levels hold a multiple of this many entries
FUSED_WIDTHS = (16, 32, 64, 128)  # of its fused networks
LARGEST_SUM = 256.0  # of slopes: times a hidden value or a weight of 256 it still is a half-precision number (65 504)


@dataclass(frozen=True)
class _Levels:
    """Our levels as one of its encodings."""

    encoding: Any
    shifts: Tensor  # [L, 1] half a cell of each level
    used: list[int]  # entries of each level's table


class TinyCuda:
    """Its hash grids and fused networks.

    Source of the layout: tiny-cuda-nn's `grid_scale`, `grid_index` and `pos_fract` (common_device.h). Its corners,
    dense and hashed entries are ours, but it adds half a cell to every scaled position, so that its levels are
    staggered. That is another shift at each level, so no grid of several levels has our corners, however they grow:
    each level is a grid of its own, all in one composite encoding that reads positions shifted for it. Networks whose
    widths its fused kernels do not have are computed natively.
    """

    def __init__(self, module: Any, precision: ops.Precision) -> None:
        self._module, self._precision = module, precision
        self._levels = WeakTensorKeyDictionary()
        self._networks: dict[tuple[int, ...], Any] = {}

    def hash_grid(self, positions: Tensor, tables: Tensor, resolutions: Tensor) -> Tensor:
        """As `ops.hash_grid`; what its resolutions hold is read once, and must not change."""
        if resolutions not in self._levels:
            self._levels[resolutions] = self._make_levels(positions.shape[1], tables.shape[1], resolutions)
        levels = self._levels[resolutions]
        shifted = positions.clamp(0, 1)[:, None] - levels.shifts
        if all(used == tables.shape[1] for used in levels.used):
            entries = tables.reshape(-1)
        else:
            parts = zip(tables, levels.used, strict=True)
            entries = torch.cat([table[:used].reshape(-1) for table, used in parts])
        return functional_call(levels.encoding, {"params": entries}, (shifted.flatten(1),)).float()

    def _make_levels(self, dimensions: int, entries: int, resolutions: Tensor) -> _Levels:
        sizes = resolutions.tolist()
        shared = {"otype": "HashGrid", "n_levels": 1, "n_features_per_level": 2, "per_level_scale": 1.0}
        shared |= {"n_dims_to_encode": dimensions, "log2_hashmap_size": entries.bit_length() - 1}
        config = {"otype": "Composite", "nested": [shared | {"base_resolution": size + 1} for size in sizes]}
        encoding = self._module.Encoding(dimensions * len(sizes), config, dtype=torch.float32)
        dense = [-(-((size + 1) ** dimensions) // ALIGNMENT) * ALIGNMENT for size in sizes]
        return _Levels(encoding, 0.5 / resolutions.float()[:, None], [min(entries, count) for count in dense])

    def mlp(self, inputs: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
        """As `ops.mlp`, in half precision."""
        inner = set(widths[1:-1])
        if len(inner) != 1 or next(iter(inner)) not in FUSED_WIDTHS:
            return ops.mlp(inputs, weights, widths, self._precision)
        first, last = (-(-width // PADDING) * PADDING for width in (widths[0], widths[-1]))
        network = self._network(tuple(widths), first)
        padded = torch.nn.functional.pad(inputs, (0, first - widths[0]))
        return _HalfNetwork.apply(padded, pad_weights(weights, widths, first, last), network)

    def _network(self, widths: tuple[int, ...], first: int) -> Callable[[Tensor], Tensor]:
        if widths not in self._networks:
            sizes = {"n_neurons": widths[1], "n_hidden_layers": len(widths) - 2}
            config = sizes | {"otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None"}
            network = self._module.Network(first, widths[-1], config)
            network.loss_scale = 1.0  # `_HalfNetwork` scales, before gradients become half precision
            self._networks[widths] = network
        return self._networks[widths]


class _HalfNetwork(torch.autograd.Function):
    """A network whose gradients are computed and summed in half precision, scaled so that they are numbers of it.

    Of a mean over a picture's pixels a sample's slope is a millionth, less than half precision can hold; of a sum over
    all samples the weights' gradient is more. The scale makes the largest sum of slopes' sizes LARGEST_SUM; a power of
    two, it rounds nothing by itself. A constant scale is from Micikevicius et al. 2018, Mixed Precision Training.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, network: Any) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        with torch.set_grad_enabled(wanted):
            leaves = [tensor.detach().requires_grad_(wanted) for tensor in (inputs, weights)]
            out = functional_call(network, {"params": leaves[1]}, (leaves[0],))
        ctx.leaves, ctx.out = leaves, out
        return out.detach().float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        most = gradient.abs().sum(0).amax().clamp_min(torch.finfo(torch.float32).tiny)
        scale = torch.exp2(torch.floor(torch.log2(LARGEST_SUM / most)).clamp(-100, 100))
        scaled = (gradient * scale).to(ctx.out.dtype)
        of_inputs, of_weights = torch.autograd.grad(ctx.out, ctx.leaves, scaled, retain_graph=True)
        return of_inputs / scale, of_weights / scale, None


def pad_weights(weights: Tensor, widths: Sequence[int], first: int, last: int) -> Tensor:
    """Flat weights of a network whose inputs are padded to `first` and outputs to `last` columns, with zeros."""
    parts, at = [], 0
    for layer, (before, after) in enumerate(itertools.pairwise(widths)):
        matrix = weights[at : at + before * after].view(after, before)
        at += before * after
        right = first - before if layer == 0 else 0
        below = last - after if layer == len(widths) - 2 else 0
        parts.append(torch.nn.functional.pad(matrix, (0, right, 0, below)).reshape(-1))
    return torch.cat(parts)
