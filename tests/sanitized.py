"""The tests of the native ops on a build with sanitizers: sanitized.py BUILD_FOLDER LIBRARY [PYTEST ARGUMENTS].

The editable install would win over any path, so this starts Python without it, on a folder that holds the Python files
and the module of that build alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ("tests/test_ops.py", "tests/test_ops_fuzz.py", "tests/test_kernels.py", "tests/test_field.py")
START = "import sys; sys.path[:1] = sys.argv.pop(1).split(':'); import pytest; sys.exit(pytest.main(sys.argv[1:]))"


def library(name: str) -> str:
    """Path of a runtime library of the compiler."""
    return subprocess.run(
        ["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True
    ).stdout.strip()


def main() -> int:
    build, sanitizer, *arguments = sys.argv[1:]
    site = Path(build) / "site"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(ROOT / "cuda_ext", site / "cuda_ext", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for module in Path(build).glob("_native*.so"):
        shutil.copy(module, site / "cuda_ext")
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(library(name) for name in (sanitizer, "libstdc++.so")),
        "ASAN_OPTIONS": "detect_leaks=0",
        "TSAN_OPTIONS": "ignore_noninstrumented_modules=1 report_bugs=1 halt_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "1",
    }
    paths = ":".join([str(site.resolve()), sysconfig.get_paths()["purelib"]])
    # Without randomized addresses, which the thread sanitizer cannot always place its shadow among.
    command = ["setarch", "-R", sys.executable, "-S", "-c", START, paths, *TESTS, "-x"]
    command += [
        "-k",
        "not (emulated or cuda or instruction or build or very_large)",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    return subprocess.run(command, env=environment, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
