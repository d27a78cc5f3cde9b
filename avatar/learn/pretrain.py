"""Pre-training of the encoder on synthesized speech, in one process or, under torchrun, in many."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, distributed
from torch.nn import functional

from avatar.core.articulation import ARTICULATION, articulate, classify
from avatar.core.files import UserError, read_safetensors, whole
from avatar.core.outputs import check_output
from avatar.core.progress import Progress, no_progress
from avatar.core.threads import torch_threads
from avatar.learn.corpus import list_shards, read_corpus
from avatar.learn.crops import BATCH, CROP, random_crops
from avatar.learn.precision import half_precision
from avatar.learn.synthesizers import Utterance
from avatar.motion.encoder import STRIDE, Encoder, backbone_features, encode, save_encoder
from avatar.motion.features import DEFAULT_FEATURES, FEATURE_RATE, compute

STEPS = 2000
HELD_OUT = 1 / 25  # share of the shards
LEARNING_RATE, WEIGHT_DECAY = 1.5e-3, 0.01
WARM_UP, DECAY = 0.05, 0.7  # share of the steps in which the rate rises; power of the remaining share by which it falls
CLASS_WEIGHT = 0.1  # of the cross-entropy of 48 phone classes, an auxiliary loss, against errors of values 0..1
ARTICULATION_WEIGHTS = (1.0, 1.0, 0.7, 0.5, 1.0)  # protrusion and lip to teeth are hardly seen from in front
AUGMENTED = 0.8  # share of crops whose features are augmented
CHECKPOINT_EVERY = 500  # steps
FPS = FEATURE_RATE / STRIDE
CHECKPOINT_FORMAT = "encoder-training/1"


@dataclass(frozen=True)
class TrainingUtterance:
    """Features of an utterance, and targets from its phones."""

    features: Tensor  # [4 T, D] at 100 Hz, half precision
    articulation: Tensor  # [T, 5] 0..1
    classes: Tensor  # [T] indices into `avatar.core.articulation.CLASSES`


def pretrain(
    corpus: Path,
    out: Path,
    *,
    seed: int,
    steps: int = STEPS,
    features: str = DEFAULT_FEATURES,
    progress: Progress = no_progress,
) -> dict[str, float]:
    """Train an encoder on a corpus and write it; returns the correlation of each articulation on held-out utterances.

    A run that was stopped resumes from its last checkpoint beside `out`. Under torchrun every process trains on
    batches of its own and the first one writes. Raises: UserError when the corpus is missing or too small, or the
    checkpoint is of another run.
    """
    check_output(out, [corpus])
    shards = list_shards(corpus)
    kept = max(1, round(HELD_OUT * len(shards)))
    if len(shards) <= kept:
        raise UserError(f"{corpus}: holds {len(shards)} shard; make a corpus of 100 utterances or more")
    training = read_training_utterances(corpus, shards[kept:], features, progress)
    checkpoint = out.with_suffix(".part")
    _join_process_group()
    # torch by itself leaves out the second thread of a core; torchrun has set the threads of its processes
    with torch_threads(torch.get_num_threads() if distributed.is_initialized() else os.cpu_count() or 1):
        encoder = fit(training, features, steps=steps, seed=seed, checkpoint=checkpoint, progress=progress)
        scores = correlate_articulation(encoder, read_training_utterances(corpus, shards[:kept], features))
    if _rank() == 0:
        hours = sum(len(utterance.features) for utterance in training) / FEATURE_RATE / 3600
        note = {"seed": str(seed), "steps": str(steps), "hours": f"{hours:.2f}", "scores": json.dumps(scores)}
        save_encoder(encoder, out, note)
        checkpoint.unlink(missing_ok=True)
    return scores


def read_training_utterances(
    corpus: Path, shards: Sequence[Path], features: str = DEFAULT_FEATURES, progress: Progress = no_progress
) -> list[TrainingUtterance]:
    """Features and targets of all utterances in some shards of a corpus."""
    utterances = []
    for index, shard in enumerate(shards):
        utterances += [to_training_utterance(utterance, features) for utterance in read_corpus(corpus, [shard])]
        progress("features", index + 1, len(shards))
    return utterances


def to_training_utterance(utterance: Utterance, name: str = DEFAULT_FEATURES) -> TrainingUtterance:
    """Features and targets of an utterance, cut to whole motion frames."""
    features = compute(utterance.pcm, name)
    frames = len(features) // STRIDE
    seconds = frames / FPS
    articulation = articulate(utterance.phones, fps=FPS, seconds=seconds)
    classes = classify(utterance.phones, fps=FPS, seconds=seconds)
    return TrainingUtterance(features[: frames * STRIDE].half(), articulation, classes)


def fit(
    utterances: Sequence[TrainingUtterance],
    features: str,
    *,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress = no_progress,
) -> Encoder:
    """Train an encoder on random crops of utterances; the learning rate rises over the first steps, then falls to 0.

    checkpoint: file to resume from, where it exists, and to write to. Raises: UserError when it is of another run.
    """
    width = backbone_features(utterances[0].features[None, :STRIDE].float().mT, features).shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of the initial weights
        encoder = Encoder(width, features)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    plan = {"format": CHECKPOINT_FORMAT, "seed": str(seed), "steps": str(steps), "features": features}
    start = _resume(checkpoint, encoder, optimizer, plan) if checkpoint.exists() else 0
    # without the last frame, as the packaged encoder was trained: so its seed gives the same crops
    recordings = [(one.features, one.articulation[:-1], one.classes[:-1]) for one in utterances]
    recordings = [one for one in recordings if len(one[1]) >= CROP]
    weight = torch.tensor(ARTICULATION_WEIGHTS)[:, None]
    augmented = AUGMENTED if features == DEFAULT_FEATURES else 0.0  # columns of other features are not known
    for step in range(start, steps):
        # one generator a step: a resumed run draws what it would have drawn
        generator = torch.Generator().manual_seed((seed * steps + step) * 1000 + _rank())
        chosen = torch.randint(len(recordings), (BATCH,), generator=generator).tolist()
        crops, articulation, classes = random_crops(recordings, chosen, augmented, generator)
        share = step / steps
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (share + 1e-3) / WARM_UP) * (1 - share) ** DECAY
        with half_precision():  # the weights are in full precision
            _, predicted, logits = encoder(backbone_features(crops, features))
        loss = ((predicted.float() - articulation).square() * weight).mean()
        loss = loss + CLASS_WEIGHT * functional.cross_entropy(logits.float(), classes)
        optimizer.zero_grad()
        loss.backward()
        _average_gradients(encoder)
        optimizer.step()
        progress("encoder", step + 1, steps)
        if (step + 1) % CHECKPOINT_EVERY == 0 and _rank() == 0:
            _save(checkpoint, encoder, optimizer, plan | {"step": str(step + 1)})
    return encoder.eval()


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _join_process_group() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo")


def _average_gradients(encoder: Encoder) -> None:
    """Replace gradients by the mean of all processes', in one message."""
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
    """Restore weights and optimizer; returns the step to go on with."""
    tensors, metadata = read_safetensors(path)
    if {name: metadata.get(name) for name in plan} != plan:
        raise UserError(f"{path}: is not a checkpoint of this training; remove it to begin anew")
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
def correlate_articulation(encoder: Encoder, utterances: Sequence[TrainingUtterance]) -> dict[str, float]:
    """Correlation of predicted and true articulation over all frames of utterances, by name."""
    predicted = torch.cat([encode(encoder, one.features.float()).articulation for one in utterances])
    truth = torch.cat([one.articulation for one in utterances])
    matrix = torch.corrcoef(torch.cat([predicted, truth], 1).T)
    return {name: round(float(matrix[i, i + len(ARTICULATION)]), 3) for i, name in enumerate(ARTICULATION)}
