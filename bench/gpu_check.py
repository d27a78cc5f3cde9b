"""Build, test and measure on this machine's GPU: make gpu-check, or python -m bench.gpu_check.

    make gpu-check [STAGES="build tests fields"] [TAKE=DIR] [AVATAR=FILE] [VIDEO=FILE] [LOGS=DIR]

Needs torch for CUDA, nvcc, pytest and what builds the native ops (scikit-build-core, nanobind). Stages that need more
say so, and fail alone. What is not given of a film, a Take and an avatar is made of the synthetic actor, where the
packages for that are installed. Writes LOGS (build/gpu-check), and the figures of each stage that ran, with its date
and commit, to bench/results/<gpu>.json. Exit status 1 if a stage failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.stages import Result, Stage, plain_figures, run_stages, write

LIMIT = 360.0  # seconds for everything
PYTHON = sys.executable
KERNEL_TESTS = ("tests/test_kernels.py", "tests/test_field.py")
GSPLAT_TEST, NERFACC_TEST = "tests/test_gpu_path.py", "tests/test_nerf_gpu.py"
ON_DEVICES = re.compile(r"^from (tests\.)?conftest import .*\bDevice\b|FAIL_WITHOUT_CUDA", re.M)
"""What stands in every file of tests that run on a GPU, too."""
SMALL = "cuda and not graph and not many"  # without captured graphs, which need torch's allocator, and large scenes
OURS = f"{SMALL} and not mlp"
"""Without the networks, which on a GPU are cuBLAS's products: these read, and drop, what nobody wrote. A filter by the
kernel's name would not do: what the other kernels write would count as never written."""
INPUTS = {"video": "actor.mp4", "take": "it.take", "avatar": "it.avatar"}  # as bench.gpu_inputs names them
SHARED = "cuda and (splat_and_its or a_batch_is or photo_error_and or hash_grid or composite or march)"
"""Of the kernels that use shared memory, where races are looked for: many times as slow as the others."""
# Each tensor its own allocation, so that what lies beside it is not another's, nor initialized by one before it.
PLAIN_MEMORY = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
NERFS = (
    "backend=native upscale=2 levels=16 finest=2048",
    "backend=native levels=16 log2_entries=18 finest=512 torso_log2_entries=16 torso_finest=512",
)
"""Settings of the NeRFs that are trained: rays at half the picture's size, and at all of it (recipes/nerf_512.yaml)."""
BUILT = ("build",)
FAIL = {"FAIL_WITHOUT_CUDA": "1"}
WORKERS = 6  # that share the tests: each has a CUDA context and its share of the cores, beside the sanitizers
STUCK_SECONDS = 30  # after which a test's stack is printed, so that the log says where it was when it was stopped


@dataclass(frozen=True)
class Card:
    """What the stages run on."""

    device: str  # cuda; cpu to try the check itself
    name: str
    driver: str
    architecture: str  # as CMake has it, such as 90


@dataclass(frozen=True)
class Inputs:
    """What is measured with: a film, a Take and an avatar, by name."""

    given: dict[str, str]  # paths
    made: dict[str, str]  # paths of those that the stage `inputs` makes

    def place(self, name: str) -> str:
        """Where it is, or will be; empty for a film that a given Take makes superfluous."""
        return self.given.get(name) or self.made.get(name, "")


def find_card(device: str) -> Card:
    """The first GPU. Raises: SystemExit where torch finds none."""
    if device == "cpu":
        return Card("cpu", "cpu", "", "90")
    if not torch.cuda.is_available():
        sys.exit(f"gpu-check: torch {torch.__version__} finds no NVIDIA GPU")
    major, minor = torch.cuda.get_device_capability()
    driver = first_line("nvidia-smi", "--id=0", "--query-gpu=driver_version", "--format=csv,noheader")
    return Card(device, torch.cuda.get_device_name(), driver, f"{major}{minor}")


def first_line(*command: str) -> str:
    """The first line that a command prints; empty if it fails or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        return ""


def find_inputs(options: argparse.Namespace) -> Inputs:
    folder = options.logs / "inputs"
    given = {name: str(place) for name in INPUTS if (place := getattr(options, name))}
    made = {name: str(folder / file) for name, file in INPUTS.items() if name not in given}
    if "take" in given:
        made.pop("video", None)
    return Inputs(given, made)


def without(package: str) -> str:
    """Why a stage that needs a package cannot run; empty if it is there."""
    return "" if importlib.util.find_spec(package) else f"{package} is not installed"


def gpu_tests() -> list[str]:
    """The files with tests that run on a GPU."""
    return [str(path) for path in sorted(Path("tests").glob("test_*.py")) if ON_DEVICES.search(path.read_text())]


def pytest_command(card: Card, files: Sequence[str], keyword: str, *more: str) -> tuple[str, ...]:
    keyword = re.sub(r"\bcuda\b", card.device, keyword)
    return (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", keyword, *more)


def in_parallel(card: Card, files: Sequence[str], keyword: str) -> tuple[str, ...]:
    """Tests on several processes, where pytest-xdist is installed; each has a line in the log when it ends."""
    more = ["-vvv", "--continue-on-collection-errors", "-o", f"faulthandler_timeout={STUCK_SECONDS}"]
    more += ["-n", str(WORKERS)] if importlib.util.find_spec("xdist") else ["--durations=5"]
    return pytest_command(card, files, keyword, *more)


def build_stages(card: Card) -> list[Stage]:
    """The native ops for this GPU, gsplat's and nerfacc's, compiled when they are first used, a wheel with kernels."""
    pip = (PYTHON, "-m", "pip")
    options = ("--no-deps", "--no-build-isolation", "-C", "cmake.define.AVATAR_CUDA=ON")
    options += ("-C", f"cmake.define.AVATAR_CUDA_ARCHITECTURES={card.architecture}")

    def compile_now(package: str) -> Stage:
        code = f"from {package}.cuda._backend import _C; assert _C is not None"
        jobs = {"MAX_JOBS": str(os.cpu_count())}
        return Stage(f"{package}-build", ((PYTHON, "-c", code),), 200, missing=without(package), environment=jobs)

    target = (
        "install",
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--target",
        "{folder}/site",
        "--find-links",
        "{folder}",
    )
    check = (PYTHON, "-I", "bench/wheel_check.py", "{folder}/site")
    hidden = ("env", "CUDA_VISIBLE_DEVICES=", *check, "cpu")  # as on a machine without a GPU
    return [
        Stage("build", ((*pip, "install", *options, "-e", "."),), 150),
        compile_now("gsplat"),
        compile_now("nerfacc"),
        Stage(
            "wheel",
            (
                (*pip, "wheel", ".", *options, "-C", "build-dir=build/gpu-wheel", "-w", "{folder}"),
                (*pip, *target, "avatar-builder"),
                *((hidden,) if card.device == "cuda" else ()),
                (*check, card.device),
            ),
            150,
        ),
    ]


def test_stages(card: Card) -> list[Stage]:
    """Ops against their references, and the sanitizers on the small ones of them."""
    sanitizer = shutil.which("compute-sanitizer")
    missing = "" if sanitizer and card.device == "cuda" else "compute-sanitizer is not on the PATH"

    def sanitize(tool: str, keyword: str) -> Stage:
        command = (sanitizer or "", "--tool", tool, "--error-exitcode", "9")
        tests = pytest_command(card, KERNEL_TESTS, keyword, "-x")
        return Stage(tool, ((*command, *tests),), 100, BUILT, missing=missing, environment=PLAIN_MEMORY | FAIL)

    def compare(package: str, file: str, keyword: str) -> Stage:
        after, command = (*BUILT, f"{package}-build"), pytest_command(card, [file], keyword)
        return Stage(package, (command,), 60, after, missing=without(package), environment=FAIL)

    others = in_parallel(card, gpu_tests(), "cuda and not gsplat and not nerfacc")
    return [
        Stage("tests", (others,), 120, BUILT, environment=FAIL),
        compare("gsplat", GSPLAT_TEST, "gsplat"),
        compare("nerfacc", NERFACC_TEST, "nerfacc and cuda"),
        sanitize("memcheck", SMALL),
        sanitize("initcheck", OURS),
        sanitize("racecheck", SHARED),
    ]


def timed_stages(card: Card, inputs: Inputs) -> list[Stage]:
    """What is measured, one after the other."""

    def bench(name: str, limit: float, module: str, *arguments: str, needs: Collection[str] = ()) -> Stage:
        command = (PYTHON, "-m", f"bench.{module}", *arguments, "--device", card.device, "--output", "{output}")
        return Stage(
            name, (command,), limit, after=(*BUILT, "inputs") if inputs.made.keys() & needs else BUILT, timed=True
        )

    video, take, avatar = (inputs.place(name) for name in INPUTS)
    stages = [
        bench("training", 60, "bench_training", "--take", take, needs={"take"}),
        bench("drawing", 90, "bench_drawing", "--avatar", avatar, needs={"avatar"}),
        bench("fields", 60, "bench_field"),
        bench("ops", 60, "bench_ops", "--repeats", "15"),
        bench("nerf", 90, "bench_nerf", "train", take, "--seconds", "20", "--settings", *NERFS, needs={"take"}),
    ]
    return stages + ([bench("video", 120, "bench_build", video, needs={"video"})] if video else [])


def all_stages(card: Card, inputs: Inputs) -> list[Stage]:
    """Every stage, in order."""
    stages = build_stages(card) + test_stages(card)
    if inputs.made:
        given = [part for name, place in inputs.given.items() for part in (f"--{name}", place)]
        command = (PYTHON, "-m", "bench.gpu_inputs", "{folder}", *given, "--device", card.device)
        stages.append(Stage("inputs", (command,), 150, BUILT))
    # One setting for all: gsplat and nerfacc would compile again for another one than they were compiled with.
    generation = {"TORCH_CUDA_ARCH_LIST": f"{card.architecture[:-1]}.{card.architecture[-1]}"}
    return [replace(stage, environment=generation | dict(stage.environment)) for stage in stages] + [
        replace(stage, environment=generation) for stage in timed_stages(card, inputs)
    ]


def machine(card: Card) -> dict[str, str]:
    """What the figures were measured on."""
    about = {"gpu": card.name, "driver": card.driver, "torch": torch.__version__, "cuda": torch.version.cuda or ""}
    return about | {"python": platform.python_version(), "processor": platform.machine()}


def merge(known: Mapping[str, Any], about: Mapping[str, str], results: Sequence[Result], commit: str) -> dict[str, Any]:
    """The content of the file of figures: stages that ran over those of earlier runs on the same machine."""
    stages = dict(known.get("stages", {})) if known.get("machine") == about else {}
    date = time.strftime("%Y-%m-%d", time.gmtime())
    for result in results:
        if result.state == "skipped":
            continue
        row: dict[str, Any] = {
            "state": result.state,
            "seconds": round(result.seconds, 1),
            "date": date,
            "commit": commit,
        }
        row |= {"reason": result.reason} if result.reason else {}
        row |= {"peak_mib": result.peak_mib} if result.peak_mib is not None else {}
        stages[result.name] = row | ({"figures": dict(result.figures)} if result.figures else {})
    return {"machine": dict(about), "stages": stages}


def show(results: Sequence[Result]) -> None:
    """One table: the stages, then every figure."""
    write(f"\n{'stage':<13} {'state':<8} {'s':>6} {'GPU MiB':>8}")
    for result in results:
        peak = "" if result.peak_mib is None else str(result.peak_mib)
        write(f"{result.name:<13} {result.state:<8} {result.seconds:6.1f} {peak:>8}  {result.reason}")
    for result in results:
        for name, value in plain_figures(result.figures):
            write(f"{result.name:<13} {name:<70} {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="*", default=[], help="default: all")
    for name in ("video", "take", "avatar"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--logs", type=Path, default=Path("build/gpu-check"))
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for everything")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="cpu: to try the check itself")
    parser.add_argument("--commit", default=first_line("git", "rev-parse", "HEAD"))
    options = parser.parse_args()
    card = find_card(options.device)
    stages = all_stages(card, find_inputs(options))
    if unknown := set(options.stages) - {stage.name for stage in stages}:
        parser.error(f"no stage {', '.join(sorted(unknown))}; there are {', '.join(stage.name for stage in stages)}")
    write(f"{card.name}, driver {card.driver}, torch {torch.__version__}; logs: {options.logs}")
    start, results = time.monotonic(), []
    chosen = [stage for stage in stages if not options.stages or stage.name in options.stages]
    for result in run_stages(chosen, options.logs, options.limit):
        results.append(result)
        write(f"[{time.monotonic() - start:4.0f} s] {result.name} {result.state} {result.reason}")
    show(results)
    name = re.sub(r"[^a-z0-9]+", "-", card.name.lower()).strip("-")
    output = (Path("bench/results") if card.device == "cuda" else options.logs) / f"{name}.json"
    known = json.loads(output.read_text()) if output.exists() else {}
    output.write_text(json.dumps(merge(known, machine(card), results, options.commit), indent=1) + "\n")
    write(f"{output}")
    sys.exit(any(result.state == "failed" for result in results))


if __name__ == "__main__":
    main()
