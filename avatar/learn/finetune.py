"""The encoder taught by real lips: Takes of many people, each in standard units of their own.

Synthesized speech teaches which sounds there are; how lips move with them real people know better. What the encoder has
learned from synthesized speech is held by keeping its articulation where it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from avatar.core.files import stream_safetensors
from avatar.core.lips import CURVES, MOST_LAG, best_correlation, correlate_lags, lip_curves
from avatar.core.progress import Progress, no_progress
from avatar.core.take import Take, read_audio, read_track
from avatar.learn.augmentation import augmented_crop
from avatar.learn.directions import find_directions
from avatar.learn.precision import half_precision
from avatar.motion.behaviour import detrend
from avatar.motion.encoder import (
    STRIDE,
    Encoder,
    EncoderOutput,
    backbone_features,
    encode,
    load_encoder,
)
from avatar.motion.features import compute
from avatar.motion.regression_inputs import splice_backbone

FORMAT = "training-clip/2"
STEPS = 250
CROP = 64  # motion frames
BATCH = 12
HEAD_RATE, ENCODER_RATE = 2e-3, 1.5e-3
AUGMENTED = 0.7  # share of what is heard that is another voice in another room
HOLD = 5.0  # weight of staying with the synthesized articulation, which lies within 0..1
EARLY = 1  # frames by which real lips run before the articulation that the encoder was taught
LAG_COST = 0.01  # correlation that a frame of lag must gain
MOST_CLIPS = 60  # of which directions are found, at once in memory
ALIGNED = (0.0, 0.4, 0.7)  # shares of the steps after which sound and lips of each person are brought together


@dataclass(frozen=True)
class TrainingClip:
    """One person's sound and lips."""

    name: str
    features: Tensor  # [4 T, D]
    lips: Tensor  # [T, 3] curves, each of zero mean and unit deviation
    weight: Tensor  # [T] 1 where the lips are to be believed


@dataclass(frozen=True)
class FoldScore:
    """Correlation of heard and real lips of a person that was not learned from, at the best lag."""

    name: str
    before: dict[str, float]  # of the encoder as it was
    after: dict[str, float]


def make_training_clip(take: Take) -> TrainingClip:
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
    return TrainingClip(take.source.get("name", take.root.name), heard, lips[:count], usable[:count])


def open_training_clip(take: Take) -> TrainingClip:
    """As `make_lesson`, once: kept in the Take's folder, from where a corpus of any length is read as it is needed."""
    path = take.root / "training_clip.safetensors"
    key = hashlib.sha256(f"{FORMAT} {(take.root / 'take.json').read_text()}".encode()).hexdigest()
    if path.is_file():
        try:
            with safe_open(path, "pt") as file:
                note = file.metadata() or {}
                if note.get("key") == key:
                    return TrainingClip(
                        note["name"], *(file.get_tensor(name) for name in ("features", "lips", "weight"))
                    )
        except (SafetensorError, OSError, KeyError):
            pass  # a damaged one only costs time
    clip = make_training_clip(take)
    if os.access(take.root, os.W_OK):
        tensors = {"features": clip.features, "lips": clip.lips, "weight": clip.weight}
        plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
        stream_safetensors(plain, path, {"key": key, "name": clip.name})
    return clip


def finetune(
    clips: Sequence[TrainingClip],
    *,
    start: Path | None = None,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Encoder:
    """Fine-tune an encoder on lessons of at least 64 frames each; start: its file, the packaged one unless said."""
    clips = [clip for clip in clips if len(clip.lips) >= CROP]
    aligned, moments = list(clips), [round(share * steps) for share in ALIGNED]
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
                heard_lips = [_hear_now(encoder, clip, taught=step > 0) for clip in clips]
                aligned = [align(*pair) for pair in zip(clips, heard_lips, strict=True)]
            heard, wanted, weight = _batch(aligned, generator)
            with half_precision():
                backbone = backbone_features(heard, encoder.features)
                hidden, articulation, _ = encoder(backbone)
                with torch.no_grad():
                    held = teacher(backbone)[1]
            articulation = articulation.float()
            error = (encoder.lips(torch.cat([hidden.float(), articulation], 1)) - wanted).square().mean(1)
            loss = (error * weight).mean() + HOLD * (articulation - held.float()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress("encoder", step + 1, steps)
    encoder.eval()
    people = [_perceive_lips(encoder, clip) for clip in aligned[:MOST_CLIPS]]
    found = find_directions(people, seed=seed, progress=progress)
    encoder.directions.copy_(found)
    return encoder


@torch.no_grad()
def _perceive_lips(encoder: Encoder, clip: TrainingClip) -> tuple[Tensor, Tensor]:
    """What is perceived about the believed frames, and the lips' curves without what they do slowly."""
    sure = clip.weight > 0
    return splice_backbone(encode(encoder, clip.features).backbone)[sure], detrend(clip.lips)[sure]


@torch.no_grad()
def _hear_now(encoder: Encoder, clip: TrainingClip, *, taught: bool) -> Tensor:
    """Lip curves [T, 3] by an encoder in training; before it was taught any lips, what articulation says of them."""
    heard = encode(encoder.eval(), clip.features)
    encoder.train()
    return heard.lips if taught else _say_lips(heard)


def _say_lips(heard: EncoderOutput) -> Tensor:
    return heard.articulation[:, [0, 0, 1]]


def align(clip: TrainingClip, heard: Tensor) -> TrainingClip:
    """The lesson with its lips moved by up to 5 frames to where they agree best with what is heard [T, 3].

    Recordings run up to a fifth of a second early or late: lips learned at the wrong time are learned blurred.
    """
    sure, lags = clip.weight > 0, range(-MOST_LAG, MOST_LAG + 1)
    curves = [correlate_lags(heard[:, i], clip.lips[:, i], sure) for i in range(len(CURVES))]
    agreement = [sum(each) - LAG_COST * abs(lag) for lag, *each in zip(lags, *curves, strict=True)]
    lag = lags[agreement.index(max(agreement))]
    index = torch.arange(len(heard)) + lag
    at = index.clamp(0, len(index) - 1)
    return TrainingClip(clip.name, clip.features, clip.lips[at], clip.weight[at] * (index == at))


def _batch(clips: Sequence[TrainingClip], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    share = torch.tensor([len(clip.lips) ** 0.5 for clip in clips])  # long clips count more, but not all
    heard, wanted, weight = [], [], []
    for index in torch.multinomial(share, BATCH, replacement=True, generator=generator).tolist():
        clip = clips[index]
        start = int(torch.randint(len(clip.lips) - CROP + 1, (1,), generator=generator))
        heard.append(augmented_crop(clip.features, start, CROP, AUGMENTED, generator))
        wanted.append(clip.lips[start : start + CROP].T)
        weight.append(clip.weight[start : start + CROP])
    return torch.stack(heard), torch.stack(wanted), torch.stack(weight)


def leave_one_out(
    clips: Sequence[TrainingClip],
    *,
    folds: int,
    start: Path | None = None,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> list[FoldScore]:
    """Every person by an encoder that was taught by others: in `folds` groups, each left out once.

    start: the encoder to begin with, which must not have been taught by these people already.
    """
    scores: list[FoldScore] = []
    generic = load_encoder(start)
    for fold in range(folds):
        others = [clip for index, clip in enumerate(clips) if index % folds != fold]
        encoder = finetune(others, start=start, steps=steps, seed=seed)
        for clip in clips[fold::folds]:
            with torch.no_grad():
                before, after = (encode(each, clip.features) for each in (generic, encoder))
            pair = (_correlate(_say_lips(before), clip), _correlate(after.lips, clip))
            scores.append(FoldScore(clip.name, *pair))
        progress("folds", fold + 1, folds)
    return sorted(scores, key=lambda score: score.name)


def _correlate(heard: Tensor, clip: TrainingClip) -> dict[str, float]:
    return {name: best_correlation(heard[:, i], clip.lips[:, i], clip.weight > 0) for i, name in enumerate(CURVES)}
