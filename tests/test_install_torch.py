"""Which build of torch is installed where, and that nothing but the command of `choose` runs."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import install_torch

TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Machine:
    driver: bool = False
    pip_has: str = "2.13.0"  # version, as pip's indexes have it
    uv_finds: tuple[str, ...] = ("cpu", "auto")


def choose_on(machine: Machine, wanted: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Who installs torch, and the line about it."""

    def uv_command(_: str, backend: str) -> list[str] | None:
        return ["uv", backend] if backend in machine.uv_finds else None

    monkeypatch.setattr(install_torch, "has_driver", lambda: machine.driver)
    monkeypatch.setattr(install_torch, "version_of_pip", lambda _: machine.pip_has)
    monkeypatch.setattr(install_torch, "uv_command", uv_command)
    command, what = install_torch.choose(wanted, TORCH)
    return ("pip" if command[1:3] == ["-m", "pip"] else " ".join(command)), what


LAPTOP, WORKSTATION = Machine(), Machine(driver=True)
NO_UV: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("machine", "wanted", "by", "line"),
    [
        (LAPTOP, "auto", "uv cpu", "for the CPU, about 200 MB"),
        (LAPTOP, "cuda", "pip", "for CUDA, about 3 GB"),
        (replace(LAPTOP, pip_has="2.13.0+cpu"), "auto", "pip", "for the CPU, about 200 MB"),
        (
            replace(LAPTOP, uv_finds=NO_UV),
            "auto",
            "pip",
            "for CUDA on Linux, about 3 GB with its libraries: no build for the",
        ),
        (replace(LAPTOP, pip_has="", uv_finds=NO_UV), "auto", "pip", "about 3 GB"),
        (WORKSTATION, "auto", "uv auto", "as the driver has it, about 3 GB"),
        (WORKSTATION, "cuda", "uv auto", "as the driver has it, about 3 GB"),
        (WORKSTATION, "cpu", "uv cpu", "for the CPU, about 200 MB"),
        (replace(WORKSTATION, uv_finds=NO_UV), "auto", "pip", "as the package index has it, for CUDA"),
        (
            replace(WORKSTATION, pip_has="2.13.0+cpu", uv_finds=NO_UV),
            "auto",
            "pip",
            "for the CPU, .* no build for CUDA",
        ),
    ],
)
def test_the_build_is_that_of_the_machine(
    machine: Machine, wanted: str, by: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, what = choose_on(machine, wanted, monkeypatch)
    assert found == by
    assert re.search(line, what)


def test_a_gpu_that_is_wanted_and_not_to_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    only_cpu = Machine(driver=True, pip_has="2.13.0+cpu", uv_finds=NO_UV)
    with pytest.raises(LookupError, match="build for the CPU only"):
        choose_on(only_cpu, "cuda", monkeypatch)


def test_a_command_that_fails_hangs_or_is_not_there_has_not_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install_torch.succeeds([sys.executable, "-c", ""])
    assert not install_torch.succeeds([sys.executable, "-c", "raise SystemExit(1)"])
    assert not install_torch.succeeds(["/no/such/command"])
    monkeypatch.setattr(install_torch, "RESOLVE_SECONDS", 0.2)
    assert not install_torch.succeeds(["sleep", "60"])


def test_what_is_there_is_left_alone_and_a_wrong_choice_named() -> None:
    script = Path(install_torch.__file__)
    done = subprocess.run([sys.executable, script, "auto"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), "torch is there, as the tests use it"
    done = subprocess.run([sys.executable, script, "gpu"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "TORCH=gpu: choose auto, cpu or cuda\n"


def test_no_registry_is_named() -> None:
    for name in ("Makefile", "install.py", "install_torch.py", "pyproject.toml", "constraints.txt"):
        text = (Path(install_torch.__file__).parent / name).read_text()
        assert "://" not in text, name


def test_why_torch_could_not_be_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "WARNING: Retrying after ProxyError('Cannot connect to proxy.')\nERROR: No matching distribution found"
    command = [sys.executable, "-c", f"import sys; print({said!r}, file=sys.stderr); sys.exit(1)"]
    monkeypatch.setattr(install_torch, "is_installed", lambda _: False)
    monkeypatch.setattr(install_torch, "choose", lambda *_: (command, "for the CPU"))
    monkeypatch.setattr(sys, "argv", ["install_torch.py", "cpu"])
    with pytest.raises(SystemExit) as ended:
        install_torch.main()
    assert str(ended.value.code).startswith("torch could not be installed: WARNING: Retrying after ProxyError(")
    assert "\n" not in str(ended.value.code)
