"""What computes encodings and networks: our own ops, plain torch, or tiny-cuda-nn; and what marches along rays.

All read the same tensors, so that an avatar trained by one is drawn by any other.
"""

from __future__ import annotations

import functools
import importlib.util
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.render.nerf.settings import NerfSettings
from avatar.render.nerf.tiny_cuda import TinyCuda
from cuda_ext import ops, reference_field

HashGrid = Callable[[Tensor, Tensor, Tensor], Tensor]
Network = Callable[[Tensor, Tensor, Sequence[int]], Tensor]
March = Callable[..., ops.RaySamples]  # as `cuda_ext.ops.march`
TRIAL_POINTS = 2**17  # about a picture's samples: fewer would measure launches


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


def check_backends(settings: NerfSettings, device: torch.device) -> None:
    """Raise UserError when a device cannot run what settings name, saying what to do."""
    check_backend(settings.backend, device)
    check_marcher(settings.marcher, device)


def open_backends(settings: NerfSettings, device: torch.device) -> tuple[Backend, March]:
    """What settings name, picked when it first is used: an avatar is opened on the CPU before it moves to a GPU.

    Where the device cannot run it our own ops take its place, with a warning, so that an avatar can be played anywhere.
    """

    @functools.cache
    def backend() -> Backend:
        return pick_backend(_usable(check_backend, settings.backend, device), device, settings.precision)

    @functools.cache
    def march() -> March:
        return pick_march(_usable(check_marcher, settings.marcher, device), device)

    def hash_grid(positions: Tensor, tables: Tensor, resolutions: Tensor) -> Tensor:
        return backend().hash_grid(positions, tables, resolutions)

    def mlp(inputs: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
        return backend().mlp(inputs, weights, widths)

    return Backend(settings.backend, hash_grid, mlp), lambda *rays, **limits: march()(*rays, **limits)


def uses_native(settings: NerfSettings, device: torch.device) -> bool:
    """Whether settings come to our own ops on a device, which wait for nothing there, and so can be captured."""
    if settings.marcher != "native" or settings.backend not in ("auto", "native"):
        return False
    return pick_backend(settings.backend, device, settings.precision).name == "native"


def _usable(check: Callable[[str, torch.device], None], name: str, device: torch.device) -> str:
    try:
        check(name, device)
    except UserError as error:
        warnings.warn(f"the avatar is drawn by the native ops: {error}", stacklevel=2)
        return "native"
    return name


def check_backend(name: str, device: torch.device) -> None:
    """Raise UserError when a backend is not installed or cannot run on a device."""
    if name != "tcnn":
        return
    if importlib.util.find_spec("tinycudann") is None:
        raise UserError(
            "backend 'tcnn' is not installed; it is compiled on your machine, with nvcc: pip install "
            "git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch; or use 'native'"
        )
    if device.type != "cuda":
        raise UserError("backend 'tcnn' runs on NVIDIA GPUs only; give --device cuda, or use 'native'")


def pick_backend(name: str, device: torch.device, precision: ops.Precision = "bfloat16") -> Backend:
    """The backend of a name; `auto` is the native one on a processor, the fastest that is there on a GPU.

    precision: of a GPU's networks. Raises: as `check_backend`.
    """
    check_backend(name, device)
    if name == "auto":
        times = time_backends(device, precision) if device.type == "cuda" else {"native": 0.0}
        name = min(times, key=times.__getitem__)
    if name == "torch":
        return TORCH
    if name == "tcnn":
        return _open_tiny_cuda(precision)
    return _native(precision)


def _native(precision: ops.Precision) -> Backend:
    if precision == "bfloat16":
        return NATIVE
    return Backend("native", ops.hash_grid, functools.partial(ops.mlp, precision=precision))


def _open_tiny_cuda(precision: ops.Precision) -> Backend:
    import tinycudann

    tiny_cuda = TinyCuda(tinycudann, precision)
    return Backend("tcnn", tiny_cuda.hash_grid, tiny_cuda.mlp)


@functools.cache
def time_backends(device: torch.device, precision: ops.Precision = "bfloat16") -> dict[str, float]:
    """Milliseconds that each backend that a GPU has takes, forward and backward, for a picture's samples.

    Timed once in a process. One that cannot be loaded, such as a tiny-cuda-nn built for another torch, is left out.
    """
    times = {"native": _milliseconds(_native(precision), device)}
    if importlib.util.find_spec("tinycudann") is not None:
        try:
            times["tcnn"] = _milliseconds(_open_tiny_cuda(precision), device)
        except (ImportError, OSError, RuntimeError) as error:
            warnings.warn(f"backend 'tcnn' is installed but does not run: {error}", stacklevel=2)
    return times


@torch.inference_mode(mode=False)
@torch.enable_grad()
def _milliseconds(backend: Backend, device: torch.device) -> float:
    """The better of two passes, after one to warm up; with gradients, though a drawing may ask that has none."""
    generator = torch.Generator(device).manual_seed(0)
    positions = torch.rand(TRIAL_POINTS, 3, generator=generator, device=device)
    tables = torch.zeros(12, 2**15, 2, device=device, requires_grad=True)
    resolutions = torch.tensor([12 + 20 * level for level in range(12)], dtype=torch.int32, device=device)
    weights = torch.zeros(24 * 64 + 64 * 16, device=device, requires_grad=True)
    spent = []
    for _ in range(3):
        _wait(device)
        start = time.perf_counter()
        backend.mlp(backend.hash_grid(positions, tables, resolutions), weights, [24, 64, 16]).sum().backward()
        _wait(device)
        spent.append(1e3 * (time.perf_counter() - start))
    return min(spent[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def check_marcher(name: str, device: torch.device) -> None:
    """Raise UserError when what marches along rays is not installed or cannot run on a device."""
    if name != "nerfacc":
        return
    if importlib.util.find_spec("nerfacc") is None:
        raise UserError("marcher 'nerfacc' is not installed; run pip install 'avatar-builder[cuda]', or use 'native'")
    if device.type != "cuda":
        raise UserError("marcher 'nerfacc' runs on NVIDIA GPUs only; give --device cuda, or use 'native'")


def pick_march(name: str, device: torch.device) -> March:
    """What marches along rays: `native`, or `nerfacc` on a GPU. Raises: as `check_marcher`."""
    check_marcher(name, device)
    return _march_nerfacc if name == "nerfacc" else ops.march


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
