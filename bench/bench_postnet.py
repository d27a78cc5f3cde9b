"""The post-net against the regression and against none, on the motion alone: python -m bench.bench_postnet TAKE...

Each learns from the first 80 % of a Take and is tested on the rest. Correlation of lip opening, height and width with
the tracked landmarks', at the best lag, as of `bench.bench_speech`. Distance: of the expressions that the sound gives
from the person's while they speak (Frechet, of means and covariances, in the person's deviations), and how far lips
open, times as far as the person's. Writes bench/results/postnet.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.core.lips import best_correlation, lip_curves, read_lips
from avatar.core.motion_space import MotionSpace, load_space
from avatar.core.take import open_take
from avatar.learn.adapt import adapt, closure
from avatar.learn.postnet import HIDDEN, SAID_BY, PostNet
from avatar.learn.settings import Calibration
from avatar.learn.synthetic_samples import load_synthetic_speech
from avatar.motion.behaviour import speech_residual
from avatar.motion.encoder import REACH, STRIDE
from avatar.motion.features import compute
from avatar.motion.regression import load_speech_to_motion
from bench.bench_speech import Stretch, cut, say


def generic(space: MotionSpace) -> PostNet:
    """No post-net: the likeliest expression of anybody whose lips do what is heard, about a face at rest.

    Modes have unit variance over people, so that curves of the lips deviate by the norms of their readings.
    """
    meant, reading = load_synthetic_speech().articulation, read_lips(space.basis)
    wide = (2 * REACH + 1) * len(ARTICULATION)
    nothing = torch.zeros(HIDDEN, wide), torch.zeros(HIDDEN), torch.zeros(space.modes, HIDDEN), torch.zeros(space.modes)
    lips = reading.norm(dim=0)[:, None] * torch.linalg.pinv(reading)
    return PostNet(meant.mean(0), meant.std(0), lips[: len(SAID_BY)], *nothing)


def frechet(one: Tensor, other: Tensor) -> float:
    """Frechet distance of two normal distributions with the means and covariances of [N, K] and [M, K]."""
    first, second = torch.cov(one.T).double(), torch.cov(other.T).double()
    between = torch.linalg.eigvals(first @ second).real.clamp_min(0).sqrt().sum()
    apart = (one.mean(0) - other.mean(0)).square().sum().double()
    return float(apart + first.trace() + second.trace() - 2 * between)


def measure(stretch: Stretch, space: MotionSpace, way: str, seed: int) -> dict[str, object]:
    """Figures of one way over the frames that were not learned from."""
    learned = torch.nonzero(stretch.usable[: stretch.border]).squeeze(1).tolist()
    calibration: Calibration = "adversarial" if way == "adversarial" else "regression"
    start = time.perf_counter()
    tensors, habits = adapt(stretch.audio, stretch.track, fps=25, frames=learned, seed=seed, calibration=calibration)
    took = time.perf_counter() - start
    if way == "none":
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("decoder.")}
        tensors = kept | {f"decoder.{name}": tensor for name, tensor in generic(space).tensors().items()}
    reading, features = read_lips(space.basis), compute(stretch.audio)
    tested = slice(stretch.border, min(len(features) // STRIDE, len(stretch.usable)))
    sure = stretch.usable[tested]
    said = say(tensors, habits, stretch.audio).expression @ reading
    lips = lip_curves(stretch.track.landmarks)
    correlations = [best_correlation(said[tested][:, i], lips[tested][:, i], sure) for i in range(3)]
    seen = stretch.track.expression - closure(stretch.track.eyes)[:, None] * tensors["lid_slope"]
    seen = seen - speech_residual(seen, reading)
    spread = seen[learned].std(0).clamp_min(0.05)
    given = load_speech_to_motion(tensors)(features).expression[tested][sure]
    far = frechet(given / spread, seen[tested][sure] / spread)
    wide = float(said[tested][sure][:, 0].std() / (seen[tested][sure] @ reading)[:, 0].std())
    return {"correlations": correlations, "distance": far, "opening": wide, "seconds": took}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options, space, rows = parser.parse_args(), load_space(), []
    torch.set_num_threads(1)
    for root in options.takes:
        take = open_take(root)
        stretch = cut(take, 0, take.length)
        for way in ("none", "adversarial", "regression"):
            found = measure(stretch, space, way, options.seed)
            rows.append({"take": stretch.name, "way": way} | found)
            curves = "/".join(f"{value:.2f}" for value in found["correlations"])
            print(
                f"{stretch.name:<28}{way:<12} {curves}  distance {found['distance']:.2f}  opening "
                f"{found['opening']:.2f}  ({found['seconds']:.1f} s)"
            )
    Path("bench/results/postnet.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
