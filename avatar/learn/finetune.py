"""Fine-tuning of the encoder on real lips: Takes of many people, each in standard units of their own.

Pre-training on synthesized speech gives the encoder all phones of many languages; how lips move with them is learned
from people. A frozen copy of the pre-trained encoder is the teacher of its articulation (knowledge distillation, Hinton
et al. 2015), so that what few clips do not hold is not forgotten.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.optim import AdamW

from avatar.core.articulation import LIP_LEAD
from avatar.core.files import read_safetensors, stream_safetensors
from avatar.core.lips import CURVES, MOST_LAG, best_correlation, correlate_lags, lip_curves
from avatar.core.progress import Progress, no_progress
from avatar.core.take import Take, read_audio, read_track
from avatar.learn.crops import BATCH, CROP, random_crops
from avatar.learn.directions import find_directions
from avatar.learn.precision import half_precision
from avatar.motion.behaviour import detrend
from avatar.motion.encoder import STRIDE, Encoder, EncoderOutput, backbone_features, encode, load_encoder
from avatar.motion.features import compute
from avatar.motion.regression_inputs import splice_backbone

FORMAT = "training-clip/2"
STEPS = 250  # twice as many gain nothing (docs/figures.md, "Speech to motion")
HEAD_RATE, ENCODER_RATE = 2e-3, 1.5e-3  # the lip head of a pre-trained encoder is new
WEIGHT_DECAY = 0.05
AUGMENTED = 0.7  # share of crops whose features are augmented
DISTILLATION_WEIGHT = 5.0  # articulation is within 0..1, lips are in standard units: its errors are smaller numbers
LAG_COST = 0.01  # sum of three correlations that each frame of lag must gain: neighbouring lags are nearly as good
ALIGN_AT = (0.0, 0.4, 0.7)  # shares of the steps: the better the encoder, the surer are the lags
MAX_DIRECTION_CLIPS = 60  # of which directions are found, at once in memory
MIN_CONFIDENCE = 0.9  # of the tracker: below it the face is partly hidden, turned away or blurred
MIN_SPREAD = 1e-4  # of a lip curve, in eye distances: lips that never move are not amplified


@dataclass(frozen=True)
class TrainingClip:
    """One person's sound and lips."""

    name: str
    features: Tensor  # [4 T, D] at 100 Hz
    lips: Tensor  # [T, 3] lip curves, each of zero mean and unit deviation over the person's frames
    weight: Tensor  # [T] 1 where the lips were tracked well, else 0


@dataclass(frozen=True)
class FoldScore:
    """Correlations, at the best lag, of predicted and tracked lip curves of a person who was left out."""

    name: str
    before: dict[str, float]  # of the encoder that was fine-tuned
    after: dict[str, float]


def make_training_clip(take: Take) -> TrainingClip:
    """Features and lips of a Take; frames excluded from training, or tracked with low confidence, have weight 0.

    Raises: UserError when it has no sound.
    """
    track, features = read_track(take), compute(read_audio(take))
    count = min(len(features) // STRIDE, len(track)) - LIP_LEAD
    usable = torch.zeros(len(track))
    usable[take.training_frames() + list(take.test)] = 1
    usable *= track.confidence > MIN_CONFIDENCE
    curves = lip_curves(track.landmarks)
    tracked = curves[usable > 0] if usable.any() else curves
    lips = (curves - tracked.mean(0)) / tracked.std(0).clamp_min(MIN_SPREAD)
    ahead = features[LIP_LEAD * STRIDE : (count + LIP_LEAD) * STRIDE]
    return TrainingClip(take.source.get("name", take.root.name), ahead, lips[:count], usable[:count])


def open_training_clip(take: Take) -> TrainingClip:
    """As `make_training_clip`, cached in the Take's folder; tensors are mapped into memory, not read."""
    path = take.root / "training_clip.safetensors"
    key = hashlib.sha256(f"{FORMAT} {(take.root / 'take.json').read_text()}".encode()).hexdigest()
    if path.is_file():
        try:
            tensors, metadata = read_safetensors(path)
            if metadata.get("key") == key:
                return TrainingClip(metadata["name"], tensors["features"], tensors["lips"], tensors["weight"])
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
    """Fine-tune an encoder on clips; those of under 64 frames are left out.

    start: file of the encoder; the packaged one unless given. Raises: UserError for a file that is no encoder.
    """
    clips = [clip for clip in clips if len(clip.lips) >= CROP]
    aligned, moments = list(clips), [round(share * steps) for share in ALIGN_AT]
    generator = torch.Generator().manual_seed(seed)
    encoder, teacher = load_encoder(start).train(), load_encoder(start)
    head = list(encoder.lips.parameters())
    rest = [weight for name, weight in encoder.named_parameters() if not name.startswith("lips.")]
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of the dropout
        optimizer = AdamW([{"params": head}, {"params": rest}], weight_decay=WEIGHT_DECAY)
        rates = [HEAD_RATE, ENCODER_RATE]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
        for step in range(steps):
            if step in moments:
                predicted = [_predict_lips(encoder, clip, head_trained=step > 0) for clip in clips]
                aligned = [align(*pair) for pair in zip(clips, predicted, strict=True)]
            features, lips, weight = _batch(aligned, generator)
            with half_precision():
                backbone = backbone_features(features, encoder.features)
                hidden, articulation, _ = encoder(backbone)
                with torch.no_grad():
                    soft_targets = teacher(backbone)[1]
            articulation = articulation.float()
            error = (encoder.lips(torch.cat([hidden.float(), articulation], 1)) - lips).square().mean(1)
            distillation = (articulation - soft_targets.float()).square().mean()
            loss = (error * weight).mean() + DISTILLATION_WEIGHT * distillation
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress("encoder", step + 1, steps)
    encoder.eval()
    people = [_direction_data(encoder, clip) for clip in aligned[:MAX_DIRECTION_CLIPS]]
    encoder.directions.copy_(find_directions(people, seed=seed, progress=progress))
    return encoder


@torch.no_grad()
def _direction_data(encoder: Encoder, clip: TrainingClip) -> tuple[Tensor, Tensor]:
    """Spliced backbone features [N, 5 W] and detrended lip curves [N, 3] of the frames of weight 1."""
    valid = clip.weight > 0
    return splice_backbone(encode(encoder, clip.features).backbone)[valid], detrend(clip.lips)[valid]


@torch.no_grad()
def _predict_lips(encoder: Encoder, clip: TrainingClip, *, head_trained: bool) -> Tensor:
    """Lip curves [T, 3] by an encoder in training; from its articulation while the lip head is untrained."""
    encoded = encode(encoder.eval(), clip.features)
    encoder.train()
    return encoded.lips if head_trained else _articulated_lips(encoded)


def _articulated_lips(encoded: EncoderOutput) -> Tensor:
    """Opening, opening and width [T, 3] of an articulation, as stand-ins for the three lip curves."""
    return encoded.articulation[:, [0, 0, 1]]


def align(clip: TrainingClip, predicted: Tensor) -> TrainingClip:
    """Shift a clip's lips by up to 5 frames to where they correlate best with the curves predicted [T, 3].

    Sound and picture of recordings are out of sync by up to a fifth of a second, which would blur what is learned.
    """
    valid, lags = clip.weight > 0, range(-MOST_LAG, MOST_LAG + 1)
    curves = [correlate_lags(predicted[:, i], clip.lips[:, i], valid) for i in range(len(CURVES))]
    agreement = [sum(each) - LAG_COST * abs(lag) for lag, *each in zip(lags, *curves, strict=True)]
    index = torch.arange(len(predicted)) + lags[agreement.index(max(agreement))]
    inside = index.clamp(0, len(index) - 1)
    return replace(clip, lips=clip.lips[inside], weight=clip.weight[inside] * (index == inside))


def _batch(clips: Sequence[TrainingClip], generator: torch.Generator) -> list[Tensor]:
    """Features [B, D, 256], lips [B, 3, 64] and weights [B, 64] of random crops."""
    share = torch.tensor([len(clip.lips) ** 0.5 for clip in clips])  # long clips count more, but less than their length
    chosen = torch.multinomial(share, BATCH, replacement=True, generator=generator).tolist()
    recordings = [(clip.features, clip.lips, clip.weight) for clip in clips]
    return random_crops(recordings, chosen, AUGMENTED, generator)


def leave_one_out(
    clips: Sequence[TrainingClip],
    *,
    folds: int,
    start: Path | None = None,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> list[FoldScore]:
    """Cross-validation: every person by an encoder fine-tuned on others, in `folds` groups, each left out once.

    start: file of the encoder to fine-tune, which must not have been fine-tuned on these people already.
    """
    scores: list[FoldScore] = []
    generic = load_encoder(start)
    for fold in range(folds):
        others = [clip for index, clip in enumerate(clips) if index % folds != fold]
        encoder = finetune(others, start=start, steps=steps, seed=seed)
        for clip in clips[fold::folds]:
            with torch.no_grad():
                before, after = (encode(each, clip.features) for each in (generic, encoder))
            pair = _correlate(_articulated_lips(before), clip), _correlate(after.lips, clip)
            scores.append(FoldScore(clip.name, *pair))
        progress("folds", fold + 1, folds)
    return sorted(scores, key=lambda score: score.name)


def _correlate(predicted: Tensor, clip: TrainingClip) -> dict[str, float]:
    valid = clip.weight > 0
    return {name: best_correlation(predicted[:, i], clip.lips[:, i], valid) for i, name in enumerate(CURVES)}
