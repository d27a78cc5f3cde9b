"""The compiled module: loading it, its settings, and handing tensors to it on the device they are on."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from cuda_ext.limits import core_count
from cuda_ext.shapes import check_shapes

_BUILD = "the native ops are not built: run `pip install -e .` in the checkout (needs a C++17 compiler)"


class _Missing:
    def __getattr__(self, name: str) -> Any:
        raise ImportError(_BUILD)


def _load() -> ModuleType | _Missing:
    try:
        return importlib.import_module("cuda_ext._native")
    except ModuleNotFoundError:
        return _Missing()


_native: Any = _load()
if not isinstance(_native, _Missing):
    _native.set_threads(core_count())  # by itself it counts the machine's cores, whatever a container's quota is


def set_threads(count: int) -> None:
    """Use this many threads for all ops on the CPU; 0 means one for each core that a container may use."""
    if count < 0:
        raise ValueError(f"set_threads: count is {count}, expected 0 or more")
    _native.set_threads(count or core_count())


def get_threads() -> int:
    """Number of threads in use."""
    return int(_native.get_threads())


def isa() -> str:
    """Instruction set in use: v2, v3, v4 (x86-64 levels) or generic; AVATAR_ISA overrides it."""
    return str(_native.isa())


def cuda_architectures() -> str:
    """What the GPU kernels were compiled for, such as "80;90"; empty for a build without them."""
    return str(_native.cuda_architectures())


def stream(device: torch.device) -> int | None:
    """The CUDA stream that ops on this device join, as a number; None on the CPU."""
    return None if device.type == "cpu" else torch.cuda.current_stream(device).cuda_stream


def check(
    where: str,
    tensors: Mapping[str, tuple[Tensor, str]],
    *,
    dtype: torch.dtype = torch.float32,
    sizes: Mapping[str, int] | None = None,
    device: torch.device | None = None,
) -> dict[str, int]:
    """`check_shapes`, and that all tensors are dense and on one device (`device`, if given) the ops can run on."""
    known = check_shapes(where, tensors, dtype=dtype, sizes=sizes)
    for name, (tensor, pattern) in tensors.items():
        device = device or tensor.device
        if tensor.layout != torch.strided:
            raise ValueError(f"{where}.{name} is {tensor.layout}, expected a dense tensor")
        if tensor.device.type not in ("cpu", "cuda"):
            raise ValueError(f"{where}.{name} is on {tensor.device}, expected cpu or cuda")
        if tensor.device != device:
            raise ValueError(f"{where}.{name} is on {tensor.device}, expected {device} as the others")
        if "B" in pattern.split() and known["B"] < 1:
            raise ValueError(f"{where}.{name} is a batch of no frames, expected B > 0")
    return known


def check_finite(where: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity on the CPU; on a GPU this would synchronize, and its kernels skip such splats."""
    for name, tensor in tensors.items():
        if stream(tensor.device) is not None:
            continue
        # A sum that is finite proves every term finite; only where it is not are all values looked at.
        if not bool(torch.isfinite(tensor.detach().sum())) and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{where}.{name} has a value that is not finite")


def plain(tensor: Tensor) -> Tensor:
    """Contiguous, without graph or lazy negation: its address is its content."""
    return tensor.detach().resolve_neg().contiguous()


def plain_frames(tensor: Tensor) -> tuple[Tensor, int]:
    """A batch [B, ...] whose frames are contiguous, and the floats from one frame to the next (0: all the same)."""
    tensor = tensor.detach().resolve_neg()
    if not tensor[0].is_contiguous():
        tensor = tensor.contiguous()
    return tensor, tensor.stride(0)


def call(name: str, device: torch.device, *arguments: Any) -> Any:
    """Call a native function with addresses in place of tensors, and last the stream (None on the CPU).

    Addresses rather than DLPack: exporting a tensor makes its stream wait for the default one, which a stream that is
    being captured into a CUDA graph must not do. The tensors were checked by the caller and live until the return.
    """
    addresses, function, joined = _addresses(arguments), getattr(_native, name), stream(device)
    if device.type == "cpu":
        return function(*addresses, joined)
    with torch.cuda.device(device):
        return function(*addresses, joined)


def _addresses(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_address(value) for value in arguments)


def _address(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data_ptr()
    if isinstance(value, tuple):
        return _addresses(value)
    return 0 if value is None else value
