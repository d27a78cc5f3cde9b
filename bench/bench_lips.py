"""How a person's lips follow speech that was not fitted to: python -m bench.bench_lips TAKE... [--people TAKE...]

Adapted to the first 60 % of a Take's first 16 s, driven by its sound, tested on the last 40 %: motion against the
track, what changes over two seconds left out, nothing moved in time. Opening, width, lower and upper lip: correlation;
amplitude, quick part (the change from frame to frame) and energy from 4 to 8 Hz, as times the tracked ones; closures,
and turning points of the gap; how much of what is said is read off the lips (`avatar.motion.lip_reader`), beside the
person's own. --people: those that other people's lips are fitted to, the tested one left out; without, the package's,
which must not have been fitted to those tested. Writes bench/results/lips.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from avatar.core.controls import Controls
from avatar.core.lips import MOST_LAG, POSITIONS, correlate_lags, read_lip_positions
from avatar.core.motion_space import concatenate, load_space
from avatar.core.take import Take, open_take, read_audio, read_track
from avatar.learn import adapt as adaptation
from avatar.learn.people_lips import DRIFT_FRAMES, fit_people_lips, read_spoken_lips
from avatar.metrics import correlation
from avatar.motion.behaviour import detrend
from avatar.motion.driver import drive
from avatar.motion.encoder import load_encoder
from avatar.motion.lip_reader import read_lips, visemes_of_sound
from avatar.motion.speech_to_motion import open_speech_model
from avatar.play.player import Driver
from bench.lip_measures import RANGE, TURN, Closures, band_energy, count_closures, count_read, count_turns

FRAMES, FITTED, SEEN = 400, 0.6, 0.3
CONSONANTS = (4.0, 8.0)  # Hz


@dataclass(frozen=True)
class LipScores:
    """One person's."""

    name: str
    correlation: list[float]  # of POSITIONS
    amplitude: list[float]
    quick_part: list[float]
    consonants: list[float]  # energy from 4 to 8 Hz
    best_lag: int  # frames, of the opening
    closures: Closures
    turns: float  # of the opening, as times the tracked ones
    read: list[list[int]]  # by viseme: frames, of which driven lips are read right, and tracked ones


def measure(take: Take) -> LipScores:
    """Adapt to the first part and test on the last."""
    track, sound = read_track(take), read_audio(take)
    usable = torch.zeros(len(track), dtype=torch.bool)
    usable[take.training_frames() + list(take.test)] = True
    chosen = (usable & (track.confidence > SEEN)).nonzero()[:FRAMES, 0]
    border = round(FITTED * len(chosen))
    model, style = adaptation.adapt(sound, track, frames=chosen[:border].tolist(), seed=0)
    driver = Driver(open_speech_model(model), style, fps=25, controls=Controls(blink=0.0, temperature=0.0))
    motion, reading = concatenate(list(drive(driver, sound.split(16000)))), read_lip_positions(load_space().basis)
    chosen = chosen[chosen < len(motion)]
    driven, tracked = (
        detrend(expression[chosen] @ reading, DRIFT_FRAMES)[border:]
        for expression in (motion.expression, track.expression)
    )
    tested, gaps = chosen[border:], (driven[:, 0], tracked[:, 0])
    least = TURN * float(gaps[1].quantile(RANGE[1]) - gaps[1].quantile(RANGE[0]))
    lags = correlate_lags(driven[:, 0], tracked[:, 0], torch.ones(len(driven), dtype=torch.bool))
    return LipScores(
        take.source.get("name", take.root.name),
        [correlation(*pair) for pair in zip(driven.T, tracked.T, strict=True)],
        (driven.std(0) / tracked.std(0)).tolist(),
        (driven.diff(dim=0).std(0) / tracked.diff(dim=0).std(0)).tolist(),
        band_energy(driven, tracked, tested, CONSONANTS).tolist(),
        lags.index(max(lags)) - MOST_LAG,
        count_closures(*gaps, tested),
        count_turns(gaps[0], least) / max(1, count_turns(gaps[1], least)),
        _read(sound, motion.expression, track.expression, tested),
    )


def _read(sound: Tensor, driven: Tensor, tracked: Tensor, tested: Tensor) -> list[list[int]]:
    """Frames by viseme, and how many are read right of driven and tracked expressions [T, K]."""
    spoken, speaks = visemes_of_sound(sound)
    tested = tested[tested < len(spoken)]
    everything = torch.ones(len(tested), dtype=torch.bool)
    lips = (read_lips(expression[tested], everything) for expression in (driven, tracked))
    return count_read(spoken[tested], speaks[tested], *lips)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("--people", nargs="*", type=Path, default=[])
    options, rows, encoder = parser.parse_args(), list[LipScores](), load_encoder()
    known = {path.name: read_spoken_lips(open_take(path), encoder) for path in options.people}
    for path in options.takes:
        others = [lips for name, lips in known.items() if name != path.name]
        people = fit_people_lips(others) if known else adaptation.load_people_lips(encoder)
        with mock.patch.object(adaptation, "load_people_lips", lambda _, people=people: people):
            rows.append(row := measure(open_take(path)))
        print(
            f"{row.name:<34}" + "  ".join(f"{n} {v:.3f}" for n, v in zip(POSITIONS, row.correlation, strict=True)),
            flush=True,
        )
    means = {
        figure: torch.tensor([getattr(row, figure) for row in rows]).mean(0).tolist()
        for figure in ("correlation", "amplitude", "quick_part", "consonants")
    }
    for figure, values in means.items():
        print(f"{figure:<34}" + "  ".join(f"{name} {value:.3f}" for name, value in zip(POSITIONS, values, strict=True)))
    total = {
        name: sum(getattr(row.closures, name) for row in rows) for name in ("tracked", "seen", "predicted", "false")
    }
    turns = sum(row.turns for row in rows) / len(rows)
    print(f"closures seen {total['seen'] / max(1, total['tracked']):.2f} of {total['tracked']}, ", end="")
    print(f"false {total['false'] / max(1, total['predicted']):.2f} of {total['predicted']}; turns {turns:.2f}")
    frames, *right = torch.tensor([row.read for row in rows]).sum(0).T.double()
    balanced = [float((count / frames)[frames > 0].mean()) for count in right]
    print("read off the lips, balanced: driven {:.3f}, the people {:.3f}".format(*balanced))
    Path("bench/results/lips.json").write_text(
        json.dumps({"people": list(map(asdict, rows)), "means": means}, indent=1)
    )


if __name__ == "__main__":
    main()
