"""Install the torch that fits this machine into the Python that runs this: `python install_torch.py [auto|cpu|cuda]`.

On Linux the default index has torch for CUDA, some 3 GB with its libraries, whether there is a GPU or not. This takes
the build for the CPU where there is no NVIDIA driver, and the one for CUDA that fits the driver where there is one. uv
knows where each build is (`--torch-backend`); where uv is not to be had, or cannot reach them, pip installs what its
own indexes have.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from install import reason

CONSTRAINTS = Path(__file__).parent / "constraints.txt"
CPU_SIZE, CUDA_SIZE = "about 200 MB", "about 3 GB with its libraries"
RESOLVE_SECONDS = 120  # for finding out what would be installed, by which nothing large is fetched
PIP = [sys.executable, "-m", "pip"]


def has_driver() -> bool:
    """Whether an NVIDIA driver runs."""
    smi = shutil.which("nvidia-smi")
    return Path("/proc/driver/nvidia/version").exists() or (smi is not None and succeeds([smi, "-L"]))


def succeeds(command: list[str]) -> bool:
    """Whether a command ends well, and in time; what it prints is dropped."""
    try:
        return subprocess.run(command, capture_output=True, timeout=RESOLVE_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def version_of_pip(requirement: str) -> str:
    """The version of torch that pip would install, such as 2.13.0+cpu; empty if it finds none."""
    command = [*PIP, "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed", "--report", "-", requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RESOLVE_SECONDS, check=True)
        return str(json.loads(done.stdout)["install"][0]["metadata"]["version"])
    except (OSError, subprocess.SubprocessError, ValueError, LookupError):
        return ""


def find_uv() -> str | None:
    """uv, installed from pip's indexes where it is not there; None if it is not to be had."""
    beside = Path(sys.executable).with_name("uv")
    if not beside.exists() and shutil.which("uv") is None:
        succeeds([*PIP, "install", "--quiet", "uv"])
    return str(beside) if beside.exists() else shutil.which("uv")


def uv_command(requirement: str, backend: str) -> list[str] | None:
    """uv's command for a build of torch, if uv is there and finds that build."""
    uv = find_uv()
    if uv is None:
        return None
    command = [uv, "pip", "install", "--python", sys.executable, "--torch-backend", backend, "-c", str(CONSTRAINTS)]
    return [*command, requirement] if succeeds([*command, "--dry-run", requirement]) else None


def choose(wanted: str, requirement: str) -> tuple[list[str], str]:
    """The command that installs torch, and what it brings, for a person to read. Raises: LookupError."""
    driver, pip_has_cpu = has_driver(), version_of_pip(requirement).endswith("+cpu")
    own = [*PIP, "install", "--quiet", "-c", str(CONSTRAINTS), requirement]
    if wanted == "cpu" or (wanted == "auto" and not driver):
        if pip_has_cpu:
            return own, f"for the CPU, {CPU_SIZE}"
        if command := uv_command(requirement, "cpu"):
            return command, f"for the CPU, {CPU_SIZE}"
        return own, f"as the package index has it, for CUDA on Linux, {CUDA_SIZE}: no build for the CPU was found"
    if driver and (command := uv_command(requirement, "auto")):
        return command, f"for CUDA, as the driver has it, {CUDA_SIZE}"
    if not pip_has_cpu:
        return own, f"as the package index has it, for CUDA, {CUDA_SIZE}"
    if wanted == "cuda":
        raise LookupError("the package indexes have a build for the CPU only; configure another, or use TORCH=cpu")
    return own, f"for the CPU, {CPU_SIZE}: no build for CUDA that fits the driver was found"


def is_installed(requirement: str) -> bool:
    """Whether torch of that version is there, of any build."""
    try:
        return f"torch=={version('torch').partition('+')[0]}" == requirement
    except PackageNotFoundError:
        return False


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else "auto"
    if wanted not in ("auto", "cpu", "cuda"):
        sys.exit(f"TORCH={wanted}: choose auto, cpu or cuda")
    found = re.search(r"^torch==\S+", CONSTRAINTS.read_text(), re.M)
    assert found, "constraints.txt pins torch"
    if is_installed(found[0]):
        return
    try:
        command, what = choose(wanted, found[0])
    except LookupError as error:
        sys.exit(f"TORCH={wanted}: {error}")
    print(f"{found[0]} {what} (TORCH=cpu or TORCH=cuda to choose)", flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"torch could not be installed: {reason(done.stdout + done.stderr)}; mend that and run it again")


if __name__ == "__main__":
    main()
