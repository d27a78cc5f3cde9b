"""What this machine has: cores, memory, GPUs, room on its disks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
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
    quota = min([float(len(cores)), *_core_quotas()])
    total = int(_read(PROC / "meminfo").split("MemTotal:")[1].split()[0]) * 1024
    memory = min([total, *_memory_limits()])
    return Machine(tuple(cores[: max(1, round(quota))]), memory * (1 - MEMORY_KEPT) / 1e9, _find_gpus())


def _core_quotas() -> Iterator[float]:
    """Cores that each group above this process may use at a time."""
    for folder in _groups(""):
        if len(limit := _read(folder / "cpu.max").split()) == 2 and limit[0] != "max":
            yield int(limit[0]) / int(limit[1])
    for folder in _groups("cpu"):
        quota, period = (_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit():  # -1: no limit
            yield int(quota) / int(period)


def _memory_limits() -> Iterator[int]:
    """Bytes that each group above this process may use."""
    files = [folder / "memory.max" for folder in _groups("")]
    files += [folder / "memory.limit_in_bytes" for folder in _groups("memory")]
    for file in files:
        if (limit := _read(file).strip()).isdigit():  # `max`, or in version 1 a number beyond all memory: no limit
            yield int(limit)


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups this process is in, innermost first; controller: of version 1, empty: version 2.

    A container may see its own group at the root of the mount, whatever /proc names it; that counts, too.
    """
    for line in _read(PROC / "self" / "cgroup").splitlines():
        number, controllers, name = line.split(":", 2)
        names = controllers.split(",")
        if (controller in names) if controller else (number == "0" and not controllers):
            root = CGROUP / controllers if (CGROUP / controllers).is_dir() or not controller else CGROUP / controller
            place = root / name.strip("/")
            while place != root:
                yield place
                place = place.parent
            yield root


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
