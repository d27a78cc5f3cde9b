"""Figures of the NeRF avatar, as JSON in bench/results.

    python -m bench.bench_nerf speed NAME.avatar TAKE [--device cuda]     frames a second
    python -m bench.bench_nerf torso TAKE [--steps 1000] [--size 128]     head-aware torso against not, same steps
    python -m bench.bench_nerf adapt TAKE --generic FILE [--steps 300]    generic beginning against none, 10 s of video
    python -m bench.bench_nerf gpu TAKE                                   training at its size on a GPU: dB, memory

The last tenth of the Take is held out; PSNR is of its own torso, torso track given, mean over frames, every second one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from avatar.core.bundle import load_avatar
from avatar.core.motion_space import load_space
from avatar.core.take import Take, open_take, read_frames, read_mattes, read_plate, read_track, with_holdout, with_size
from avatar.metrics import psnr, region_masks
from avatar.pipelines.evaluate import body_masks
from avatar.render import open_renderer
from avatar.render.base import Renderer
from avatar.render.composite import over
from avatar.render.nerf import NerfSettings
from avatar.render.nerf.renderer import begin
from avatar.render.train import Schedule, train
from bench.bench_ops import machine
from preprocess.regions import find_regions

TEN_SECONDS = 250  # frames
FRAMES = 40
GPU_SECONDS = 900.0


def score(renderer: Renderer, take: Take) -> dict[str, float]:
    """Mean PSNR by region over every second held-out frame."""
    track, plate = read_track(take), read_plate(take).to(renderer.device)
    values: dict[str, list[float]] = {}
    with torch.inference_mode():
        for frame in list(take.test)[::2]:
            rgb, alpha = renderer.render(track.motion(), range(frame, frame + 1))
            picture, truth = over(rgb, alpha, plate)[0].cpu(), read_frames(take, [frame])[0]
            labels = find_regions(track.landmarks[frame].numpy(), read_mattes(take, [frame])[0].numpy())
            masks = region_masks(track.landmarks[frame], take.camera.size)
            masks |= body_masks(labels, masks["face"])
            for name, mask in masks.items():
                values.setdefault(name, []).append(psnr(picture, truth, mask))
    return {name: round(sum(some) / len(some), 2) for name, some in values.items()}


def learn(take: Take, steps: int | None, seconds: float = math.inf, device: str = "cpu", **settings: Any) -> dict:
    """Train and score a NeRF."""
    renderer = begin(take, read_track(take), load_space(), NerfSettings(**settings), 0)
    renderer.to(torch.device(device))
    start = time.perf_counter()
    losses = train(renderer, take, read_track(take), budget_seconds=seconds, seed=0, schedule=Schedule(steps))
    spent = time.perf_counter() - start
    return {"settings": settings, "steps": len(losses), "seconds": round(spent, 1), "psnr": score(renderer, take)}


def measure_speed(options: argparse.Namespace) -> dict[str, float]:
    """Frames a second, motion to RGB bytes, the best of three runs."""
    avatar = load_avatar(options.avatar)
    take, device = with_size(open_take(options.take), avatar.camera.size), torch.device(options.device)
    renderer, motion, plate = open_renderer(avatar), read_track(take).motion(), avatar.plate.to(device)
    renderer.to(device)
    rates = []
    with torch.inference_mode():
        for _ in range(4):  # the first one to warm up
            start = time.perf_counter()
            for frame in range(100, 100 + FRAMES):
                over(*renderer.render(motion, range(frame, frame + 1)), plate).cpu()
            rates.append(FRAMES / (time.perf_counter() - start))
    return {"frames a second": round(max(rates[1:]), 1), "size": avatar.camera.size}


def compare_torsos(options: argparse.Namespace) -> list[dict]:
    take = with_size(with_holdout(open_take(options.take), 0.1), options.size)
    return [learn(take, options.steps, head_aware=aware) for aware in (True, False)]


def compare_beginnings(options: argparse.Namespace) -> list[dict]:
    take = with_size(with_holdout(open_take(options.take), 0.1), options.size)
    take = replace(take, train=range(TEN_SECONDS))
    return [learn(take, options.steps), learn(take, options.steps, generic=str(options.generic), lora_rank=4)]


def measure_gpu(options: argparse.Namespace) -> dict:
    take = with_holdout(open_take(options.take), 0.1)
    found = learn(take, None, GPU_SECONDS, "cuda", upscale=2, levels=16, finest=2048)
    return found | {"GiB": round(torch.cuda.max_memory_allocated() / 2**30, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    works = {"speed": measure_speed, "torso": compare_torsos, "adapt": compare_beginnings, "gpu": measure_gpu}
    for name in works:
        kind = kinds.add_parser(name)
        if name == "speed":
            kind.add_argument("avatar", type=Path)
            kind.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        kind.add_argument("take", type=Path)
        kind.add_argument("--steps", type=int, default=300 if name == "adapt" else 1000)
        kind.add_argument("--size", type=int, default=128)
        if name == "adapt":
            kind.add_argument("--generic", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if options.kind == "gpu" else getattr(options, "device", "cpu"))
    content = {"machine": machine(device), "take": options.take.name, "found": works[options.kind](options)}
    text = json.dumps(content, indent=1)
    Path(f"bench/results/nerf_{options.kind}{'_cuda' if device.type == 'cuda' else ''}.json").write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
