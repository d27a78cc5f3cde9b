"""What this machine has: cores, memory, GPUs, room on its disks."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

MEMORY_KEPT = 0.1  # share of the memory that jobs do not get
PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """What jobs may use."""

    cores: tuple[int, ...]  # numbers of the cores, as the system has them
    memory: float  # GB
    gpus: tuple[str, ...] = ()  # as CUDA_VISIBLE_DEVICES names them


def this_machine() -> Machine:
    """The cores this process may run on (a container's quota counts), the memory it may use, the GPUs it may see."""
    cores = sorted(os.sched_getaffinity(0))
    if (quota := _read(CGROUP / "cpu.max").split()) and quota[0] != "max":
        cores = cores[: max(1, round(int(quota[0]) / int(quota[1])))]
    total = int(_read(PROC / "meminfo").split("MemTotal:")[1].split()[0]) * 1024
    limit = _read(CGROUP / "memory.max").strip()
    total = min(total, int(limit)) if limit.isdigit() else total
    return Machine(tuple(cores), total * (1 - MEMORY_KEPT) / 1e9, _find_gpus())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


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
