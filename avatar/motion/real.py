"""The encoder taught by real lips: Takes of many people, each in standard units of their own.

Synthesized speech teaches which sounds there are; how lips move with them real people know better. What the encoder has
learned from synthesized speech is held by keeping its articulation where it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from avatar.core.files import stream_safetensors
from avatar.core.lips import CURVES, MOST_LAG, best_correlation, correlate_lags, lip_curves
from avatar.core.take import Take, read_audio, read_track
from avatar.motion.behaviour import without_drift
from avatar.motion.directions import find_directions
from avatar.motion.distort import hear_crop
from avatar.motion.encoder import STRIDE, Encoder, Heard, encode, half_precision, load_encoder, perceive
from avatar.motion.features import compute
from avatar.motion.inputs import perceive_about

FORMAT = "lesson/2"
STEPS = 250
CROP = 64  # motion frames
BATCH = 12
HEAD_RATE, ENCODER_RATE = 2e-3, 1.5e-3
DISTORTED = 0.7  # share of what is heard that is another voice in another room
HOLD = 5.0  # weight of staying with the synthesized articulation, which lies within 0..1
EARLY = 1  # frames by which real lips run before the articulation that the encoder was taught
LAG_COST = 0.01  # correlation that a frame of lag must gain
MOST_LESSONS = 60  # of which directions are found, at once in memory
ALIGNED = (0.0, 0.4, 0.7)  # shares of the steps after which sound and lips of each person are brought together

Report = Callable[[str, int, int], None]  # stage, done, total


@dataclass(frozen=True)
class Lesson:
    """One person's sound and lips."""

    name: str
    features: Tensor  # [4 T, D]
    lips: Tensor  # [T, 3] curves, each of zero mean and unit deviation
    weight: Tensor  # [T] 1 where the lips are to be believed


@dataclass(frozen=True)
class Score:
    """Correlation of heard and real lips of a person that was not learned from, at the best lag."""

    name: str
    before: dict[str, float]  # of the encoder as it was
    after: dict[str, float]


def make_lesson(take: Take) -> Lesson:
    """What a Take teaches: frames left out of training, or without a face, teach nothing."""
    track, features = read_track(take), compute(read_audio(take))
    count = min(len(features) // STRIDE, len(track)) - EARLY
    usable = torch.zeros(len(track))
    usable[take.training_frames() + list(take.test)] = 1
    usable *= track.confidence > 0.9
    curves = lip_curves(track.landmarks)
    seen = curves[usable > 0] if usable.any() else curves
    lips = (curves - seen.mean(0)) / seen.std(0).clamp_min(1e-4)
    heard = features[EARLY * STRIDE : (count + EARLY) * STRIDE]
    return Lesson(take.source.get("name", take.root.name), heard, lips[:count], usable[:count])


def open_lesson(take: Take) -> Lesson:
    """As `make_lesson`, once: kept in the Take's folder, from where a corpus of any length is read as it is needed."""
    path = take.root / "lesson.safetensors"
    key = hashlib.sha256(f"{FORMAT} {(take.root / 'take.json').read_text()}".encode()).hexdigest()
    if path.is_file():
        try:
            with safe_open(path, "pt") as file:
                note = file.metadata() or {}
                if note.get("key") == key:
                    return Lesson(note["name"], *(file.get_tensor(name) for name in ("features", "lips", "weight")))
        except (SafetensorError, OSError, KeyError):
            pass  # a damaged one only costs time
    lesson = make_lesson(take)
    if os.access(take.root, os.W_OK):
        tensors = {"features": lesson.features, "lips": lesson.lips, "weight": lesson.weight}
        plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
        stream_safetensors(plain, path, {"key": key, "name": lesson.name})
    return lesson


def teach(
    lessons: Sequence[Lesson],
    *,
    start: Path | None = None,
    steps: int = STEPS,
    seed: int = 0,
    report: Report | None = None,
) -> Encoder:
    """Fine-tune an encoder on lessons of at least 64 frames each; start: its file, the packaged one unless said."""
    lessons = [lesson for lesson in lessons if len(lesson.lips) >= CROP]
    aligned, moments = list(lessons), [round(share * steps) for share in ALIGNED]
    generator = torch.Generator().manual_seed(seed)
    encoder, teacher = load_encoder(start).train(), load_encoder(start)
    head = list(encoder.lips.parameters())
    rest = [weight for name, weight in encoder.named_parameters() if not name.startswith("lips.")]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rates, groups = [HEAD_RATE, ENCODER_RATE], [{"params": head}, {"params": rest}]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
        for step in range(steps):
            if step in moments:
                heard_lips = [_hear_now(encoder, lesson, taught=step > 0) for lesson in lessons]
                aligned = [align(*pair) for pair in zip(lessons, heard_lips, strict=True)]
            heard, wanted, weight = _batch(aligned, generator)
            with half_precision():
                perceived = perceive(heard, encoder.features)
                hidden, articulation, _ = encoder(perceived)
                with torch.no_grad():
                    held = teacher(perceived)[1]
            articulation = articulation.float()
            error = (encoder.lips(torch.cat([hidden.float(), articulation], 1)) - wanted).square().mean(1)
            loss = (error * weight).mean() + HOLD * (articulation - held.float()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if report:
                report("encoder", step + 1, steps)
    encoder.eval()
    people = [_perceive_lips(encoder, lesson) for lesson in aligned[:MOST_LESSONS]]
    found = find_directions(people, seed=seed, report=report and partial(report, "directions"))
    encoder.directions.copy_(found)
    return encoder


@torch.no_grad()
def _perceive_lips(encoder: Encoder, lesson: Lesson) -> tuple[Tensor, Tensor]:
    """What is perceived about the believed frames, and the lips' curves without what they do slowly."""
    sure = lesson.weight > 0
    return perceive_about(encode(encoder, lesson.features).perceived)[sure], without_drift(lesson.lips)[sure]


@torch.no_grad()
def _hear_now(encoder: Encoder, lesson: Lesson, *, taught: bool) -> Tensor:
    """Lip curves [T, 3] by an encoder in training; before it was taught any lips, what articulation says of them."""
    heard = encode(encoder.eval(), lesson.features)
    encoder.train()
    return heard.lips if taught else _say_lips(heard)


def _say_lips(heard: Heard) -> Tensor:
    return heard.articulation[:, [0, 0, 1]]


def align(lesson: Lesson, heard: Tensor) -> Lesson:
    """The lesson with its lips moved by up to 5 frames to where they agree best with what is heard [T, 3].

    Recordings run up to a fifth of a second early or late: lips learned at the wrong time are learned blurred.
    """
    sure, lags = lesson.weight > 0, range(-MOST_LAG, MOST_LAG + 1)
    curves = [correlate_lags(heard[:, i], lesson.lips[:, i], sure) for i in range(len(CURVES))]
    agreement = [sum(each) - LAG_COST * abs(lag) for lag, *each in zip(lags, *curves, strict=True)]
    lag = lags[agreement.index(max(agreement))]
    index = torch.arange(len(heard)) + lag
    at = index.clamp(0, len(index) - 1)
    return Lesson(lesson.name, lesson.features, lesson.lips[at], lesson.weight[at] * (index == at))


def _batch(lessons: Sequence[Lesson], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    share = torch.tensor([len(lesson.lips) ** 0.5 for lesson in lessons])  # long clips count more, but not all
    heard, wanted, weight = [], [], []
    for index in torch.multinomial(share, BATCH, replacement=True, generator=generator).tolist():
        lesson = lessons[index]
        start = int(torch.randint(len(lesson.lips) - CROP + 1, (1,), generator=generator))
        heard.append(hear_crop(lesson.features, start, CROP, DISTORTED, generator))
        wanted.append(lesson.lips[start : start + CROP].T)
        weight.append(lesson.weight[start : start + CROP])
    return torch.stack(heard), torch.stack(wanted), torch.stack(weight)


def leave_one_out(
    lessons: Sequence[Lesson],
    *,
    folds: int,
    start: Path | None = None,
    steps: int = STEPS,
    seed: int = 0,
    report: Report | None = None,
) -> list[Score]:
    """Every person by an encoder that was taught by others: in `folds` groups, each left out once.

    start: the encoder to begin with, which must not have been taught by these people already.
    """
    scores: list[Score] = []
    generic = load_encoder(start)
    for fold in range(folds):
        others = [lesson for index, lesson in enumerate(lessons) if index % folds != fold]
        encoder = teach(others, start=start, steps=steps, seed=seed)
        for lesson in lessons[fold::folds]:
            with torch.no_grad():
                before, after = (encode(each, lesson.features) for each in (generic, encoder))
            pair = (_correlate(_say_lips(before), lesson), _correlate(after.lips, lesson))
            scores.append(Score(lesson.name, *pair))
        if report:
            report("folds", fold + 1, folds)
    return sorted(scores, key=lambda score: score.name)


def _correlate(heard: Tensor, lesson: Lesson) -> dict[str, float]:
    return {name: best_correlation(heard[:, i], lesson.lips[:, i], lesson.weight > 0) for i, name in enumerate(CURVES)}
