"""Figures of the NeRF avatar, as JSON in bench/results.

    python -m bench.bench_nerf speed NAME.avatar TAKE [--device cuda]     frames a second
    python -m bench.bench_nerf torso TAKE [--steps 1000] [--size 128] [--seeds 3] [--pictures DIR]
                                                                          head-aware torso against not, same steps
    python -m bench.bench_nerf adapt TAKE --generic FILE [--steps 300]    begun with a generic field or not, 10 s
    python -m bench.bench_nerf train TAKE --device cuda --seconds 40 --settings "upscale=2 levels=16" "upscale=1"
        [--output FILE.json] [--profile FILE.txt]     trainings at the Take's size, one for each of the settings, beside
                                                      each other: ms a step, dB by region, frames a second, memory;
                                                      needs seconds and 15 more for each; runs on a CPU, too

The seam is what lies within a fiftieth of the picture of head and neck or torso both. --pictures: the neck of the frame
in which the two torsos of the first seed differ most, truth | aware | not | error of each, four times as bright.
The last tenth of the Take is held out; PSNR is of its own torso, torso track given, mean over frames, every second one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image

from avatar.core.avatar_file import load_avatar
from avatar.core.landmarks import CHIN
from avatar.core.motion_space import load_space
from avatar.core.take import (
    Take,
    Track,
    open_take,
    read_frames,
    read_mattes,
    read_plate,
    read_track,
    with_holdout,
    with_size,
)
from avatar.metrics import psnr, region_masks
from avatar.play.composite import over
from avatar.render import open_renderer
from avatar.render.base import Renderer
from avatar.render.nerf import NerfRenderer, NerfSettings
from avatar.render.nerf.trainable import begin
from avatar.render.schedule import Schedule
from avatar.render.train import train
from bench.bench_ops import machine

TEN_SECONDS = 250  # frames
FRAMES = 40
BATCH = 32  # frames drawn by one call
PROFILED_STEPS, PROFILED_ROWS = 50, 40
NECK, SHOWN = 0.2, 256  # of the picture's side to each side of the chin; px of what is shown of it, about


def score(renderer: Renderer, take: Take) -> dict[str, float]:
    """Mean PSNR by region over every second held-out frame."""
    track, plate = read_track(take), read_plate(take).to(renderer.device)
    values: dict[str, list[float]] = {}
    for frame in list(take.test)[::2]:
        rgb, alpha = renderer.render(track.motion(), range(frame, frame + 1))
        picture, truth = over(rgb, alpha, plate)[0].cpu(), read_frames(take, [frame])[0]
        for name, mask in find_masks(take, track, frame).items():
            values.setdefault(name, []).append(psnr(picture, truth, mask))
    return {name: round(sum(some) / len(some), 2) for name, some in values.items()}


def find_masks(take: Take, track: Track, frame: int) -> dict[str, torch.Tensor | None]:
    """Masks [S, S] of regions; those of the body only where the preprocessing is installed, which finds them."""
    masks = region_masks(track.landmarks[frame], take.camera.size)
    if importlib.util.find_spec("cv2") is None:
        return masks
    from avatar.pipelines.evaluate import body_masks
    from preprocess.regions import find_regions

    labels = find_regions(track.landmarks[frame].numpy(), read_mattes(take, [frame])[0].numpy())
    return masks | body_masks(labels, masks["face"])


def fit_and_score(take: Take, schedule: Schedule, **settings: Any) -> dict:
    """Train and score a NeRF."""
    start = time.perf_counter()
    renderer, count = fit(take, schedule, 0, **settings)
    spent = time.perf_counter() - start
    return {"settings": settings, "steps": count, "seconds": round(spent, 1), "psnr": score(renderer, take)}


def fit(take: Take, schedule: Schedule, seed: int, **settings: Any) -> tuple[NerfRenderer, int]:
    """Train a NeRF; returns how many steps were taken, too."""
    trainable = begin(take, read_track(take), load_space(), NerfSettings(**settings), seed)
    losses = train(trainable, take, read_track(take), schedule, seed=seed)
    return trainable.renderer(), len(losses)


def measure_speed(options: argparse.Namespace) -> dict[str, float]:
    """Frames a second, motion to RGB bytes, the best of three runs."""
    avatar = load_avatar(options.avatar)
    take, device = with_size(open_take(options.take), avatar.camera.size), torch.device(options.device)
    renderer, motion, plate = open_renderer(avatar), read_track(take).motion(), avatar.plate.to(device)
    renderer.to(device)
    rates = []
    for _ in range(4):  # the first one to warm up
        start = time.perf_counter()
        for frame in range(100, 100 + FRAMES):
            over(*renderer.render(motion, range(frame, frame + 1)), plate).cpu()
        rates.append(FRAMES / (time.perf_counter() - start))
    return {"frames a second": round(max(rates[1:]), 1), "size": avatar.camera.size}


def compare_torsos(options: argparse.Namespace) -> dict:
    """PSNR by region and seed of a torso with the head as an input and of one without, and the gain."""
    take = with_size(with_holdout(open_take(options.take), 0.1), options.size)
    scores: dict[str, list[dict[str, float]]] = {"aware": [], "not": []}
    for seed in range(options.seeds):
        pair = [fit(take, Schedule(steps=options.steps), seed, head_aware=aware)[0] for aware in (True, False)]
        for name, renderer in zip(scores, pair, strict=True):
            scores[name].append(score(renderer, take))
        if options.pictures and seed == 0:
            options.pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture_necks(take, *pair)).save(options.pictures / f"{take.root.name}_neck.png")
    found = {"steps": options.steps, "size": options.size, **scores, "gain": {}}
    for region in scores["aware"][0]:
        gains = [aware[region] - other[region] for aware, other in zip(*scores.values(), strict=True)]
        found["gain"][region] = {"mean": round(sum(gains) / len(gains), 2), "seeds": [round(gain, 2) for gain in gains]}
    return found


def picture_necks(take: Take, aware: NerfRenderer, other: NerfRenderer) -> np.ndarray:
    """The neck [H, W, 3] uint8: truth, both, and their errors, in the frame in which they differ most."""
    track, plate = read_track(take), read_plate(take)
    drawn = [
        torch.cat([over(*renderer.render(track.motion(), range(f, f + 1)), plate) for f in take.test]).int()
        for renderer in (aware, other)
    ]
    chin = track.landmarks[list(take.test), CHIN, :2].mean(0)
    reach = round(NECK * take.camera.size)
    top, left = (max(0, round(float(at)) - reach) for at in (chin[1], chin[0]))
    part = slice(top, top + 2 * reach), slice(left, left + 2 * reach)
    most = int((drawn[0] - drawn[1]).abs()[:, part[0], part[1]].sum((1, 2, 3)).argmax())
    truth = read_frames(take, [take.test[most]])[0][part].int()
    shown = [picture[most][part] for picture in drawn]
    errors = [(4 * (picture - truth).abs()).clamp_max(255) for picture in shown]
    row = torch.cat([truth, *shown, *errors], 1).to(torch.uint8).numpy()
    return row.repeat(max(1, SHOWN // (2 * reach)), 0).repeat(max(1, SHOWN // (2 * reach)), 1)


def compare_beginnings(options: argparse.Namespace) -> list[dict]:
    """A NeRF begun with a generic field, and one begun without."""
    take = with_size(with_holdout(open_take(options.take), 0.1), options.size)
    take = replace(take, train=range(TEN_SECONDS))
    schedule = Schedule(steps=options.steps)
    return [fit_and_score(take, schedule), fit_and_score(take, schedule, generic=str(options.generic), lora_rank=4)]


def measure_trainings(options: argparse.Namespace) -> list[dict]:
    """A training for each of the settings, at the Take's size; a line of each as soon as it is over."""
    take, device = with_holdout(open_take(options.take), 0.1), torch.device(options.device)
    take = with_size(take, options.size or take.camera.size)
    found = []
    for text in options.settings:
        schedule = Schedule(options.seconds, options.steps)
        found.append(measure_training(take, device, schedule, parse_settings(text)))
        sys.stderr.write(f"{text}: {json.dumps(found[-1])}\n")
    if options.profile:
        options.profile.write_text(profile_steps(take, device, parse_settings(options.settings[0])))
    return found


def measure_training(take: Take, device: torch.device, schedule: Schedule, settings: NerfSettings) -> dict:
    """Train, draw, and score."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    trainable = begin(take, read_track(take), load_space(), settings, 0)
    trainable.to(device)
    prepared = time.perf_counter()
    losses = train(trainable, take, read_track(take), schedule, seed=0)
    spent = time.perf_counter() - prepared
    renderer, last = trainable.renderer(), losses[-len(losses) // 10 :]
    return {
        "settings": settings.model_dump(exclude_defaults=True),
        "steps": len(losses),
        "seconds": round(spent, 1),
        "seconds before": round(prepared - start, 1),
        "ms a step": round(1e3 * spent / len(losses), 3),
        "loss": round(sum(last) / len(last), 5),
        "cells": int(trainable.occupancy.sum()),
        "frames a second": round(batches_per_second(renderer, take) * BATCH, 1),
        "GiB": round(torch.cuda.max_memory_allocated() / 2**30, 2) if device.type == "cuda" else None,
        "psnr": score(renderer, take),
    }


def batches_per_second(renderer: NerfRenderer, take: Take) -> float:
    """How often BATCH frames are drawn in a second, the best of three times."""
    motion, rates = read_track(take).motion(), []
    for _ in range(4):  # the first one to warm up
        start = time.perf_counter()
        rgb, _ = renderer.render(motion, range(BATCH))
        rgb[0, 0, 0, 0].item()  # waits for a GPU
        rates.append(1 / (time.perf_counter() - start))
    return max(rates[1:])


def parse_settings(text: str) -> NerfSettings:
    """Settings of "name=value name=value", values as in JSON; text where they are none."""
    pairs = (part.split("=", 1) for part in text.split())
    return NerfSettings.model_validate({name: parse_value(value) for name, value in pairs})


def parse_value(text: str) -> object:
    """A number or a truth value, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def profile_steps(take: Take, device: torch.device, settings: NerfSettings) -> str:
    """A table of where the time of some steps goes, those before their capture among them."""
    from torch.profiler import ProfilerActivity, profile

    trainable = begin(take, read_track(take), load_space(), settings, 0)
    trainable.to(device)
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        train(trainable, take, read_track(take), Schedule(steps=PROFILED_STEPS), seed=0)
    key = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    return profiled.key_averages().table(sort_by=key, row_limit=PROFILED_ROWS, max_name_column_width=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    works = {"speed": measure_speed, "torso": compare_torsos, "adapt": compare_beginnings, "train": measure_trainings}
    for name in works:
        kind = kinds.add_parser(name)
        if name == "speed":
            kind.add_argument("avatar", type=Path)
        if name in ("speed", "train"):
            kind.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        kind.add_argument("take", type=Path)
        kind.add_argument("--output", type=Path, help="JSON file (default: of bench/results)")
        kind.add_argument("--steps", type=int, default={"adapt": 300, "train": None}.get(name, 1000))
        kind.add_argument("--size", type=int, default=None if name == "train" else 128, help="px a side")
        if name == "torso":
            kind.add_argument("--seeds", type=int, default=3)
            kind.add_argument("--pictures", type=Path, help="folder for a picture of the neck")
        if name == "train":
            kind.add_argument("--seconds", type=float, default=40.0, help="of each training, without --steps")
            kind.add_argument("--settings", nargs="+", default=["upscale=2 levels=16 finest=2048"])
            kind.add_argument("--profile", type=Path, help="text file for a table of kernels, of the first settings")
        if name == "adapt":
            kind.add_argument("--generic", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(getattr(options, "device", "cpu"))
    content = {"machine": machine(device), "take": options.take.name, "found": works[options.kind](options)}
    text = json.dumps(content, indent=1)
    default = Path(f"bench/results/nerf_{options.kind}{'_cuda' if device.type == 'cuda' else ''}.json")
    (options.output or default).write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
