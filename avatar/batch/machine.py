"""What this machine has: cores, memory, GPUs, room on its disks."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from cuda_ext.limits import PROC, core_numbers, memory_limit

MEMORY_KEPT = 0.1  # share of the memory that jobs do not get


@dataclass(frozen=True)
class Machine:
    """What jobs may use."""

    cores: tuple[int, ...]  # numbers of the cores, as the system has them
    memory: float  # GB
    gpus: tuple[str, ...] = ()  # as CUDA_VISIBLE_DEVICES names them


def this_machine() -> Machine:
    """The cores this process may run on (a container's quota counts), the memory it may use, the GPUs it may see."""
    return Machine(tuple(core_numbers()), memory_limit() * (1 - MEMORY_KEPT) / 1e9, _find_gpus())


def _find_gpus() -> tuple[str, ...]:
    if (seen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return tuple(name.strip() for name in seen.split(",") if name.strip())
    listed = PROC / "driver" / "nvidia" / "gpus"
    return tuple(str(index) for index in range(len(list(listed.iterdir())))) if listed.is_dir() else ()


def free_bytes(path: Path) -> int:
    """Room on the disk that a file is to be written to."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
