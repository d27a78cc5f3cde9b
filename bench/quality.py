"""Nothing gets worse unseen: `make quality` builds two people anew and compares with bench/quality.json.

    python -m bench.quality [--write] [--clips DIR]

Two clips, fixed steps and seed, last tenth held out: dB by region, lips driven by sound, frames a second, memory. Each
figure stands beside the committed one; a fall of .2 dB, .02 of a correlation or 5 % of a speed is marked. Speeds are
compared relative to a matrix product timed in the same run, since machines differ. --write commits the new figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from avatar.core.avatar_file import load_avatar
from avatar.core.take import open_take, read_track
from avatar.play.player import Player

CLIPS = ("de_anchor_20s.mp4", "fr_speaker_50s.mp4")
STEPS = 900
TABLE = Path(__file__).parent / "quality.json"
FALLS = {"dB": 0.2, "": 0.02, "x": 0.05, "GiB": 0.05}  # by unit; shares for x and GiB
REGIONS = ("whole", "face", "mouth", "torso")
CURVES = ("opening", "height", "width")
FRAMES = 250


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    name: str
    value: float
    unit: str
    better: int = 1  # -1: lower is better


def run(*arguments: object) -> float:
    """Seconds that a command of the package takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "avatar.cli", *map(str, arguments)], check=True, capture_output=True)
    return time.perf_counter() - start


def measure_clip(clip: Path, folder: Path) -> list[Figure]:
    """Build an avatar of a clip by the commands that a user would run, and evaluate it."""
    take, avatar, scores = (folder / f"{clip.stem}.{ending}" for ending in ("take", "avatar", "json"))
    run("preprocess", clip, "-o", take, "--holdout", 0.1)
    run("build", take, "-o", avatar, "--steps", STEPS, "--holdout", 0.1)
    run("evaluate", avatar, take, "--json", scores)
    rows = json.loads(scores.read_text())["scores"]
    found = {(row["mode"], row["region"], row["metric"]): row["value"] for row in rows}
    own = next(mode for mode, *_ in found if mode.startswith("own torso"))
    name = clip.stem.rpartition("_")[0]
    figures = [Figure(f"{name} {region}", found[own, region, "psnr"], "dB") for region in REGIONS]
    for curve in CURVES:
        key = ("audio only", "lips", f"{curve} correlation, best lag")
        figures += [Figure(f"{name} lip {curve}", found[key], "")] if key in found else []
    return figures


def matrix_products_a_second() -> float:
    """A measure of the machine: products of 512 x 512 matrices on one thread, the best of twenty runs."""
    matrix = torch.rand(512, 512, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(1)
    spent = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(10):
            matrix @ matrix
        spent.append((time.perf_counter() - start) / 10)
    return 1 / min(spent)


def measure_speed(avatar: Path, take: Path) -> list[Figure]:
    """Frames a second of re-enactment and of live speech, relative to matrix products a second."""
    player, motion = Player(load_avatar(avatar)), read_track(open_take(take)).motion()[:FRAMES]
    machine = matrix_products_a_second()
    spent = []
    for _ in range(4):
        start = time.perf_counter()
        count = sum(1 for _ in player.reenact(motion, pixels="nv12"))
        spent.append((time.perf_counter() - start) / count)
    session, live = player.session(), []
    pcm = 0.1 * torch.randn(100, 640, generator=torch.Generator().manual_seed(0))
    for piece in pcm:
        start = time.perf_counter()
        if session.push(piece):
            live.append(time.perf_counter() - start)
    rate, push = 1 / min(spent), sorted(live)[len(live) // 2]
    print(f"{rate:.0f} frames/s, {1000 * push:.1f} ms a live frame, {machine:.0f} matrix products/s")
    return [
        Figure("motion to NV12, frames for 1000 products", 1000 * rate / machine, "x"),
        Figure("live frames for 1000 products", 1000 / push / machine, "x"),
    ]


def measure(clips: Path) -> list[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = [figure for clip in CLIPS for figure in measure_clip(clips / clip, folder)]
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        stem = Path(CLIPS[0]).stem
        figures += measure_speed(folder / f"{stem}.avatar", folder / f"{stem}.take")
    return [*figures, Figure("peak memory", memory, "GiB", better=-1)]


def has_fallen(figure: Figure, before: float) -> bool:
    """Whether a figure is worse than before by more than it may."""
    lost = figure.better * (before - figure.value)
    return lost > FALLS[figure.unit] * (abs(before) if figure.unit in ("x", "GiB") else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("../shared/clips"))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    before = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    figures, fallen = measure(options.clips), 0
    for figure in figures:
        known = before.get(figure.name)
        mark = "FELL" if known is not None and has_fallen(figure, known) else ""
        fallen += bool(mark)
        was = "" if known is None else f"{known:9.3f}"
        print(f"{figure.name:<42} {figure.value:9.3f} {figure.unit:<4} was {was:<10} {mark}")
    if options.write:
        TABLE.write_text(json.dumps({figure.name: round(figure.value, 4) for figure in figures}, indent=1) + "\n")
    elif fallen:
        sys.exit(f"{fallen} figures fell")


if __name__ == "__main__":
    main()
