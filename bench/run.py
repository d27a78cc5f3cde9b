"""The figures from a clip to a speaking avatar, as one table and JSON: python -m bench.run [CLIP] [--budget 5m].

Without a clip the synthetic actor is filmed. Speeds are also given as a ratio to something timed in the same run
(real time of the clip, or the plain torch reference of the op), because machines differ.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from avatar.core.media import probe, read_speech, write_wav
from avatar.core.take import open_take, read_track
from avatar.play.player import Player
from cuda_ext import ops, reference
from preprocess.actor import film_actor

COMMAND = [sys.executable, "-m", "avatar.cli"]


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    to: str = ""


def timed(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure_way(clip: Path, folder: Path, budget: str) -> list[Figure]:
    """Preprocess, build, evaluate and speak, each by the command a user would run."""
    info = probe(clip)
    take, avatar, scores = folder / "bench.take", folder / "bench.avatar", folder / "scores.json"
    frames = info.seconds * 25
    spent = timed(["preprocess", str(clip), "-o", str(take), "--holdout", "0.1"])
    figures = [Figure("preprocess", frames / spent, "frames/s", frames / spent / 25, "real time")]
    spent = timed(["build", str(take), "-o", str(avatar), "--budget", budget, "--holdout", "0.1"])
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    figures += [Figure("build", spent, "s"), Figure("peak memory of preprocess and build", memory, "GiB")]
    figures.append(Figure("avatar file", avatar.stat().st_size / 1e6, "MB"))
    timed(["evaluate", str(avatar), str(take), "--json", str(scores), "--page", str(folder / "evaluation.html")])
    for score in json.loads(scores.read_text())["scores"]:
        figures.append(Figure(f"{score['region']} {score['metric']} ({score['mode']})", score["value"], score["unit"]))
    speech = folder / "ten_seconds.wav"
    samples = torch.cat(list(read_speech(clip)))
    write_wav(speech, samples.repeat(160000 // len(samples) + 1)[:160000])
    spent = timed(["speak", str(avatar), str(speech), "-o", str(folder / "speak.mp4")])
    figures.append(Figure("speak 10 s of sound, start to end", spent, "s", 10 / spent, "real time"))
    return [*figures, *measure_frames(avatar, take)]


def measure_frames(avatar_path: Path, take_path: Path) -> list[Figure]:
    """Motion to RGB bytes, and the ops inside, on the trained avatar."""
    player, track = Player(avatar_path), read_track(open_take(take_path))
    list(player.draw([track.motion()[:16]]))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        count = sum(1 for _ in player.draw([track.motion()[:200]]))
        times.append((time.perf_counter() - start) / count)
    rate = 1 / min(times)
    return [Figure("motion to RGB, 512 px", rate, "frames/s", rate / 25, "real time"), measure_splatting()]


def measure_splatting(count: int = 2000, size: int = 128) -> Figure:
    """The rasterizer against its plain torch reference, on a scene small enough for the latter."""
    random = torch.Generator().manual_seed(0)
    means = torch.randn(count, 3, generator=random) * 4 + torch.tensor([0.0, 0, 60])
    inputs = (
        means,
        torch.randn(count, 4, generator=random),
        torch.full((count, 3), -1.0),
        torch.zeros(count),
        torch.rand(count, 3, generator=random),
    )

    def best(function: object, repeats: int) -> float:
        spent = []
        for _ in range(repeats):
            start = time.perf_counter()
            function(*inputs, focal=2.0 * size, size=size)  # type: ignore[operator]
            spent.append(time.perf_counter() - start)
        return min(spent)

    ours, theirs = best(ops.splat, 20), best(reference.splat, 2)
    return Figure(f"splat {count} at {size} px", ours * 1e3, "ms", theirs / ours, "torch reference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--folder", type=Path, default=Path("bench/out"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    clip = options.clip or options.folder / "actor.mp4"
    if not clip.exists():
        film_actor(clip, seconds=20.0)
    figures = measure_way(clip, options.folder, options.budget)
    for figure in figures:
        ratio = f"{figure.ratio:8.1f}x {figure.to}" if figure.ratio is not None else ""
        sys.stdout.write(f"{figure.name:<58} {figure.value:9.3f} {figure.unit:<9} {ratio}\n")
    machine = {"isa": ops.isa(), "threads": ops.get_threads(), "python": platform.python_version()}
    results = Path("bench/results")
    results.mkdir(exist_ok=True)
    content = {"clip": clip.name, "budget": options.budget, "machine": machine, "numpy": np.__version__}
    content |= {"figures": [asdict(figure) for figure in figures]}
    (results / f"{clip.stem}.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
