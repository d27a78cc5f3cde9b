"""Whether heads go with voices: python -m bench.bench_walk TAKE...

The manner of each person is taken from one half of every unbroken stretch of their clip; what the walk makes for the
sound of the other half, told the voice or not, is compared with what they did there:

* how the speed of head and brows goes with loudness, and whether it does so in those who do (over stretches);
* speed and jerk of the head against the person's;
* a small network that sees two seconds of head and sound and tells made from real, tried on people it has not seen (.5
  would be best).

Writes bench/results/walk.json.
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
from avatar.motion.behaviour import speech_residual
from avatar.motion.encoder import STRIDE
from avatar.motion.features import compute
from avatar.motion.head_motion import MotionGraph, listen

LEAST, WINDOW, HOP = 220, 50, 10  # frames
SEEDS, JUDGES, STEPS = 3, 3, 150
NOW = 4  # of the blocks that are listened to, the one from a frame on


@dataclass(frozen=True)
class Shown:
    """A head, its brows and what is heard meanwhile."""

    person: str
    head: Tensor  # [T, 6] turn and place, in the person's deviations
    face: Tensor  # [T, K]
    heard: Tensor  # [T, 10]


def stretches(root: Path) -> list[tuple[Motion, Tensor, Tensor]]:
    """Motion, what the face does beside speaking, and what is heard, of unbroken stretches of good frames."""
    take = open_take(root)
    track, features = read_track(take), compute(read_audio(take))
    heard = listen(features[: len(features) // STRIDE * STRIDE])
    good = torch.zeros(min(len(track), len(heard)), dtype=torch.bool)
    good[[frame for frame in (*take.training_frames(), *take.test) if frame < len(good)]] = True
    good &= track.confidence[: len(good)] > 0.9
    edges = torch.nonzero(functional.pad(good.int(), (1, 1)).diff())[:, 0].tolist()
    parts = [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= LEAST]
    reading = read_lips(load_space().basis)
    return [(track.motion()[part], speech_residual(track.expression[part], reading), heard[part]) for part in parts]


def perform(motion: Motion, face: Tensor, voice: Tensor | None, heard: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Turn and place [T, 6] and face of what the walk makes of a person for what is heard [T, 10]."""
    habits = SpeakingStyle(face.mean(0), face.std(0), 0.3, 0.2, 0.0, motion)
    walk, one = MotionGraph(habits, face, torch.Generator().manual_seed(seed), voice=voice), torch.ones(len(heard))
    pose = walk.take(one, one, one, heard)
    turn = to_vector(mean_rotation(motion.rotation).T @ pose.rotation)
    return torch.cat([turn, pose.translation], 1), pose.face


def show(name: str, motion: Motion, face: Tensor, heard: Tensor) -> dict[str, list[Shown]]:
    """A person as they are and as they are made, for both halves of a stretch."""
    middle, found = len(motion) // 2, {"real": [], "not told": [], "told the voice": []}
    halves = (slice(0, middle), slice(middle, len(motion)))
    for known, new in (halves, halves[::-1]):
        center = mean_rotation(motion[known].rotation)

        def place(part: slice, center: Tensor = center) -> Tensor:
            return torch.cat([to_vector(center.T @ motion[part].rotation), motion[part].translation], 1)

        mean, scale = place(known).mean(0), place(known).std(0).clamp_min(1e-3)
        found["real"].append(Shown(name, (place(new) - mean) / scale, face[new], heard[new]))
        for seed in range(SEEDS):
            for way, voice in (("not told", None), ("told the voice", heard[known])):
                head, brows = perform(motion[known], face[known], voice, heard[new], seed)
                found[way].append(Shown(name, (head - mean) / scale, brows, heard[new]))
    return found


def alignment(values: Tensor, heard: Tensor) -> float:
    """Correlation of the speed of values [T, D] with loudness, both without a tracker's tremor."""
    speed = calm(calm(values, 1.0).diff(dim=0).norm(dim=1)[:, None], 3.0)[:, 0]
    return correlation(speed, calm(heard[1:, NOW : NOW + 1], 3.0)[:, 0])


def calm(values: Tensor, frames: float) -> Tensor:
    """Values [T, D] without what is faster than some frames."""
    time = torch.arange(-int(3 * frames) - 1, int(3 * frames) + 2)
    weight = torch.exp(-0.5 * (time / frames).square())
    rows = functional.pad(values.T[:, None], (len(time) // 2,) * 2, mode="replicate")
    return functional.conv1d(rows, (weight / weight.sum())[None, None])[:, 0].T


def windows(shown: list[Shown]) -> Tensor:
    """Two seconds each [N, 8, WINDOW] of head, about its mean, and of loudness and voicing."""
    values = [torch.cat([one.head.clamp(-6, 6), one.heard[:, [NOW, NOW + 5]]], 1) for one in shown]
    cut = torch.cat([each.unfold(0, WINDOW, HOP) for each in values])
    return torch.cat([cut[:, :6] - cut[:, :6].mean(2, keepdim=True), cut[:, 6:]], 1)


class Judge(nn.Module):
    """Windows [N, 8, WINDOW] and their changes -> how real they look [N]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(16, 32, 5, padding=2)
        self.second = nn.Conv1d(32, 32, 5, padding=2, stride=2)
        self.last = nn.Linear(64, 1)

    def forward(self, seen: Tensor) -> Tensor:
        hidden = functional.gelu(self.first(torch.cat([seen, 4 * functional.pad(seen.diff(dim=2), (1, 0))], 1)))
        hidden = functional.gelu(self.second(functional.dropout(hidden, 0.2, self.training)))
        return self.last(torch.cat([hidden.mean(2), hidden.amax(2)], 1))[:, 0]


def tell_apart(real: list[Shown], made: list[Shown], seed: int) -> float:
    """Balanced accuracy on people that the judge has not seen, in three groups."""
    names, right = sorted({one.person for one in real}), []
    for fold in range(3):
        away = set(names[fold::3])
        seen = [windows([one for one in some if one.person not in away]) for some in (real, made)]
        new = [windows([one for one in some if one.person in away]) for some in (real, made)]
        torch.manual_seed(seed)
        judge = Judge()
        optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.05)
        for _ in range(STEPS):
            drawn = torch.cat([each[torch.randint(len(each), (32,))] for each in seen])
            truth = torch.tensor([1.0, 0.0]).repeat_interleave(32)
            optimizer.zero_grad()
            functional.binary_cross_entropy_with_logits(judge(drawn), truth).backward()
            optimizer.step()
        judge.eval()
        with torch.no_grad():
            right += [float((judge(new[0]) > 0).float().mean()), float((judge(new[1]) <= 0).float().mean())]
    return sum(right) / len(right)


def measure(real: list[Shown], made: list[Shown]) -> dict[str, float]:
    """All figures of one way of making heads; `made` holds the same stretches as `real`, each so many times over."""
    times = len(made) // len(real)
    heads = torch.tensor([alignment(one.head[:, :3], one.heard) for one in made]).view(-1, times)
    brows = torch.tensor([alignment(one.face, one.heard) for one in made]).nan_to_num(0)
    theirs = torch.tensor([alignment(one.head[:, :3], one.heard) for one in real])

    def window(shown: list[Shown], order: int) -> Tensor:
        return torch.stack([one.head.diff(n=order, dim=0).abs().mean(0) for one in shown]).mean(0)

    return {
        "head with loudness": float(heads.mean()),
        "brows with loudness": float(brows.mean()),
        "agreement with the person": correlation(heads.mean(1), theirs),
        "speed": float((window(made, 1) / window(real, 1)).median()),
        "jerk": float((window(made, 3) / window(real, 3)).median()),
        "told apart": sum(tell_apart(real, made, seed) for seed in range(JUDGES)) / JUDGES if made is not real else 0.5,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    torch.set_num_threads(1)
    shown: dict[str, list[Shown]] = {}
    for root in parser.parse_args().takes:
        for stretch in stretches(root):
            for way, some in show(root.name, *stretch).items():
                shown.setdefault(way, []).extend(some)
    table = {way: measure(shown["real"], some) for way, some in shown.items()}
    for figure in table["real"]:
        print(f"{figure:<28}" + "".join(f"{way:>18} {table[way][figure]:6.3f}" for way in table))
    people, frames = len({one.person for one in shown["real"]}), sum(len(one.head) for one in shown["real"])
    content = {"people": people, "frames": frames, "table": table}
    Path("bench/results/walk.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
