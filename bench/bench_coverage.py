"""Whether backgrounds shine through: how opaque people are inside, and how right the actor's edge is.

    python -m bench.bench_coverage people TAKE... [--steps 660 1320 6600]
    python -m bench.bench_coverage actor [--steps 1320] [--seconds 10]

Both build by the commands that a user would run, last tenth held out, seed 0. Steps instead of time, since machines
differ: at 512 px an idle one with two cores takes about 22 a second, so that 660, 1320 and 6600 are half a minute, one
and five.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from avatar.core.avatar_file import load_avatar
from avatar.core.take import open_take, read_track
from avatar.metrics import edge_psnr, premultiply
from avatar.play.player import Player
from bench.quality import REGIONS, run
from preprocess.actor import cut_out_actor, film_actor

HOLDOUT = 0.1
FRAMES = 20  # of the actor, compared with the truth
SEED = 11  # of the actor


def build(take: Path, folder: Path, steps: int) -> tuple[Path, dict[str, float]]:
    """An avatar of a Take after so many steps, and its figures inside the person and about it."""
    avatar, scores = folder / f"{take.stem}.avatar", folder / "scores.json"
    run("build", take, "-o", avatar, "--steps", steps, "--holdout", HOLDOUT)
    run("evaluate", avatar, take, "--json", scores)
    rows = json.loads(scores.read_text())["scores"]
    return avatar, {f"{row['region']} {row['metric']}": row["value"] for row in rows if row["mode"].startswith("own")}


def compare_edge(avatar: Path, take: Path, seconds: float) -> float:
    """PSNR in dB of the actor's edge on held-out frames over new backgrounds, against the truth."""
    source, size = open_take(take), open_take(take).camera.size
    if source.crop != (0.0, 0.0, float(size)):
        raise ValueError(f"{take}: the film was cropped; the truth is of the whole picture")
    held_out = range(round((1 - HOLDOUT) * source.length), source.length)
    frames = list(held_out[:: max(1, len(held_out) // FRAMES)])
    motion = read_track(source).motion()[torch.tensor(frames)]
    drawn = Player(load_avatar(avatar), mark="none").reenact(motion, pixels="rgba")
    truth = cut_out_actor(frames, seconds=seconds, seed=SEED, size=size)
    true = (torch.from_numpy(picture).float() for picture in truth)
    found = [edge_psnr(*pair) for pair in zip(map(premultiply, map(torch.from_numpy, drawn)), true, strict=True)]
    return float(np.mean([value for value in found if value is not None]))


def measure_people(takes: list[Path], steps: list[int]) -> None:
    """Print figures of each person after each number of steps."""
    with tempfile.TemporaryDirectory() as name:
        for take in takes:
            for count in steps:
                _, found = build(take, Path(name), count)
                inside = f"opaque {found['inside opaque']:.4f}, coverage {found['inside coverage']:.4f}"
                decibels = ", ".join(f"{part} {found[f'{part} psnr']:.1f}" for part in REGIONS)
                print(f"{take.stem}, {count} steps: {inside}; {decibels} dB", flush=True)


def measure_actor(steps: list[int], seconds: float) -> None:
    """Print the error of the actor's edge after each number of steps."""
    with tempfile.TemporaryDirectory() as name:
        folder, take = Path(name), Path(name) / "actor.take"
        film_actor(folder / "actor.mp4", seconds=seconds, seed=SEED)
        run("preprocess", folder / "actor.mp4", "-o", take, "--size", 512, "--holdout", HOLDOUT)
        for count in steps:
            avatar, found = build(take, folder, count)
            edge = compare_edge(avatar, take, seconds)
            print(f"actor, {count} steps: edge {edge:.1f} dB, opaque {found['inside opaque']:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    people, actor = kinds.add_parser("people"), kinds.add_parser("actor")
    people.add_argument("takes", nargs="+", type=Path)
    people.add_argument("--steps", nargs="+", type=int, default=[660, 1320, 6600])
    actor.add_argument("--steps", nargs="+", type=int, default=[1320])
    actor.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    if options.kind == "people":
        measure_people(options.takes, options.steps)
    else:
        measure_actor(options.steps, options.seconds)


if __name__ == "__main__":
    main()
