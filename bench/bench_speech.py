"""How well lips follow sound, on the motion alone: python -m bench.bench_speech TAKE... [--language de].

Adapted: the speech model is adapted to the first 80 % of a stretch of a Take and tested on the rest, for stretches of
20 s and for the whole; then to all but each fifth in turn, which says the same with five times the frames. Lip
opening, height and width are read off the tracked landmarks and off the expression that the sound gives; correlations
at the best lag of 5 frames to either side. Against: speech energy, a copy of the person's own motion from another
moment, and the encoder's articulation as it is. The packaged encoder was taught by clips of this project: to test on
one of them, give --people and --encoder, so that each is tested with one taught by the others only.

With --language, that of the first Take, the person also says synthesized sentences by voices that nothing was trained
on: how often lips shut at p, b and m (opening under 15 % of the person's range within 60 ms), and how opening and
width follow the phones in that language and in three that nothing was trained on. Writes bench/results/speech.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatar.core.articulation import articulate
from avatar.core.avatar_file import SpeakingStyle
from avatar.core.controls import Controls
from avatar.core.lips import CURVES, best_correlation, lip_curves, read_lips
from avatar.core.loudness import FRAME, gain_of, measure_level
from avatar.core.motion_space import Motion, MotionSpace, concatenate, load_space
from avatar.core.take import Take, Track, open_take, read_audio, read_track
from avatar.learn.adapt import adapt
from avatar.learn.corpus import UNSEEN_LANGUAGES, UNSEEN_VARIANTS, Line, espeak_line
from avatar.learn.finetune import finetune, make_training_clip
from avatar.learn.sentences import make_sentence
from avatar.learn.synthesizers import Manner, synthesize
from avatar.metrics import correlation
from avatar.motion.articulation import predict_articulation
from avatar.motion.driver import Driver, drive
from avatar.motion.encoder import Encoder, load_encoder
from avatar.pipelines.speech_encoder import read_training_clips

SHARE, FIFTHS = 0.8, 5
STRETCH = 500  # frames
LEAST_TESTED = 60
FAR = 250  # frames to another moment
LINES = 30
NEAR, CLOSED = 0.06, 0.15  # s about a bilabial, share of the person's range of lip opening


@dataclass(frozen=True)
class Stretch:
    """Part of a clip: learned from, then tested."""

    name: str
    seconds: float
    audio: Tensor
    track: Track
    usable: Tensor  # [T] bool

    @property
    def border(self) -> int:
        """The first frame that is tested."""
        return int(SHARE * len(self.usable))


def cut(take: Take, start: int, stop: int) -> Stretch:
    """Frames of a Take, their sound, and whether they are good."""
    track, audio = read_track(take), read_audio(take)
    usable = torch.zeros(len(track), dtype=torch.bool)
    usable[take.training_frames() + list(take.test)] = True
    usable &= track.confidence > 0.9
    part = slice(start, stop)
    names = ("landmarks", "rotation", "translation", "expression", "eyes", "torso", "confidence")
    piece = Track(**{name: getattr(track, name)[part] for name in names}, neutral=track.neutral, fps=track.fps)
    name = f"{take.source.get('name', take.root.name)} {start / take.fps:.0f} s"
    return Stretch(name, (stop - start) / take.fps, audio[start * FRAME : stop * FRAME], piece, usable[part])


def measure(stretch: Stretch, space: MotionSpace, encoder: Encoder) -> dict[str, list[float]]:
    """Correlations [3] of each way of driving, over the frames that were not learned from."""
    count = min(len(stretch.audio) // FRAME, len(stretch.usable))
    tested, lips = slice(stretch.border, count), lip_curves(stretch.track.landmarks)
    others = {
        "articulation": predict_articulation(stretch.audio)[:, [0, 0, 1]],
        "energy": measure_level(stretch.audio)[:, None].expand(-1, 3),
        "own motion from elsewhere": lips.roll(FAR % len(lips), 0),
    }
    borders = [round(part * count / FIFTHS) for part in range(FIFTHS + 1)]
    fifths = [slice(*ends) for ends in itertools.pairwise(borders)]
    enough = [part for part in fifths if stretch.usable[part].sum() >= SHARE * LEAST_TESTED]
    each = [compare(adapted(stretch, part, space, encoder), stretch, part) for part in enough]
    return {
        "adapted": compare(adapted(stretch, tested, space, encoder), stretch, tested),
        "adapted, each fifth left out": torch.tensor(each).mean(0).tolist(),
    } | {way: compare(said, stretch, tested) for way, said in others.items()}


def adapted(stretch: Stretch, left_out: slice, space: MotionSpace, encoder: Encoder) -> Tensor:
    """Curves [T, 3] of a person who was learned without some of the frames."""
    learned = stretch.usable.clone()
    learned[left_out] = False
    frames = torch.nonzero(learned).squeeze(1).tolist()
    tensors, habits = adapt(stretch.audio, stretch.track, fps=25, frames=frames, seed=0, encoder=encoder)
    return say(tensors, habits, stretch.audio).expression @ read_lips(space.basis)[:, :3]


def compare(said: Tensor, stretch: Stretch, tested: slice) -> list[float]:
    """Correlations [3] of curves [T, 3] with the lips that were seen."""
    lips, sure = lip_curves(stretch.track.landmarks), stretch.usable[tested]
    return [best_correlation(said[tested][:, i], lips[tested][:, i], sure) for i in range(3)]


def taught_by_others(take: Take, people: Path | None, start: Path | None) -> Encoder:
    """The encoder, or one that is taught by everybody in a folder but the person of a Take."""
    if people is None:
        return load_encoder(start)
    me = make_training_clip(take).name
    return finetune([clip for clip in read_training_clips(people) if clip.name != me], start=start)


def say(tensors: dict[str, Tensor], habits: SpeakingStyle, pcm: Tensor) -> Motion:
    """What the person does while saying something; their blinks, which move lips a little, are left out."""
    driver = Driver(tensors, habits, fps=25, controls=Controls(blink=0.0, temperature=0.0))
    return concatenate(list(drive(driver, pcm.split(16000))))


def measure_voices(take: Take, space: MotionSpace, language: str) -> dict[str, dict[str, float]]:
    """Closures and correlations of a person who says what unseen voices say, by language."""
    track = read_track(take)
    tensors, habits = adapt(read_audio(take), track, fps=25, frames=take.training_frames(), seed=0)
    lines = [Line(make_sentence(random.Random(index)), "flite:awb", Manner(), index) for index in range(LINES)]
    spoken, draw = {"en, flite awb": lines}, random.Random(0)
    for code in (language, *UNSEEN_LANGUAGES):
        spoken[code] = [espeak_line(code, UNSEEN_VARIANTS[index % 2], draw, index) for index in range(LINES)]
    return {name: measure_lines(tensors, habits, some, read_lips(space.basis)) for name, some in spoken.items()}


def measure_lines(tensors: dict[str, Tensor], habits: SpeakingStyle, lines: list[Line], read: Tensor) -> dict[str, float]:
    """How often lips shut where they must, and how they follow the phones; read [K, 3] reads curves off expressions."""
    own = habits.own.expression @ read[:, 0]
    low, high = own.quantile(0.01), own.quantile(0.99)
    shut, said, meant = [], [], []
    for line in lines:
        utterance = synthesize(line.text, line.voice, line.manner)
        lips = say(tensors, habits, utterance.pcm * gain_of([utterance.pcm])).expression @ read
        for phone in utterance.phones:
            if phone.symbol in ("p", "b", "m"):
                near = lips[max(0, int((phone.start - NEAR) * 25)) : int((phone.stop + NEAR) * 25) + 1, 0]
                shut.append(float(near.min() < low + CLOSED * (high - low)))
        said.append(lips)
        meant.append(articulate(utterance.phones, fps=25, seconds=len(lips) / 25))
    heard, truth = torch.cat(said), torch.cat(meant)
    opening, width = correlation(heard[:, 0], truth[:, 0]), correlation(heard[:, 2], truth[:, 1])
    return {"closures": sum(shut) / len(shut), "opening": opening, "width": width}


def mean_of(rows: list[dict]) -> dict[str, list[float]]:
    """Mean correlations [3] of each way of driving."""
    ways = rows[0]["scores"] if rows else {}
    return {way: torch.tensor([row["scores"][way] for row in rows]).mean(0).tolist() for way in ways}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("--language", help="of the first take, as espeak-ng calls it")
    parser.add_argument("--people", type=Path, help="folder of Takes whose lips teach the encoder, the tested left out")
    parser.add_argument("--encoder", type=Path, help="encoder that has seen no lips yet, to be taught by them")
    options, space, rows = parser.parse_args(), load_space(), []
    for root in options.takes:
        take = open_take(root)
        encoder = taught_by_others(take, options.people, options.encoder)
        stretches = [cut(take, start, start + STRETCH) for start in range(0, take.length - STRETCH + 1, STRETCH)]
        whole = [cut(take, 0, take.length)] if take.length >= 2 * STRETCH else []
        for stretch in [*stretches, *whole]:
            if stretch.usable[stretch.border :].sum() < LEAST_TESTED:
                continue
            start = time.perf_counter()
            scores = measure(stretch, space, encoder)
            row = {"name": stretch.name, "seconds": stretch.seconds, "took": time.perf_counter() - start}
            rows.append(row | {"scores": scores})
            told = "   ".join(f"{way} " + "/".join(f"{v:.2f}" for v in values) for way, values in scores.items())
            print(f"{stretch.name:<34}{stretch.seconds:5.1f} s   {told}   ({row['took']:.1f} s)")
    means = {
        "20 s": mean_of([r for r in rows if r["seconds"] <= 20]),
        "all": mean_of([r for r in rows if r["seconds"] > 20]),
    }
    for name, ways in means.items():
        for way, values in ways.items():
            print(f"{name:<8}{way:<28}" + "  ".join(f"{c} {v:.3f}" for c, v in zip(CURVES, values, strict=True)))
    voices = measure_voices(open_take(options.takes[0]), space, options.language) if options.language else {}
    for name, figures in voices.items():
        print(f"{name:<16}" + "  ".join(f"{figure} {value:.3f}" for figure, value in figures.items()))
    content = {"rows": rows, "means": means, "voices": voices}
    Path("bench/results/speech.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
