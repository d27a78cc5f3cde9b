"""Which machine draws: the processor, or an NVIDIA GPU."""

from __future__ import annotations

from typing import Literal

import torch

from avatar.core.files import UserError
from cuda_ext import native

DeviceName = Literal["cpu", "cuda"]


def pick_device(name: DeviceName) -> torch.device:
    """The torch device of a name. Raises: UserError when it is not there, saying what is missing."""
    if name == "cpu":
        return torch.device("cpu")
    if not native.cuda_architectures():
        raise UserError("device cuda: the native ops were built without CUDA; install nvcc and build them anew")
    if not torch.cuda.is_available():
        raise UserError("device cuda: torch finds no NVIDIA GPU; use --device cpu, or install torch for CUDA")
    return torch.device("cuda", torch.cuda.current_device())
