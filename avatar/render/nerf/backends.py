"""What computes encodings and networks: our own ops, plain torch, or tiny-cuda-nn; and what marches along rays.

All read the same tensors, so that an avatar trained by one is drawn by any other.
"""

from __future__ import annotations

import importlib.util
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from avatar.core.files import UserError
from cuda_ext import ops, reference_field

HashGrid = Callable[[Tensor, Tensor, Tensor], Tensor]
Network = Callable[[Tensor, Tensor, Sequence[int]], Tensor]
March = Callable[..., ops.RaySamples]  # as `cuda_ext.ops.march`
TRIAL_POINTS = 2**17  # about a picture's samples: fewer would measure launches
PADDING = 16  # tiny-cuda-nn pads the inputs and outputs of its networks to multiples of this
FUSED_WIDTHS = (16, 32, 64, 128)  # of tiny-cuda-nn's fused networks


@dataclass(frozen=True)
class Backend:
    """`cuda_ext.ops.hash_grid` and `cuda_ext.ops.mlp`, or what gives the same numbers."""

    name: str
    hash_grid: HashGrid
    mlp: Network


NATIVE = Backend("native", ops.hash_grid, ops.mlp)


def _torch_grid(positions: Tensor, tables: Tensor, resolutions: Tensor) -> Tensor:
    return reference_field.hash_grid(positions, tables, resolutions)


TORCH = Backend("torch", _torch_grid, reference_field.mlp)


def pick_backend(name: str, device: torch.device) -> Backend:
    """The backend of a name; `auto` is the native one on a processor, the fastest that is there on a GPU.

    Raises: UserError when it is not installed or cannot run on the device, saying what to do.
    """
    if name == "torch":
        return TORCH
    if name == "tcnn":
        return _open_tcnn(device)
    if name == "native" or device.type == "cpu" or importlib.util.find_spec("tinycudann") is None:
        return NATIVE
    return min((NATIVE, _open_tcnn(device)), key=lambda backend: _seconds(backend, device))


def _open_tcnn(device: torch.device) -> Backend:
    if importlib.util.find_spec("tinycudann") is None:
        raise UserError(
            "backend 'tcnn' is not installed; it is compiled on your machine, with nvcc: pip install "
            "git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch; or use 'native'"
        )
    if device.type != "cuda":
        raise UserError("backend 'tcnn' runs on NVIDIA GPUs only; give --device cuda, or use 'native'")
    import tinycudann

    tcnn = _TinyCuda(tinycudann)
    return Backend("tcnn", tcnn.hash_grid, tcnn.mlp)


class _TinyCuda:
    """tiny-cuda-nn's modules, run on our tensors: each level is a grid of its own, so that its layout is ours.

    Its grids lie half a cell aside (their `pos_fract`), which a shift by half a cell takes back; corner order and hash
    are those of Instant-NGP, as ours. Widths that its fused networks do not have are computed natively.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._made: dict[tuple[Any, ...], Any] = {}

    def _make(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def hash_grid(self, positions: Tensor, tables: Tensor, resolutions: Tensor) -> Tensor:
        entries, dimensions, features = tables.shape[1], positions.shape[1], []
        for table, resolution in zip(tables, resolutions.tolist(), strict=True):
            config = {
                "otype": "HashGrid",
                "n_levels": 1,
                "n_features_per_level": 2,
                "log2_hashmap_size": entries.bit_length() - 1,
                "base_resolution": resolution + 1,
                "per_level_scale": 1.0,
            }
            make = lambda config=config: self._module.Encoding(dimensions, config, dtype=torch.float32)  # noqa: E731
            level = self._make(("grid", dimensions, resolution, entries), make)
            shifted = positions.clamp(0, 1) - 0.5 / resolution
            used = {"params": table.reshape(-1)[: level.params.numel()]}
            features.append(functional_call(level, used, (shifted,)).float())
        return torch.cat(features, 1)

    def mlp(self, inputs: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
        inner = set(widths[1:-1])
        if len(inner) != 1 or next(iter(inner)) not in FUSED_WIDTHS:
            return ops.mlp(inputs, weights, widths)
        config = {
            "otype": "FullyFusedMLP",
            "activation": "ReLU",
            "output_activation": "None",
            "n_neurons": widths[1],
            "n_hidden_layers": len(widths) - 2,
        }
        first, last = (-(-width // PADDING) * PADDING for width in (widths[0], widths[-1]))
        network = self._make(("mlp", *widths), lambda: self._module.Network(first, widths[-1], config))
        padded = torch.nn.functional.pad(inputs, (0, first - widths[0]))
        used = {"params": pad_weights(weights, widths, first, last)}
        return functional_call(network, used, (padded,)).float()


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


def _seconds(backend: Backend, device: torch.device) -> float:
    """How long a forward and backward pass takes, the better of two after one to warm up."""
    generator = torch.Generator(device).manual_seed(0)
    positions = torch.rand(TRIAL_POINTS, 3, generator=generator, device=device)
    tables = torch.zeros(12, 2**15, 2, device=device, requires_grad=True)
    resolutions = torch.tensor([12 + 20 * level for level in range(12)], dtype=torch.int32, device=device)
    weights = torch.zeros(24 * 64 + 64 * 16, device=device, requires_grad=True)
    spent = []
    for _ in range(3):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        backend.mlp(backend.hash_grid(positions, tables, resolutions), weights, [24, 64, 16]).sum().backward()
        torch.cuda.synchronize(device)
        spent.append(time.perf_counter() - start)
    return min(spent[1:])


def pick_march(name: str, device: torch.device) -> March:
    """What marches along rays: `native`, or `nerfacc` on a GPU. Raises: UserError when it is not there."""
    if name == "native":
        return ops.march
    if importlib.util.find_spec("nerfacc") is None:
        raise UserError("marcher 'nerfacc' is not installed; run pip install 'avatar-builder[cuda]', or use 'native'")
    if device.type != "cuda":
        raise UserError("marcher 'nerfacc' runs on NVIDIA GPUs only; give --device cuda, or use 'native'")
    return _march_nerfacc


def _march_nerfacc(
    origins: Tensor,
    directions: Tensor,
    occupancy: Tensor,
    *,
    depths: Tensor,
    step: float,
    jitter: Tensor | None = None,
    room: ops.Room | None = None,
) -> ops.RaySamples:
    """As `ops.march` without a room, but that nerfacc begins to count steps where a ray enters a filled cell."""
    if room is not None:
        raise ValueError("nerfacc waits for the number of samples; it has no use for a room")
    from nerfacc import traverse_grids

    shift = 0.0 if jitter is None else (jitter - 0.5) * step
    starts = depths[0] + shift + torch.zeros_like(origins[:, 0])
    cube = torch.tensor([[0.0, 0, 0, 1, 1, 1]], device=origins.device)
    filled = occupancy.permute(2, 1, 0)[None] > 0  # by x, y, z
    _, samples, _ = traverse_grids(
        origins, directions, filled, cube, starts, depths[1].expand_as(starts).contiguous(), step_size=step
    )
    first, counts = samples.packed_info.unbind(1)
    rays = torch.repeat_interleave(torch.arange(len(origins), device=origins.device), counts)
    positions = origins[rays] + samples.vals[:, None] * directions[rays]
    return ops.RaySamples(positions, samples.vals, first.long(), counts.int(), rays.int())
