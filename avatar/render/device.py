"""Which machine draws: the processor, or an NVIDIA GPU."""

from __future__ import annotations

import re
from typing import Literal

import torch

from avatar.core.files import UserError
from cuda_ext import native, ops

DeviceName = Literal["auto", "cpu", "cuda"]


def pick_device(name: DeviceName) -> torch.device:
    """The torch device of a name; `auto`: the GPU where nothing is missing for it, else the processor.

    Raises: UserError when `cuda` is not to be had, saying what is missing.
    """
    if name == "cpu":
        return torch.device("cpu")
    missing = missing_for_gpu()
    if not missing:
        return torch.device("cuda", torch.cuda.current_device())
    if name == "auto":
        return torch.device("cpu")
    raise UserError(f"device cuda: {missing}; or use --device cpu")


def describe(device: torch.device) -> str:
    """A GPU in one line: its name, torch's version of CUDA, and what the kernels were compiled for."""
    return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, kernels for {native.cuda_architectures()}"


def missing_for_gpu() -> str:
    """What is missing for drawing on this machine's GPU, and what to do; empty when nothing is."""
    if not torch.cuda.is_available():
        if torch.version.cuda is None:
            return f"torch {torch.__version__} is the build for the CPU; make clean install TORCH=cuda brings the other"
        return f"torch {torch.__version__} finds no NVIDIA GPU, or its driver is too old"
    card = torch.cuda.get_device_name()
    try:
        compiled = native.cuda_architectures()
    except ImportError as error:
        return str(error)
    if not compiled:
        return f"{card} is there, but the native ops were built without CUDA; install nvcc and build them anew"
    if not fits(compiled, capability := torch.cuda.get_device_capability()):
        needed = "{}.{}".format(*capability)
        return f"the native ops have kernels for {compiled}, and {card} has {needed}; build them anew on this machine"
    return failure_of_an_op()


def fits(compiled: str, capability: tuple[int, int]) -> bool:
    """Whether a GPU runs kernels of some architectures, given as CMake has them ("80-real;90").

    Machine code ("-real") runs on GPUs of the same major and no lower minor version; PTX ("-virtual") on all later
    ones; a number alone stands for both. Code for "90a" runs on 9.0 alone.
    """
    for architecture in re.split("[;,]", compiled):
        found = re.fullmatch(r"(\d+)(\d)([af]?)(-real|-virtual)?", architecture)
        if found is None:
            continue
        major, minor, special, only = int(found[1]), int(found[2]), found[3], found[4]
        if special == "a":
            runs = capability == (major, minor)
        elif special or only == "-real":
            runs = capability[0] == major and capability[1] >= minor
        else:
            runs = capability >= (major, minor)
        if runs:
            return True
    return False


def failure_of_an_op() -> str:
    """Why the smallest op fails on the GPU, such as a driver older than the compiler of the kernels; or nothing."""
    one = torch.ones(1, device="cuda")
    try:
        good = float(ops.deform(one, one[None], one)) == 2.0
    except RuntimeError as error:
        return f"an op failed there ({error}); build the native ops with an nvcc no newer than the driver"
    return "" if good else "an op gave a wrong result there; build the native ops anew on this machine"
