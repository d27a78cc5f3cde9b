"""Cores and memory as a container has them: control groups of version 1 and 2, nested, each limit counting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avatar.batch import machine
from cuda_ext import limits, native

GB = 10**9


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system of 16 cores and 64 GB without limits, in a folder."""
    monkeypatch.setattr(limits, "PROC", tmp_path / "proc")
    monkeypatch.setattr(limits, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    write(tmp_path / "proc" / "meminfo", f"MemTotal: {64 * GB // 1024} kB\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found() -> tuple[int, float]:
    here = machine.this_machine()
    return len(here.cores), round(here.memory / (1 - machine.MEMORY_KEPT), 2)


NO_LIMIT = {"memory/memory.limit_in_bytes": str(2**63 - 4096), "cpu/cpu.cfs_quota_us": "-1"}
V1 = "5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/docker/a\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "cores", "memory"),
    [
        ("", {}, 16, 64.0),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, 16, 64.0),
        ("0::/\n", {"cpu.max": "250000 100000", "memory.max": str(8 * GB)}, 2, 8.0),
        ("0::/a.slice/b.scope\n", {"a.slice/b.scope/cpu.max": "50000 100000", "a.slice/memory.max": str(GB)}, 1, 1.0),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000", "a/memory.max": "max"}, 4, 64.0),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "800000 100000"}, 2, 64.0),
        (V1, NO_LIMIT, 16, 64.0),
        (V1, {"memory/docker/a/memory.limit_in_bytes": str(3 * GB)}, 16, 3.0),
        (V1, NO_LIMIT | {"memory/memory.limit_in_bytes": str(3 * GB)}, 16, 3.0),
        (
            V1,
            {"cpu,cpuacct/docker/a/cpu.cfs_quota_us": "300000", "cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000"},
            3,
            64.0,
        ),
        (V1, {"cpu/docker/a/cpu.cfs_quota_us": "300000", "cpu/docker/a/cpu.cfs_period_us": "100000"}, 3, 64.0),
        (V1, {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "50000"}, 3, 64.0),
    ],
)
def test_limits(groups: str, files: dict[str, str], cores: int, memory: float, system: Path) -> None:
    write(system / "proc" / "self" / "cgroup", groups)
    for name, text in files.items():
        write(system / "cgroup" / name, text)
    assert found() == (cores, memory)


def test_a_quota_limits_the_threads_of_the_native_ops(system: Path) -> None:
    write(system / "proc" / "self" / "cgroup", "0::/\n")
    write(system / "cgroup" / "cpu.max", "350000 100000")
    before = native.get_threads()
    try:
        native.set_threads(0)
        assert native.get_threads() == limits.core_count() == 4
    finally:
        native.set_threads(before)


@pytest.mark.parametrize(("own", "threads"), [(None, "1"), ("2", "2")])
def test_a_quota_limits_the_threads_of_torch_unless_they_are_chosen(own: str | None, threads: str) -> None:
    code = """if True:
        import avatar.cli, sys
        avatar.cli.core_count, sys.argv = lambda: 1, ["avatar", "--version"]
        try:
            avatar.cli.main()
        except SystemExit:
            import torch

            print(torch.get_num_threads())"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": own} if own else {}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split()[-1:] == [threads], done.stderr
