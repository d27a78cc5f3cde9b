"""Networks as lists of nodes: read from the packaged file (recipes/face_networks.py writes it) and run node by node.

A node is a JSON object: `op`, one of OPS; `in`, numbers of the values it reads; `out`, the number of the one it makes;
and what its function below takes by name. Its weight and bias are the tensors `NETWORK.OUT.weight` and `.bias`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from avatar.core.files import UserError, check_readable

NetworkName = Literal["face_mesh", "short_range", "full_range", "selfie"]
FILE = Path(str(files("avatar") / "assets" / "face_networks.safetensors"))
Run = Callable[..., Tensor]


class Graph(nn.Module):
    """A network. Inputs [B, 3, H, W], outputs [B, ...] in the order that the file has them."""

    def __init__(self, nodes: Sequence[Mapping[str, Any]], outputs: Sequence[int], tensors: Mapping[str, Tensor]):
        """tensors: those of the nodes, named `OUT.weight` and `OUT.bias`."""
        super().__init__()
        self._nodes, self._outputs = nodes, list(outputs)
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "_"), tensor)
        last = {value: number for number, node in enumerate(nodes) for value in node["in"]}
        self._done = [
            [v for v in dict.fromkeys(node["in"]) if last[v] == number and v not in self._outputs]
            for number, node in enumerate(nodes)
        ]

    def regions(self) -> list[list[int]]:
        """The points that each region which it cuts out encloses."""
        return [node["with"]["points_of"] for node in self._nodes if node["op"] == "region"]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        values = {0: image.contiguous(memory_format=_order(image))}
        buffers = self._buffers
        for node, done in zip(self._nodes, self._done, strict=True):
            out = node["out"]
            parameters = {part: buffers[f"{out}_{part}"] for part in ("weight", "bias") if f"{out}_{part}" in buffers}
            values[out] = OPS[node["op"]](*(values[v] for v in node["in"]), **parameters, **node["with"])
            for value in done:
                del values[value]
        return tuple(values[v] for v in self._outputs)


def load_graph(name: NetworkName, path: Path = FILE) -> Graph:
    """A network of the packaged file, in float32. Raises: UserError when the file is missing or another one."""
    check_readable(path, "face networks")
    try:
        with safe_open(path, "pt") as file:
            description = json.loads(file.metadata()[name])
            tensors = {
                key.removeprefix(f"{name}."): file.get_tensor(key).float()
                for key in file.keys()  # noqa: SIM118
                if key.startswith(f"{name}.")
            }
        return Graph(description["nodes"], description["outputs"], tensors).eval()
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: holds no network {name}; install the package again") from error


def _order(x: Tensor) -> torch.memory_format:
    """The fastest order in memory; a GPU keeps full precision for single channels only where channels come first."""
    return torch.channels_last if _on_cpu(x) else torch.contiguous_format


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu"


def _convolution(x: Tensor, *, weight: Tensor, bias: Tensor, stride: int, pad: Sequence[int], groups: int) -> Tensor:
    """pad: left, right, top, bottom.

    Where all channels mix it is a matrix product: twice as fast on a CPU, and in full precision on a GPU, where
    convolutions are rounded to TF32 by default.
    """
    left, right, top, bottom = pad
    alone = weight.shape[1] == 1  # every channel by itself
    if alone and left == right and top == bottom:
        return F.conv2d(x, weight, bias, stride, (top, left), groups=groups)
    x = F.pad(x, (left, right, top, bottom)) if any(pad) else x
    side = weight.shape[2]
    if alone or (side > 1 and _on_cpu(x)):
        return F.conv2d(x, weight, bias, stride, groups=groups)
    if groups > 1:
        return _mix_lanes(x.flatten(2), weight, bias, groups).unflatten(2, x.shape[2:])
    if side == 1:
        return _mix(x.flatten(2), weight, bias).unflatten(2, x.shape[2:])
    height, width = ((length - side) // stride + 1 for length in x.shape[2:])
    return _mix(F.unfold(x, side, stride=stride), weight, bias).unflatten(2, (height, width))


def _mix(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Values [B, C, P] of places to [B, O, P]; on a CPU with the channels last in memory."""
    flat = weight.flatten(1)
    if _on_cpu(x):
        return F.linear(x.mT, flat, bias).mT
    return torch.baddbmm(bias[:, None], flat.expand(len(x), -1, -1), x)


def _mix_lanes(x: Tensor, weight: Tensor, bias: Tensor, lanes: int) -> Tensor:
    """As `_mix`, the channels of each lane among themselves."""
    values, flat = x.unflatten(1, (lanes, -1)), weight.flatten(1).unflatten(0, (lanes, -1))
    if _on_cpu(x):
        rows = values.permute(1, 0, 3, 2).flatten(1, 2)  # [L, B P, C]
        mixed = torch.baddbmm(bias.reshape(lanes, 1, -1), rows, flat.mT)
        return mixed.permute(1, 0, 2).reshape(len(x), x.shape[2], -1).mT
    return torch.einsum("blcp,loc->blop", values, flat).flatten(1, 2) + bias[:, None]


def _lanes(x: Tensor, *, chosen: Sequence[int], count: int) -> Tensor:
    """Some of the lanes that the channels are made of, in an order, also more than once."""
    parts = x.chunk(count, 1)
    return parts[chosen[0]] if len(chosen) == 1 else torch.cat([parts[lane] for lane in chosen], 1)


def _add(x: Tensor, y: Tensor, *, lanes: int = 1) -> Tensor:
    """The sum; the one with fewer channels has zeros in the others, lane by lane."""
    if x.shape[1] == y.shape[1]:
        return x + y
    narrow, wide = (x, y) if x.shape[1] < y.shape[1] else (y, x)
    both = wide.clone(memory_format=_order(wide))
    both.unflatten(1, (lanes, -1))[:, :, : narrow.shape[1] // lanes] += narrow.unflatten(1, (lanes, -1))
    return both


def _rows(x: Tensor, *, width: int) -> Tensor:
    """Values of all places, and of the channels of each, in rows [B, N, width]."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, width)


def _depth_to_space(x: Tensor) -> Tensor:
    """Four channels become a block of 2 by 2 places; TensorFlow counts the places first, then channels."""
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, 2, 2, channels // 4, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // 4, 2 * height, 2 * width)


def _region(points: Tensor, *, points_of: Sequence[int], level: Sequence[int], scale: float, side: int) -> Tensor:
    """The matrix [B, 2, 3] from cells of a crop, `side` a side, to those of the map of what the points lie on.

    points: [B, N, 3]; points_of: those the region encloses, grown by `scale`; level: two on a line that is to be level.
    """
    left, right = points[:, level[0], :2], points[:, level[1], :2]
    angle = torch.atan2(right[:, 1] - left[:, 1], right[:, 0] - left[:, 0])
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)  # undoes the angle
    upright = points[:, points_of, :2] @ turn.mT
    low, high = upright.amin(1), upright.amax(1)
    middle = ((low + high) / 2)[:, None] @ turn  # and back
    cell = scale * (high - low) / side
    axes = turn.mT * cell[:, None]
    return torch.cat([axes, middle.mT - axes.sum(2, keepdim=True) * (side / 2)], 2)


def _crop(x: Tensor, matrix: Tensor, *, side: int) -> Tensor:
    """Cells [B, C, side, side] of a map [B, C, H, W], bilinear; zero where a cell's middle lies outside."""
    height, width = x.shape[2:]
    cell = torch.arange(side, device=x.device, dtype=x.dtype) + 0.5
    places = torch.stack([*torch.meshgrid(cell, cell, indexing="xy"), torch.ones(side, side).to(x)], -1)
    at = places.reshape(-1, 3) @ matrix.mT - 0.5
    limit = torch.tensor([width - 1, height - 1], device=x.device, dtype=x.dtype)
    inside = ((at >= 0) & (at <= limit)).all(-1).reshape(-1, 1, side, side)
    grid = ((2 * at + 1) / (limit + 1) - 1).reshape(-1, side, side, 2)
    cut = F.grid_sample(x, grid, padding_mode="border", align_corners=False) * inside
    return cut.contiguous(memory_format=_order(cut))


def _move(points: Tensor, matrix: Tensor) -> Tensor:
    return points @ matrix[..., :2].mT + matrix[..., 2].unsqueeze(1)


OPS: dict[str, Run] = {
    "convolution": _convolution,
    "transposed_convolution": lambda x, *, weight, bias, stride: F.conv_transpose2d(x, weight, bias, stride),
    "prelu": lambda x, *, weight: F.prelu(x, weight),
    "relu": F.relu,
    "hard_swish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "add": _add,
    "multiply": torch.mul,
    "scale": lambda x, *, weight: x * weight,
    "max_pool": lambda x, *, side: F.max_pool2d(x, side),
    "mean": lambda x: x.mean((2, 3), keepdim=True),
    "resize": lambda x, *, size: F.interpolate(x, size=size, mode="bilinear", align_corners=False),
    "depth_to_space": _depth_to_space,
    "rows": _rows,
    "lanes": _lanes,
    "join": lambda *x: torch.cat(x, 1),
    "region": _region,
    "crop": _crop,
    "move": _move,
}
