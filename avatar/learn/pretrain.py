"""Pre-training of the encoder that ships: `avatar a2m pretrain`, on one machine or, under torchrun, on many."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed
from torch.nn import functional

from avatar.core.articulation import ARTICULATION, articulate, classify
from avatar.core.files import UserError, whole
from avatar.core.progress import Progress, no_progress
from avatar.learn.augmentation import augmented_crop
from avatar.learn.corpus import list_shards, read_corpus
from avatar.learn.precision import half_precision
from avatar.learn.synthesizers import Utterance
from avatar.motion.encoder import STRIDE, Encoder, backbone_features, encode, save_encoder
from avatar.motion.features import DEFAULT_FEATURES, FEATURE_RATE, compute

STEPS = 2000
HELD_OUT = 1 / 25  # share of the shards
CROP = 64  # motion frames
BATCH = 12
LEARNING_RATE = 1.5e-3
WARM_UP, DECAY = 0.05, 0.7
CLASS_WEIGHT = 0.1
AUGMENTED = 0.8  # share of what is heard that is yet another voice and room
CHECKPOINT_EVERY = 500
FPS = FEATURE_RATE / STRIDE
CHECKPOINT_FORMAT = "encoder-training/1"


@dataclass(frozen=True)
class TrainingUtterance:
    """What is heard of an utterance, and what the mouth does meanwhile."""

    features: Tensor  # [4 T, D] half precision
    articulation: Tensor  # [T, 5]
    classes: Tensor  # [T]


def pretrain(
    corpus: Path,
    out: Path,
    *,
    seed: int,
    steps: int = STEPS,
    features: str = DEFAULT_FEATURES,
    progress: Progress = no_progress,
) -> dict[str, float]:
    """Train the encoder on a corpus and write it; returns correlations on held-out utterances.

    A run that was stopped goes on from its last checkpoint beside `out`. Under torchrun every process trains on
    batches of its own and the first one writes.
    """
    shards = list_shards(corpus)
    kept = max(1, round(HELD_OUT * len(shards)))
    if len(shards) <= kept:
        raise UserError(f"{corpus}: holds {len(shards)} shard; make a corpus of 100 utterances or more")
    training = read_training_utterances(corpus, shards[kept:], features, progress)
    encoder = fit(training, features, steps=steps, seed=seed, checkpoint=out.with_suffix(".part"), progress=progress)
    scores = score(encoder, read_training_utterances(corpus, shards[:kept], features))
    if _rank() == 0:
        hours = sum(len(example.features) for example in training) / FEATURE_RATE / 3600
        note = {"seed": str(seed), "steps": str(steps), "hours": f"{hours:.2f}", "scores": json.dumps(scores)}
        save_encoder(encoder, out, note)
        out.with_suffix(".part").unlink(missing_ok=True)
    return scores


def read_training_utterances(
    corpus: Path, shards: Sequence[Path], features: str = DEFAULT_FEATURES, progress: Progress = no_progress
) -> list[TrainingUtterance]:
    """What there is to learn in some shards of a corpus."""
    examples = []
    for index, shard in enumerate(shards):
        examples += [to_training_utterance(utterance, features) for utterance in read_corpus(corpus, [shard])]
        progress("features", index + 1, len(shards))
    return examples


def to_training_utterance(utterance: Utterance, name: str = DEFAULT_FEATURES) -> TrainingUtterance:
    """Features and targets of an utterance, cut to whole motion frames."""
    features = compute(utterance.pcm, name)
    frames = len(features) // STRIDE
    seconds = frames / FPS
    articulation = articulate(utterance.phones, fps=FPS, seconds=seconds)
    classes = classify(utterance.phones, fps=FPS, seconds=seconds)
    return TrainingUtterance(features[: frames * STRIDE].half(), articulation, classes)


def fit(
    examples: Sequence[TrainingUtterance],
    features: str,
    *,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress = no_progress,
) -> Encoder:
    """Train an encoder on random crops; the learning rate rises over the first steps, then falls to nothing."""
    _join()
    if not distributed.is_initialized():
        torch.set_num_threads(os.cpu_count() or 1)  # torch by itself leaves out the second thread of a core
    torch.manual_seed(seed)  # the only place where weights are drawn
    encoder = Encoder(backbone_features(examples[0].features[None, :STRIDE].float().mT, features).shape[1], features)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    plan = {"format": CHECKPOINT_FORMAT, "seed": str(seed), "steps": str(steps), "features": features}
    start = _resume(checkpoint, encoder, optimizer, plan) if checkpoint.exists() else 0
    usable = [example for example in examples if len(example.articulation) > CROP]
    weight = torch.tensor([1.0, 1.0, 0.7, 0.5, 1.0])[:, None]
    share_distorted = AUGMENTED if features == DEFAULT_FEATURES else 0.0  # other features are not known well enough
    for step in range(start, steps):
        # one generator a step: a resumed run draws what it would have drawn
        generator = torch.Generator().manual_seed((seed * steps + step) * 1000 + _rank())
        heard, articulation, classes = _batch(usable, share_distorted, generator)
        share = step / steps
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (share + 1e-3) / WARM_UP) * (1 - share) ** DECAY
        with half_precision():  # the weights are in full precision
            _, predicted, logits = encoder(backbone_features(heard, features))
        loss = ((predicted.float() - articulation).square() * weight).mean()
        loss = loss + CLASS_WEIGHT * functional.cross_entropy(logits.float(), classes)
        optimizer.zero_grad()
        loss.backward()
        _share_gradients(encoder)
        optimizer.step()
        progress("encoder", step + 1, steps)
        if (step + 1) % CHECKPOINT_EVERY == 0 and _rank() == 0:
            _save(checkpoint, encoder, optimizer, plan | {"step": str(step + 1)})
    return encoder.eval()


def _batch(
    examples: Sequence[TrainingUtterance], share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    heard, articulation, classes = [], [], []
    for index in torch.randint(len(examples), (BATCH,), generator=generator).tolist():
        example = examples[index]
        start = int(torch.randint(len(example.articulation) - CROP, (1,), generator=generator))
        heard.append(augmented_crop(example.features, start, CROP, share, generator))
        articulation.append(example.articulation[start : start + CROP].T)
        classes.append(example.classes[start : start + CROP])
    return torch.stack(heard), torch.stack(articulation), torch.stack(classes)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _join() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo")


def _share_gradients(encoder: Encoder) -> None:
    """The mean of all processes' gradients, as one message."""
    if not distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _save(path: Path, encoder: Encoder, optimizer: torch.optim.Optimizer, note: dict[str, str]) -> None:
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    with whole(path) as temporary:
        save_file(tensors, temporary, note)


def _resume(path: Path, encoder: Encoder, optimizer: torch.optim.Optimizer, plan: dict[str, str]) -> int:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if {name: metadata.get(name) for name in plan} != plan:
            raise UserError(f"{path}: is not a checkpoint of this training; remove it to begin anew")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    prefix = "encoder."
    encoder.load_state_dict({name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["step"])


@torch.no_grad()
def score(encoder: Encoder, examples: Sequence[TrainingUtterance]) -> dict[str, float]:
    """Correlation of predicted and true articulation over utterances the encoder has not seen."""
    predicted = torch.cat([encode(encoder, example.features.float()).articulation for example in examples])
    truth = torch.cat([example.articulation for example in examples])
    matrix = torch.corrcoef(torch.cat([predicted, truth], 1).T)
    return {name: round(float(matrix[i, i + len(ARTICULATION)]), 3) for i, name in enumerate(ARTICULATION)}
