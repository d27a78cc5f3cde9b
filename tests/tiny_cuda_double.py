"""What tiny-cuda-nn's torch binding computes, in plain torch, for tests where there is no GPU.

Written from its source at 6ee3546: `GridEncodingTemplated` (grid.h), `grid_scale`, `grid_index` and `pos_fract`
(common_device.h), `CompositeEncoding` (composite.h), and `_module_function` of bindings/torch/tinycudann/modules.py.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FACTORS = (1, 2654435761, 805459861, 3674653429)


class _Grid:
    """One nested hash grid."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.dimensions, self.levels = config["n_dims_to_encode"], []
        for level in range(config["n_levels"]):
            growth = level * math.log2(config["per_level_scale"])
            scale = 2**growth * config["base_resolution"] - 1
            side = math.ceil(scale) + 1
            size = min(-(-(side**self.dimensions) // 8) * 8, 1 << config["log2_hashmap_size"])
            self.levels.append((scale, side, size))

    @property
    def count(self) -> int:
        return 2 * sum(size for _, _, size in self.levels)

    def encode(self, positions: Tensor, params: Tensor) -> Tensor:
        features, at = [], 0
        for scale, side, size in self.levels:
            table = params[at : at + 2 * size].view(size, 2)
            at += 2 * size
            moved = scale * positions + 0.5
            lower = moved.detach().floor()
            part, corner = moved - lower, lower.long()
            total = table.new_zeros(len(positions), 2)
            for upper in itertools.product((0, 1), repeat=self.dimensions):
                weight = torch.ones_like(positions[:, 0])
                for d in range(self.dimensions):
                    weight = weight * (part[:, d] if upper[d] else 1 - part[:, d])
                index = self._index((corner + torch.tensor(upper)) & 0xFFFFFFFF, side, size)
                total = total + weight[:, None] * table[index]
            features.append(total)
        return torch.cat(features, 1)

    def _index(self, corner: Tensor, side: int, size: int) -> Tensor:
        index, stride = torch.zeros_like(corner[:, 0]), 1
        for d in range(self.dimensions):
            index, stride = (index + corner[:, d] * stride) & 0xFFFFFFFF, stride * side
        if size < stride:
            index = torch.zeros_like(index)
            for d in range(self.dimensions):
                index = index ^ (corner[:, d] * FACTORS[d] & 0xFFFFFFFF)
        return index % size


class _Scale(torch.autograd.Function):
    """Nothing on the way forward; gradients times a factor on the way back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class _Module(torch.nn.Module):
    def __init__(self, count: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.params, self.dtype = torch.nn.Parameter(torch.zeros(count)), dtype
        self.loss_scale = 128.0 if dtype == torch.float16 else 1.0

    def forward(self, inputs: Tensor) -> Tensor:
        params, scale = self.params.to(self.dtype), self.loss_scale
        out = self.compute(_Scale.apply(inputs.float(), 1 / scale), _Scale.apply(params, 1 / scale))
        return _Scale.apply(out.to(self.dtype), scale)

    def compute(self, inputs: Tensor, params: Tensor) -> Tensor:
        raise NotImplementedError


class Encoding(_Module):
    def __init__(self, n_input_dims: int, encoding_config: dict[str, Any], dtype: torch.dtype) -> None:
        assert encoding_config["otype"] == "Composite"
        self.grids = [_Grid(config) for config in encoding_config["nested"]]
        assert n_input_dims == sum(grid.dimensions for grid in self.grids)
        super().__init__(sum(grid.count for grid in self.grids), dtype)

    def compute(self, inputs: Tensor, params: Tensor) -> Tensor:
        positions = inputs.split([grid.dimensions for grid in self.grids], 1)
        tables = params.split([grid.count for grid in self.grids])
        pairs = zip(self.grids, positions, tables, strict=True)
        return torch.cat([grid.encode(where, table) for grid, where, table in pairs], 1)


class Network(_Module):
    def __init__(self, n_input_dims: int, n_output_dims: int, network_config: dict[str, Any]) -> None:
        assert n_input_dims % 16 == 0
        width, hidden = network_config["n_neurons"], network_config["n_hidden_layers"]
        widths = [n_input_dims, *[width] * hidden, -(-n_output_dims // 16) * 16]
        self.shapes = [(after, before) for before, after in itertools.pairwise(widths)]
        self.outputs = n_output_dims
        super().__init__(sum(a * b for a, b in self.shapes), torch.float16)

    def compute(self, inputs: Tensor, params: Tensor) -> Tensor:
        values = inputs.half()
        parts = params.split([a * b for a, b in self.shapes])
        for layer, (part, shape) in enumerate(zip(parts, self.shapes, strict=True)):
            values = values @ part.view(shape).T
            values = functional.relu(values) if layer < len(self.shapes) - 1 else values
        return values[:, : self.outputs]
