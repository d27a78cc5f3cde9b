"""Make .venv and install the package into it: `python install.py [--dev] [auto|cpu|cuda]`; `make` calls it.

Each step is skipped where its result is there, so that a run that was stopped goes on. What is missing is said in one
line. All that pip, uv and the compiler print goes into build/install.log.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent
VENV, LOG = ROOT / ".venv", ROOT / "build" / "install.log"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
SUPPORTED = ((3, 11), (3, 13))
NEEDED_GB = {False: 2.5, True: 4.5}  # unpacked packages with torch for the CPU, and what is unpacked on the way; dev
DRIVER = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
SIGNS = ("no space left", "proxy", "timed out", "temporary failure", "could not find", "no matching", "error:")
"""What the line that says why an installer failed contains, the most telling first."""


class InstallError(Exception):
    """What is missing, in a line."""


def check_machine(dev: bool) -> None:
    """Raises InstallError where the package cannot be installed."""
    if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
        raise InstallError(f"Python {platform.python_version()} is not supported; name one: make PYTHON=python3.12")
    if sys.platform not in ("linux", "darwin"):
        raise InstallError(f"{platform.system()} is not supported; Linux and, untested, macOS are")
    compiler = os.environ.get("CXX", "c++").split()[0]
    if not any(shutil.which(name) for name in (compiler, "g++", "clang++")):
        raise InstallError(
            "no C++ compiler; install one: apt install g++, dnf install gcc-c++ or xcode-select --install"
        )
    free = shutil.disk_usage(ROOT).free / 1e9
    if not PYTHON.exists() and free < NEEDED_GB[dev]:
        raise InstallError(f"{free:.1f} GB are free at {ROOT}, {NEEDED_GB[dev]} are needed")


def has_pip(python: Path) -> bool:
    """Whether an environment is whole, and of a supported Python."""
    code = f"import sys, pip; sys.exit(not {SUPPORTED[0]} <= sys.version_info[:2] <= {SUPPORTED[1]})"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def make_environment() -> None:
    """Make .venv, or make it anew where making it was interrupted. Raises: InstallError."""
    if has_pip(PYTHON):
        return
    if VENV.exists():
        print(f"{VENV} is not whole and is made anew", flush=True)
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
    if done.returncode or not has_pip(PYTHON):
        raise InstallError("Python cannot make environments here; on Debian and Ubuntu: apt install python3-venv")


def architectures() -> str:
    """GPU generations to compile for: this machine's; one that is only compiled where there is no GPU."""
    try:
        found = subprocess.run(DRIVER, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        found = ""
    numbers = {line.replace(".", "") for line in found.split() if line.replace(".", "").isdigit()}
    return ";".join(sorted(numbers)) or "90"


def package_command(dev: bool) -> list[str]:
    """The command that installs the package: uv's where it is there. dev: with all that tests need."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(PYTHON.parent))
    start = [uv, "pip", "install", "--python", str(PYTHON)] if uv else [str(PYTHON), "-m", "pip", "install"]
    settings = [f"cmake.define.AVATAR_CUDA_ARCHITECTURES={architectures()}"]
    settings += [f"cmake.define.AVATAR_EMULATION={'ON' if dev else 'OFF'}"]  # of the GPU kernels, which tests compare
    options = [part for setting in settings for part in ("--config-settings", setting)]  # pip before 23.1 has no -C
    return [*start, "-c", str(ROOT / "constraints.txt"), *options, "-e", f"{ROOT}[{'dev' if dev else 'trust'}]"]


def reason(log: str) -> str:
    """The line of an installer's output that says best why it failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for sign in SIGNS:
        for line in reversed(lines):
            if sign in line.lower():
                return line
    return lines[-1] if lines else "no output"


def run_logged(command: list[str], what: str) -> None:
    """Run a command with its output in the log. Raises: InstallError, with the line that says why it failed."""
    print(f"{what} (log: {LOG.relative_to(ROOT)})", flush=True)
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w") as log:
        failed = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    if failed:
        raise InstallError(f"{what} failed: {reason(LOG.read_text(errors='replace'))}; mend that and run it again")


def main() -> None:
    dev, words = "--dev" in sys.argv, [word for word in sys.argv[1:] if word != "--dev"]
    try:
        check_machine(dev)
        make_environment()
        if subprocess.run([PYTHON, ROOT / "install_torch.py", *words]).returncode:
            sys.exit(1)  # why is said
        run_logged(package_command(dev), "Installing with all that tests need" if dev else "Installing")
    except InstallError as error:
        sys.exit(f"install: {error}")
    except KeyboardInterrupt:
        sys.exit("install: stopped; run it again to go on")


if __name__ == "__main__":
    main()
