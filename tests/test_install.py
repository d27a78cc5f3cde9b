"""What an installation that cannot go on says, in one line, and that a half-finished one goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import install
from install import InstallError


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installer in an empty folder."""
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(install, "LOG", tmp_path / "build" / "install.log")
    return tmp_path


def test_what_a_machine_lacks_is_named(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install.check_machine(dev=False)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1e9))
        with pytest.raises(InstallError, match=r"1\.0 GB are free at .*, 4\.5 are needed"):
            install.check_machine(dev=True)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.which", lambda name, path=None: None)
        with pytest.raises(InstallError, match="no C\\+\\+ compiler; install one: apt install"):
            install.check_machine(dev=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", (3, 14, 0))
        with pytest.raises(InstallError, match="is not supported; name one: make PYTHON="):
            install.check_machine(dev=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        patch.setattr("platform.system", lambda: "Windows")
        with pytest.raises(InstallError, match="Windows is not supported; Linux and, untested, macOS are"):
            install.check_machine(dev=False)


def test_a_half_finished_environment_is_made_anew_and_a_whole_one_kept(
    away: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install.PYTHON.parent.mkdir(parents=True)
    install.PYTHON.write_text("broken")
    install.make_environment()
    assert install.has_pip(install.PYTHON)
    assert capsys.readouterr().out == f"{install.VENV} is not whole and is made anew\n"
    (kept := install.VENV / "kept").touch()
    install.make_environment()
    assert kept.exists()
    assert capsys.readouterr().out == ""


def test_why_an_installer_failed_is_one_line(away: Path) -> None:
    said = "Collecting numpy\nWARNING: Retrying after ProxyError('Cannot connect')\nERROR: Could not find a version"
    command = [sys.executable, "-c", f"import sys; print({said!r}); sys.exit(1)"]
    with pytest.raises(InstallError) as failed:
        install.run_logged(command, "Installing")
    assert str(failed.value).startswith("Installing failed: WARNING: Retrying after ProxyError(")
    assert "\n" not in str(failed.value)
    assert "Collecting numpy" in install.LOG.read_text()
    assert (
        install.reason("a\n error: [Errno 28] No space left on device\nb")
        == "error: [Errno 28] No space left on device"
    )
    assert install.reason("") == "no output"


def test_the_command_line_ends_in_one_line_of_error(tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path), "CXX": "none"}
    script = Path(install.__file__)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=nothing, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("install: no C++ compiler")


def test_uv_is_used_where_it_is(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bin", "nothing"):
        (away / name).mkdir()
    uv = away / "bin" / "uv"
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(away / "nothing"))
    command = install.package_command(dev=False)
    assert command[:4] == [str(install.PYTHON), "-m", "pip", "install"]
    assert command[-1] == f"{away}[trust]"
    monkeypatch.setenv("PATH", str(uv.parent) + os.pathsep + str(away / "nothing"))
    command = install.package_command(dev=True)
    assert command[:5] == [str(uv), "pip", "install", "--python", str(install.PYTHON)]
    assert "cmake.define.AVATAR_EMULATION=ON" in command
    assert command[-1] == f"{away}[dev]"
    assert "-C" not in command  # which the pip of Python 3.11's first releases lacks
