"""The post-net against the regression and against none, on the motion alone: python -m bench.bench_postnet TAKE...

Each is adapted to the first 80 % of a Take and tested on the rest. Correlation of lip opening, height and width with
the tracked landmarks', at the best lag, as in `bench.bench_speech`. Distance: Frechet distance of predicted expressions
from the person's while they speak, in the person's deviations; opening: deviation of the predicted lip opening against
the person's. Writes bench/results/postnet.json.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.core.eyes import eyelid_closure
from avatar.core.lips import best_correlation, lip_curves, read_lips
from avatar.core.motion_space import MotionSpace, load_space
from avatar.core.speech_model import Calibration, PostNet
from avatar.core.take import open_take
from avatar.learn.adapt import adapt
from avatar.learn.postnet import HIDDEN, MIN_SPREAD
from avatar.learn.synthetic_samples import load_synthetic_speech
from avatar.motion.behaviour import speech_residual
from avatar.motion.encoder import REACH, STRIDE
from avatar.motion.features import compute
from avatar.motion.postnet import CURVE_SOURCES
from avatar.motion.speech_to_motion import open_speech_model
from bench.bench_speech import Stretch, cut, predict_motion


def generic_postnet(space: MotionSpace) -> PostNet:
    """No post-net: the likeliest expression of an average face with the predicted lip curves, about a face at rest.

    Modes have unit variance over people, so that lip curves deviate by the norms of their readings.
    """
    articulation, reading = load_synthetic_speech().articulation, read_lips(space.basis)
    wide = (2 * REACH + 1) * len(ARTICULATION)
    zeros = torch.zeros(HIDDEN, wide), torch.zeros(HIDDEN), torch.zeros(space.modes, HIDDEN), torch.zeros(space.modes)
    lips = reading.norm(dim=0)[:, None] * torch.linalg.pinv(reading)
    return PostNet(articulation.mean(0), articulation.std(0), lips[: len(CURVE_SOURCES)], *zeros)


def frechet(one: Tensor, other: Tensor) -> float:
    """Frechet distance of two normal distributions with the means and covariances of [N, K] and [M, K]."""
    first, second = torch.cov(one.T).double(), torch.cov(other.T).double()
    between = torch.linalg.eigvals(first @ second).real.clamp_min(0).sqrt().sum()
    apart = (one.mean(0) - other.mean(0)).square().sum().double()
    return float(apart + first.trace() + second.trace() - 2 * between)


def measure(stretch: Stretch, space: MotionSpace, method: str, seed: int) -> dict[str, object]:
    """Figures of one method over the held-out frames."""
    training = torch.nonzero(stretch.usable[: stretch.border]).squeeze(1).tolist()
    calibration: Calibration = "adversarial" if method == "adversarial" else "regression"
    start = time.perf_counter()
    model, style = adapt(stretch.audio, stretch.track, frames=training, seed=seed, calibration=calibration)
    took = time.perf_counter() - start
    if method == "none":
        model = replace(model, decoder=generic_postnet(space))
    reading, features = read_lips(space.basis), compute(stretch.audio)
    tested = slice(stretch.border, min(len(features) // STRIDE, len(stretch.usable)))
    valid = stretch.usable[tested]
    lips = predict_motion(model, style, stretch.audio).expression @ reading
    tracked = lip_curves(stretch.track.landmarks)
    correlations = [best_correlation(lips[tested][:, i], tracked[tested][:, i], valid) for i in range(3)]
    own = stretch.track.expression - eyelid_closure(stretch.track.eyes)[:, None] * model.lid_slope
    own = own - speech_residual(own, reading)
    spread = own[training].std(0).clamp_min(MIN_SPREAD)
    predicted = open_speech_model(model)(features).expression[tested][valid]
    distance = frechet(predicted / spread, own[tested][valid] / spread)
    opening = float(lips[tested][valid][:, 0].std() / (own[tested][valid] @ reading)[:, 0].std())
    return {"correlations": correlations, "distance": distance, "opening": opening, "seconds": took}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options, space, rows = parser.parse_args(), load_space(), []
    torch.set_num_threads(1)
    for root in options.takes:
        take = open_take(root)
        stretch = cut(take, 0, take.length)
        for method in ("none", "adversarial", "regression"):
            found = measure(stretch, space, method, options.seed)
            rows.append({"take": stretch.name, "method": method} | found)
            curves = "/".join(f"{value:.2f}" for value in found["correlations"])
            print(
                f"{stretch.name:<28}{method:<12} {curves}  distance {found['distance']:.2f}  opening "
                f"{found['opening']:.2f}  ({found['seconds']:.1f} s)"
            )
    Path("bench/results/postnet.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
