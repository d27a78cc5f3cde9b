"""How well lips follow sound, on the motion alone: python -m bench.bench_speech TAKE... [--language de].

Adapted: the speech model is adapted to the first 80 % of a stretch of a Take and tested on the rest, for stretches of
20 s and for the whole; then cross-validated by fifths, which tests on five times the frames. Lip opening, height and
width are measured on the tracked landmarks and on the predicted expression; correlations at the best lag of 5 frames
to either side. Against: speech energy, a copy of the person's own motion from another moment, and the encoder's
articulation. The packaged encoder was fine-tuned on clips of this project: to test on one of them, give --people and
--encoder, so that each is tested with an encoder fine-tuned on the others only.

With --language, that of the first Take, the person is also driven by synthesized sentences of held-out voices: how
often lips shut at p, b and m (opening under 15 % of the person's range within 60 ms), and how opening and width follow
the phones in that language and in three held-out ones. Writes bench/results/speech.json.
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
from avatar.core.speech_model import SpeechModel
from avatar.core.take import Take, Track, open_take, read_audio, read_track
from avatar.learn.adapt import adapt
from avatar.learn.corpus import HELD_OUT_LANGUAGES, HELD_OUT_VARIANTS, UtterancePlan, plan_espeak
from avatar.learn.finetune import finetune, make_training_clip
from avatar.learn.sentences import random_sentence
from avatar.learn.synthesizers import VoiceSettings, synthesize
from avatar.metrics import correlation
from avatar.motion.articulation import predict_articulation
from avatar.motion.driver import Driver, drive
from avatar.motion.encoder import Encoder, load_encoder
from avatar.motion.speech_to_motion import open_speech_model
from avatar.pipelines.speech_encoder import read_training_clips

SHARE, FIFTHS = 0.8, 5
STRETCH = 500  # frames: 20 s
MIN_TESTED = 60  # frames: in fewer, curves correlate by chance
FAR = 250  # frames to another moment
SENTENCES = 30
NEAR, CLOSED = 0.06, 0.15  # s about a bilabial, share of the person's range of lip opening


@dataclass(frozen=True)
class Stretch:
    """Part of a clip: the first part is adapted to, the rest is held out."""

    name: str
    seconds: float
    audio: Tensor
    track: Track
    usable: Tensor  # [T] bool

    @property
    def border(self) -> int:
        """The first frame that is held out."""
        return int(SHARE * len(self.usable))


def cut(take: Take, start: int, stop: int) -> Stretch:
    """Frames of a Take, their sound, and which of them were tracked well."""
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
    """Correlations [3] of each method with the tracked lips, over held-out frames."""
    count = min(len(stretch.audio) // FRAME, len(stretch.usable))
    tested, lips = slice(stretch.border, count), lip_curves(stretch.track.landmarks)
    others = {
        "articulation": predict_articulation(stretch.audio)[:, [0, 0, 1]],
        "energy": measure_level(stretch.audio)[:, None].expand(-1, 3),
        "own motion from elsewhere": lips.roll(FAR % len(lips), 0),
    }
    borders = [round(part * count / FIFTHS) for part in range(FIFTHS + 1)]
    fifths = [slice(*ends) for ends in itertools.pairwise(borders)]
    enough = [part for part in fifths if stretch.usable[part].sum() >= SHARE * MIN_TESTED]
    each = [compare(predict_held_out(stretch, part, space, encoder), stretch, part) for part in enough]
    return {
        "adapted": compare(predict_held_out(stretch, tested, space, encoder), stretch, tested),
        "adapted, each fifth left out": torch.tensor(each).mean(0).tolist(),
    } | {method: compare(curves, stretch, tested) for method, curves in others.items()}


def predict_held_out(stretch: Stretch, held_out: slice, space: MotionSpace, encoder: Encoder) -> Tensor:
    """Lip curves [T, 3] predicted by a model that is adapted without some of the frames."""
    training = stretch.usable.clone()
    training[held_out] = False
    frames = torch.nonzero(training).squeeze(1).tolist()
    model, style = adapt(stretch.audio, stretch.track, frames=frames, seed=0, encoder=encoder)
    return predict_motion(model, style, stretch.audio).expression @ read_lips(space.basis)[:, :3]


def compare(curves: Tensor, stretch: Stretch, tested: slice) -> list[float]:
    """Correlations [3] of curves [T, 3] with the tracked lips, over some frames."""
    lips, valid = lip_curves(stretch.track.landmarks), stretch.usable[tested]
    return [best_correlation(curves[tested][:, i], lips[tested][:, i], valid) for i in range(3)]


def encoder_of_others(take: Take, people: Path | None, start: Path | None) -> Encoder:
    """The encoder, or one fine-tuned on everybody in a folder but the person of a Take."""
    if people is None:
        return load_encoder(start)
    name = make_training_clip(take).name
    return finetune([clip for clip in read_training_clips(people) if clip.name != name], start=start)


def predict_motion(model: SpeechModel, style: SpeakingStyle, pcm: Tensor) -> Motion:
    """The person's motion for sound [n], without blinks and brows, which move lips a little."""
    driver = Driver(open_speech_model(model), style, fps=25, controls=Controls(blink=0.0, temperature=0.0))
    return concatenate(list(drive(driver, pcm.split(16000))))


def measure_voices(take: Take, space: MotionSpace, language: str) -> dict[str, dict[str, float]]:
    """Closures and correlations of a person driven by held-out voices, by language."""
    track = read_track(take)
    person = adapt(read_audio(take), track, frames=take.training_frames(), seed=0)
    texts = [random_sentence(random.Random(index)) for index in range(SENTENCES)]
    english = [UtterancePlan(text, "flite:awb", VoiceSettings(), index) for index, text in enumerate(texts)]
    plans, rng = {"en, flite awb": english}, random.Random(0)
    for code in (language, *HELD_OUT_LANGUAGES):
        plans[code] = [plan_espeak(code, HELD_OUT_VARIANTS[index % 2], rng, index) for index in range(SENTENCES)]
    return {name: measure_utterances(*person, some, read_lips(space.basis)) for name, some in plans.items()}


def measure_utterances(
    model: SpeechModel, style: SpeakingStyle, plans: list[UtterancePlan], reading: Tensor
) -> dict[str, float]:
    """How often lips shut at bilabials, and how they follow the phones; reading: [K, 4] of `read_lips`."""
    own = style.own.expression @ reading[:, 0]
    low, high = own.quantile(0.01), own.quantile(0.99)
    shut, curves, targets = [], [], []
    for plan in plans:
        utterance = synthesize(plan.text, plan.voice, plan.settings)
        lips = predict_motion(model, style, utterance.pcm * gain_of([utterance.pcm])).expression @ reading
        for phone in utterance.phones:
            if phone.symbol in ("p", "b", "m"):
                near = lips[max(0, int((phone.start - NEAR) * 25)) : int((phone.stop + NEAR) * 25) + 1, 0]
                shut.append(float(near.min() < low + CLOSED * (high - low)))
        curves.append(lips)
        targets.append(articulate(utterance.phones, fps=25, seconds=len(lips) / 25))
    predicted, truth = torch.cat(curves), torch.cat(targets)
    opening, width = correlation(predicted[:, 0], truth[:, 0]), correlation(predicted[:, 2], truth[:, 1])
    return {"closures": sum(shut) / len(shut), "opening": opening, "width": width}


def mean_of(rows: list[dict]) -> dict[str, list[float]]:
    """Mean correlations [3] of each method."""
    methods = rows[0]["scores"] if rows else {}
    return {method: torch.tensor([row["scores"][method] for row in rows]).mean(0).tolist() for method in methods}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("--language", help="of the first take, as espeak-ng calls it")
    parser.add_argument("--people", type=Path, help="folder of Takes to fine-tune on, the tested one left out")
    parser.add_argument("--encoder", type=Path, help="pre-trained encoder to fine-tune on them")
    options, space, rows = parser.parse_args(), load_space(), []
    for root in options.takes:
        take = open_take(root)
        encoder = encoder_of_others(take, options.people, options.encoder)
        stretches = [cut(take, start, start + STRETCH) for start in range(0, take.length - STRETCH + 1, STRETCH)]
        whole = [cut(take, 0, take.length)] if take.length >= 2 * STRETCH else []
        for stretch in [*stretches, *whole]:
            if stretch.usable[stretch.border :].sum() < MIN_TESTED:
                continue
            start = time.perf_counter()
            scores = measure(stretch, space, encoder)
            row = {"name": stretch.name, "seconds": stretch.seconds, "took": time.perf_counter() - start}
            rows.append(row | {"scores": scores})
            columns = [f"{method} " + "/".join(f"{v:.2f}" for v in values) for method, values in scores.items()]
            print(f"{stretch.name:<34}{stretch.seconds:5.1f} s   {'   '.join(columns)}   ({row['took']:.1f} s)")
    means = {
        "20 s": mean_of([r for r in rows if r["seconds"] <= 20]),
        "all": mean_of([r for r in rows if r["seconds"] > 20]),
    }
    for name, methods in means.items():
        for method, values in methods.items():
            print(f"{name:<8}{method:<30}" + "  ".join(f"{c} {v:.3f}" for c, v in zip(CURVES, values, strict=True)))
    voices = measure_voices(open_take(options.takes[0]), space, options.language) if options.language else {}
    for name, figures in voices.items():
        print(f"{name:<16}" + "  ".join(f"{figure} {value:.3f}" for figure, value in figures.items()))
    content = {"rows": rows, "means": means, "voices": voices}
    Path("bench/results/speech.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
