"""Training of a Gaussian avatar: milliseconds a step, dB of held-out frames, seconds from a Take to an avatar.

    python -m bench.bench_training --take TAKE [--device cuda] [--steps 4000] [--size 512] [--output FILE] [--kernels]

The last tenth of the Take is held out. --kernels: also where a step's time on a GPU goes, kernel by kernel.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from avatar.core.motion_space import load_space
from avatar.core.recipe import Recipe
from avatar.core.take import Take, open_take, read_track, with_holdout, with_size
from avatar.pipelines.build import build
from avatar.render.gaussian import GaussianSettings
from avatar.render.gaussian.trainable import TrainableGaussian, begin
from avatar.render.schedule import Schedule
from avatar.render.train import train
from bench.bench_nerf import score
from bench.bench_ops import machine

WARM_UP = 200  # steps that are not timed: the capture is among them
PROFILED, SHOWN = 100, 40  # steps; kernels in the table


def start(take: Take, device: torch.device, splats: int) -> TrainableGaussian:
    """A trainable at its beginning, on a device."""
    trainable = begin(take, read_track(take), load_space(), GaussianSettings(splats=splats), 0)
    trainable.to(device)
    return trainable


def measure_training(take: Take, device: torch.device, steps: int, splats: int) -> dict:
    """Time and quality of a training."""
    begun, ends = time.perf_counter(), list[float]()
    trainable = start(take, device, splats)
    prepared = time.perf_counter()
    losses = train(
        trainable, take, read_track(take), Schedule(steps=steps), seed=0,
        progress=lambda share, loss: ends.append(time.perf_counter()),
    )  # fmt: skip
    finished = time.perf_counter()
    skipped = min(WARM_UP, steps // 2)
    found = {
        "splats": splats,
        "size": take.camera.size,
        "steps": len(losses),
        "ms a step": round(1e3 * (ends[-1] - ends[skipped]) / (len(ends) - 1 - skipped), 4),
        "longest pause ms": round(1e3 * max(after - before for before, after in pairwise(ends[skipped:])), 1),
        "seconds before": round(prepared - begun, 2),
        "seconds to the first losses": round(ends[0] - prepared, 2),
        "seconds in all": round(finished - begun, 2),
        "loss": round(sum(losses[-200:]) / len(losses[-200:]), 5),
        "psnr": score(trainable.renderer(), take),
    }
    if device.type == "cuda":
        found["GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return found


def profile_kernels(take: Take, device: torch.device, splats: int) -> list[dict]:
    """Microseconds and launches of each kernel a step, most time first."""
    trainable, track = start(take, device, splats), read_track(take)
    train(trainable, take, track, Schedule(steps=WARM_UP, part=(0.0, 0.5)), seed=0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        train(trainable, take, track, Schedule(steps=PROFILED, part=(0.5, 0.6)), seed=0)
    spent, launches = collections.Counter[str](), collections.Counter[str]()
    for event in profiler.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            spent[event.name] += event.device_time / PROFILED
            launches[event.name] += 1
    total = {"kernel": "all", "us": round(sum(spent.values()), 1), "launches": sum(launches.values()) / PROFILED}
    rows = [
        {"kernel": name[:90], "us": round(us, 2), "launches": launches[name] / PROFILED}
        for name, us in spent.most_common(SHOWN)
    ]
    return [total, *rows]


def measure_build(take: Path, device: str, steps: int) -> dict[str, float]:
    """Seconds from a Take to an avatar file, by what a user calls."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        build(take, Path(folder) / "a.avatar", recipe=Recipe(steps=steps, holdout=0.1), device=device)
        return {"steps": steps, "seconds": round(time.perf_counter() - begun, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--splats", type=int, default=GaussianSettings().splats)
    parser.add_argument("--size", type=int, help="px (default: the Take's)")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--kernels", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device, take = torch.device(options.device), with_holdout(open_take(options.take), 0.1)
    take = with_size(take, options.size or take.camera.size)
    content = {"machine": machine(device), "training": measure_training(take, device, options.steps, options.splats)}
    sys.stdout.write(json.dumps(content["training"]) + "\n")
    content["take to avatar"] = measure_build(options.take, options.device, options.steps)
    sys.stdout.write(json.dumps(content["take to avatar"]) + "\n")
    if options.kernels:
        content["kernels"] = profile_kernels(take, device, options.splats)
        for row in content["kernels"]:
            sys.stdout.write(f"{row['us']:9.2f} us {row['launches']:6.1f}x  {row['kernel']}\n")
    if options.output:
        options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
