"""Cores and memory as a container has them: how much of the machine this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def core_numbers() -> list[int]:
    """The cores this process may run on, as the system numbers them; no more than a container's quota of time."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))
    quota = min([float(len(cores)), *_core_quotas()])
    return cores[: max(1, round(quota))]


def core_count() -> int:
    """How many cores this process may use: at least one."""
    return len(core_numbers())


def memory_limit() -> int:
    """Bytes of memory that this process may use."""
    total = int(_read(PROC / "meminfo").split("MemTotal:")[1].split()[0]) * 1024
    return min([total, *_memory_limits()])


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
