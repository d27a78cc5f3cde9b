"""Whether head motion follows speech: python -m bench.bench_head_motion TAKE...

The style of each person is taken from one half of every unbroken stretch of their clip; what the motion graph makes for
the sound of the other half, with prosody or without, is compared with the person's motion there:

* correlation of the speed of head and brows with the loudness of .4 to .2 s before, and whether it is higher in those
  in whom it is high;
* speed and jerk of the head against the person's;
* balanced accuracy of a discriminator, a small network on windows of two seconds of head and prosody that separates
  generated from real ones, on people it was not trained on (.5 would be best).

Writes bench/results/head_motion.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.core.avatar_file import SpeakingStyle
from avatar.core.geometry import mean_rotation, to_vector
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, load_space
from avatar.core.take import open_take, read_audio, read_track
from avatar.metrics import correlation
from avatar.motion.behaviour import smooth, speech_residual
from avatar.motion.encoder import STRIDE
from avatar.motion.features import compute
from avatar.motion.head_motion import MotionGraph, prosody_features

MIN_STRETCH, WINDOW, HOP = 220, 50, 10  # frames: each half has four seconds; windows of two seconds, and their hop
SEEDS, DISCRIMINATORS, STEPS = 3, 3, 150
ENERGY, VOICING = 4, 9  # columns of prosody: energy of .4 to .2 s before a frame, voicing of the .2 s from it on
MIN_CONFIDENCE = 0.9  # of the tracker
TREMOR, SYLLABLES = 1.0, 3.0  # frames: deviations of the Gaussians that remove tracking noise, and single syllables


@dataclass(frozen=True)
class Sample:
    """A stretch of head motion and brows, and the prosody with it."""

    person: str
    head: Tensor  # [T, 6] rotation vector and translation, in the person's deviations
    residual: Tensor  # [T, K] of expressions beside speech
    prosody: Tensor  # [T, 10]


def read_stretches(root: Path) -> list[tuple[Motion, Tensor, Tensor]]:
    """Motion, residual of expressions, and prosody, of unbroken stretches of well-tracked frames of a Take."""
    take = open_take(root)
    track, features = read_track(take), compute(read_audio(take))
    prosody = prosody_features(features[: len(features) // STRIDE * STRIDE])
    valid = torch.zeros(min(len(track), len(prosody)), dtype=torch.bool)
    valid[[frame for frame in (*take.training_frames(), *take.test) if frame < len(valid)]] = True
    valid &= track.confidence[: len(valid)] > MIN_CONFIDENCE
    edges = torch.nonzero(functional.pad(valid.int(), (1, 1)).diff())[:, 0].tolist()
    parts = [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= MIN_STRETCH]
    reading = read_lips(load_space().basis)
    return [(track.motion()[part], speech_residual(track.expression[part], reading), prosody[part]) for part in parts]


def generate(
    motion: Motion, residual: Tensor, own_prosody: Tensor | None, prosody: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Rotation and translation [T, 6], and residual [T, K], of a person's motion graph for prosody [T, 10]."""
    style = SpeakingStyle(0.3, 0.2, 0.0, motion)
    graph = MotionGraph(style, residual, torch.Generator().manual_seed(seed), prosody=own_prosody)
    one = torch.ones(len(prosody))
    head = graph.take(one, one, one, prosody)
    turn = to_vector(mean_rotation(motion.rotation).T @ head.rotation)
    return torch.cat([turn, head.translation], 1), head.residual


def sample(name: str, motion: Motion, residual: Tensor, prosody: Tensor) -> dict[str, list[Sample]]:
    """Real and generated samples of a person, for both halves of a stretch."""
    middle, found = len(motion) // 2, {"real": [], "without prosody": [], "with prosody": []}
    halves = (slice(0, middle), slice(middle, len(motion)))
    for known, new in (halves, halves[::-1]):
        center = mean_rotation(motion[known].rotation)

        def place(part: slice, center: Tensor = center) -> Tensor:
            return torch.cat([to_vector(center.T @ motion[part].rotation), motion[part].translation], 1)

        mean, scale = place(known).mean(0), place(known).std(0).clamp_min(1e-3)
        found["real"].append(Sample(name, (place(new) - mean) / scale, residual[new], prosody[new]))
        for seed in range(SEEDS):
            for method, own in (("without prosody", None), ("with prosody", prosody[known])):
                head, brows = generate(motion[known], residual[known], own, prosody[new], seed)
                found[method].append(Sample(name, (head - mean) / scale, brows, prosody[new]))
    return found


def alignment(values: Tensor, prosody: Tensor) -> float:
    """Correlation of the speed of values [T, D] with loudness, both smoothed."""
    speed = low_pass(low_pass(values, TREMOR).diff(dim=0).norm(dim=1)[:, None], SYLLABLES)[:, 0]
    return correlation(speed, low_pass(prosody[1:, ENERGY : ENERGY + 1], SYLLABLES)[:, 0])


def low_pass(values: Tensor, frames: float) -> Tensor:
    """As `smooth`, values [T, D] continued at the ends: else these would move more than the middle."""
    pad = int(3 * frames) + 1
    continued = torch.cat([values[:1].expand(pad, -1), values, values[-1:].expand(pad, -1)])
    return smooth(continued, frames)[pad:-pad]


def windows(samples: list[Sample]) -> Tensor:
    """Two seconds each [N, 8, WINDOW] of head, about its mean, and of energy and voicing."""
    values = [torch.cat([one.head.clamp(-6, 6), one.prosody[:, [ENERGY, VOICING]]], 1) for one in samples]
    cut = torch.cat([each.unfold(0, WINDOW, HOP) for each in values])
    return torch.cat([cut[:, :6] - cut[:, :6].mean(2, keepdim=True), cut[:, 6:]], 1)


class Discriminator(nn.Module):
    """Windows [N, 8, WINDOW] and their differences -> logit of being real [N]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(16, 32, 5, padding=2)
        self.second = nn.Conv1d(32, 32, 5, padding=2, stride=2)
        self.last = nn.Linear(64, 1)

    def forward(self, window: Tensor) -> Tensor:
        hidden = functional.gelu(self.first(torch.cat([window, 4 * functional.pad(window.diff(dim=2), (1, 0))], 1)))
        hidden = functional.gelu(self.second(functional.dropout(hidden, 0.2, self.training)))
        return self.last(torch.cat([hidden.mean(2), hidden.amax(2)], 1))[:, 0]


def discriminate(real: list[Sample], generated: list[Sample], seed: int) -> float:
    """Balanced accuracy on people that the discriminator was not trained on, in three folds."""
    names, accuracy = sorted({one.person for one in real}), []
    for fold in range(3):
        held_out = set(names[fold::3])
        training = [windows([one for one in some if one.person not in held_out]) for some in (real, generated)]
        test = [windows([one for one in some if one.person in held_out]) for some in (real, generated)]
        torch.manual_seed(seed)
        network = Discriminator()
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
        for _ in range(STEPS):
            batch = torch.cat([each[torch.randint(len(each), (32,))] for each in training])
            truth = torch.tensor([1.0, 0.0]).repeat_interleave(32)
            optimizer.zero_grad()
            functional.binary_cross_entropy_with_logits(network(batch), truth).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            accuracy.append(float((network(test[0]) > 0).float().mean()))
            accuracy.append(float((network(test[1]) <= 0).float().mean()))
    return sum(accuracy) / len(accuracy)


def measure(real: list[Sample], generated: list[Sample]) -> dict[str, float]:
    """All figures of one method; `generated` holds the same stretches as `real`, each so many times over."""
    times = len(generated) // len(real)
    heads = torch.tensor([alignment(one.head[:, :3], one.prosody) for one in generated]).view(-1, times)
    brows = torch.tensor([alignment(one.residual, one.prosody) for one in generated]).nan_to_num(0)
    theirs = torch.tensor([alignment(one.head[:, :3], one.prosody) for one in real])

    def rate(samples: list[Sample], order: int) -> Tensor:
        return torch.stack([one.head.diff(n=order, dim=0).abs().mean(0) for one in samples]).mean(0)

    accuracies = [0.5 if generated is real else discriminate(real, generated, seed) for seed in range(DISCRIMINATORS)]
    return {
        "head with loudness": float(heads.mean()),
        "brows with loudness": float(brows.mean()),
        "agreement with the person": correlation(heads.mean(1), theirs),
        "speed": float((rate(generated, 1) / rate(real, 1)).median()),
        "jerk": float((rate(generated, 3) / rate(real, 3)).median()),
        "discriminator's accuracy": sum(accuracies) / len(accuracies),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    torch.set_num_threads(1)
    samples: dict[str, list[Sample]] = {}
    for root in parser.parse_args().takes:
        for stretch in read_stretches(root):
            for method, some in sample(root.name, *stretch).items():
                samples.setdefault(method, []).extend(some)
    table = {method: measure(samples["real"], some) for method, some in samples.items()}
    for figure in table["real"]:
        print(f"{figure:<28}" + "".join(f"{method:>18} {table[method][figure]:6.3f}" for method in table))
    people, frames = len({one.person for one in samples["real"]}), sum(len(one.head) for one in samples["real"])
    content = {"people": people, "frames": frames, "table": table}
    Path("bench/results/head_motion.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
