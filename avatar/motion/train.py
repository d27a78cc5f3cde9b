"""Pre-training of the encoder that ships: `avatar a2m pretrain`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.articulation import ARTICULATION, articulate, classify
from avatar.motion.corpus import distort, make_corpus
from avatar.motion.encoder import STRIDE, Encoder, save_encoder
from avatar.motion.features import RATE, LogMel, compute

SENTENCES = 1600
HELD_OUT = 60
CROP = 64  # motion frames
BATCH = 12
RATE_OF_LEARNING = 1.5e-3
CLASS_WEIGHT = 0.1
FPS = RATE / STRIDE

Example = tuple[Tensor, Tensor, Tensor]  # features [t, D], articulation [t / 4, 5], classes [t / 4]


def pretrain(
    out: Path,
    *,
    minutes: float,
    seed: int,
    sentences: int = SENTENCES,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, float]:
    """Synthesize a corpus, train the encoder for `minutes`, write it; returns correlations on held-out sentences."""
    report = progress or (lambda stage, share: None)
    examples: list[Example] = []
    for utterance in make_corpus(sentences, seed=seed):
        examples.append(_to_example(compute(utterance.pcm), utterance.phones))
        report("corpus", len(examples) / sentences)
    held_out, training = examples[:HELD_OUT], examples[HELD_OUT:]
    encoder = fit(training, minutes=minutes, seed=seed, report=report)
    scores = score(encoder, held_out)
    hours = sum(len(features) for features, _, _ in training) / RATE / 3600
    note = {"seed": str(seed), "minutes": f"{minutes:g}", "hours": f"{hours:.2f}", "scores": str(scores)}
    save_encoder(encoder, out, "logmel", note)
    return scores


def _to_example(features: Tensor, phones: list) -> Example:
    frames = len(features) // STRIDE
    seconds = frames / FPS
    targets = articulate(phones, fps=FPS, seconds=seconds), classify(phones, fps=FPS, seconds=seconds)
    return features[: frames * STRIDE], *targets


def fit(examples: list[Example], *, minutes: float, seed: int, report: Callable[[str, float], None]) -> Encoder:
    """Train an encoder on random crops for a given time; one-cycle learning rate."""
    torch.manual_seed(seed)  # the only place where weights are drawn
    generator = torch.Generator().manual_seed(seed)
    encoder = Encoder(LogMel.width)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=RATE_OF_LEARNING, weight_decay=0.01)
    usable = [example for example in examples if len(example[1]) > CROP]
    start = time.monotonic()
    while (share := (time.monotonic() - start) / (minutes * 60)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE_OF_LEARNING * min(1.0, share / 0.05) * (1 - share) ** 0.7
        features, articulation, classes = _batch(usable, generator)
        _, predicted, logits = encoder(features)
        error = (predicted - articulation).square() * torch.tensor([1.0, 1.0, 0.7, 0.5, 1.0])[:, None]
        loss = error.mean() + CLASS_WEIGHT * functional.cross_entropy(logits, classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report("encoder", share)
    return encoder.eval()


def _batch(examples: list[Example], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    chosen = torch.randint(len(examples), (BATCH,), generator=generator).tolist()
    parts = []
    for index in chosen:
        features, articulation, classes = examples[index]
        start = int(torch.randint(len(articulation) - CROP, (1,), generator=generator))
        window = features[start * STRIDE : (start + CROP) * STRIDE]
        parts.append(
            (distort(window, generator).T, articulation[start : start + CROP].T, classes[start : start + CROP])
        )
    return tuple(torch.stack(items) for items in zip(*parts, strict=True))  # type: ignore[return-value]


@torch.no_grad()
def score(encoder: Encoder, examples: list[Example]) -> dict[str, float]:
    """Correlation of predicted and true articulation over sentences the encoder has not seen."""
    predicted = torch.cat([encoder(features.T[None])[1][0].T for features, _, _ in examples])
    truth = torch.cat([articulation for _, articulation, _ in examples])
    matrix = torch.corrcoef(torch.cat([predicted, truth], 1).T)
    return {name: round(float(matrix[i, i + len(ARTICULATION)]), 3) for i, name in enumerate(ARTICULATION)}
