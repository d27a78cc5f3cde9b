"""The one training loop: a trainable, a take, a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar.core.files import UserError, whole
from avatar.core.take import Take, Track, read_plate
from avatar.render.base import Trainable
from avatar.render.exposure import Exposure
from avatar.render.losses import matte_loss, picture_loss
from avatar.render.training_frames import HardExampleMiner, TrainingFrame, training_frames

MATTE_WEIGHT = 0.1  # of the loss: keeps the person opaque, and is little beside the picture
FINE_MOUTH = 6.0  # added to the weight of the mouth's pixels after `Schedule.mouth_from`
CHECKPOINT_SECONDS = 30.0  # work that a killed run loses at most
SNAPSHOT_SECONDS = 10.0  # between two calls of `watch`
MOST_FAILURES = 3  # steps that are not finite, between two checkpoints
MEAN_SHARE, MEAN_EVERY = 0.15, 8  # the last part of the budget, whose tensors are averaged; steps (docs/figures.md)


def blend(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [3, S, S] over a background [3, S, S], all 0..1; differentiable."""
    return torch.addcmul(rgb, 1 - alpha, background)


@dataclass(frozen=True)
class Schedule:
    """How long a training is, and what it does when."""

    seconds: float = math.inf  # budget
    steps: int | None = None  # to take in place of a time, so that the result does not depend on the machine's load
    mouth_from: float = 1.0  # share after which the mouth counts much more
    part: tuple[float, float] = (0.0, 1.0)  # of a longer training, that this one is

    def share(self, seconds: float, steps: int) -> float:
        """How much of it is over after so many seconds and steps, 1 at its end."""
        return steps / self.steps if self.steps else seconds / self.seconds

    @property
    def whole(self) -> bool:
        """Whether this training is all there is; a part hands on its optimizer, which a mean would end."""
        return self.part == (0.0, 1.0)

    def progress(self, share: float) -> float:
        """How much of the longer training is over."""
        first, last = self.part
        return first + share * (last - first)


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept from time to time, and the key that identifies it."""

    path: Path
    key: str


@dataclass(frozen=True)
class TrainingSnapshot:
    """A training at some moment."""

    seconds: float
    loss: float  # mean since the last
    drawn: Tensor  # [3, S, S] 0..1, the frame at hand
    truth: Tensor  # [3, S, S]


Watch = Callable[[TrainingSnapshot], None]


def train(
    trainable: Trainable,
    take: Take,
    track: Track,
    schedule: Schedule,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[float, float], None] | None = None,
    watch: Watch | None = None,
) -> list[float]:
    """Fit a trainable to the training frames of a take until the schedule is over; returns the loss of each step.

    With a checkpoint, a killed run goes on where it was last written. `progress(share of the budget, loss)` is called
    at every step, `watch` every ten seconds. A step that is not finite is undone from the last checkpoint; the fourth
    ends the run. Raises: UserError when training cannot go on.
    """
    stepper = _Stepper(trainable, take, track)
    losses: list[float] = []
    start, taken, begun = time.monotonic(), 0, _resume(trainable, checkpoint)
    recovery, snapshots = _Recovery(trainable, checkpoint), _Snapshots(watch)
    miner, mean = HardExampleMiner(), RunningMean()
    for example in training_frames(take, track, seed, miner):
        share = begun + schedule.share(time.monotonic() - start, taken)
        taken += 1
        if share >= 1:
            break
        value, drawn = stepper.step(_focus(example, share >= schedule.mouth_from), schedule.progress(share))
        if not math.isfinite(value):
            recovery.undo()
            continue
        losses.append(value)
        miner.record(example, value)
        if schedule.whole and share > 1 - MEAN_SHARE and len(losses) % MEAN_EVERY == 0:
            mean.add(trainable.tensors())
        recovery.keep(share)
        if progress:
            progress(share, value)
        snapshots.take(losses, drawn, example.image)
    if mean.count:
        trainable.restore(mean.tensors)
    if not losses:
        raise UserError(f"the budget of {schedule.seconds:g} s is too short for one training step; give more")
    if checkpoint:
        checkpoint.path.unlink(missing_ok=True)
    return losses


class RunningMean:
    """The mean of all tensors so far, by name (stochastic weight averaging, Izmailov et al. 2018)."""

    def __init__(self) -> None:
        self.count, self.tensors = 0, dict[str, Tensor]()

    def add(self, tensors: dict[str, Tensor]) -> None:
        """Take in one more; of tensors that are not floating point the last one stays."""
        self.count += 1
        if self.count == 1:
            self.tensors = tensors
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 / self.count)
            else:
                self.tensors[name] = tensor


def _focus(example: TrainingFrame, on_mouth: bool) -> TrainingFrame:
    return replace(example, weight=example.weight + FINE_MOUTH * example.mouth) if on_mouth else example


class _Stepper:
    """Takes steps: what they all need of a take, and the exposure of its frames."""

    def __init__(self, trainable: Trainable, take: Take, track: Track) -> None:
        self._trainable, self._motion = trainable, track.motion()
        self._plate = (read_plate(take).permute(2, 0, 1).float() / 255).to(trainable.device)
        self._exposure = Exposure(len(track))

    def step(self, example: TrainingFrame, progress: float) -> tuple[float, Tensor]:
        """One step; returns its loss, not a number when it could not be taken, and what was drawn [3, S, S]."""
        try:
            rgb, alpha = self._trainable.draw(self._motion, example.frame)
        except ValueError:  # the rasterizer refuses parameters that are not finite
            return math.nan, example.image
        truth, matte, weight = (part.to(rgb.device) for part in (example.image, example.matte, example.weight))
        plain = blend(rgb[0], alpha[0], self._plate)
        image = self._exposure.gain(example.frame).to(rgb.device) * plain
        loss = picture_loss(image, truth, weight) + MATTE_WEIGHT * matte_loss(alpha[0], matte)
        value = loss.item()
        if math.isfinite(value):
            try:
                loss.backward()
            except torch.cuda.OutOfMemoryError:
                if not self._trainable.reduce_memory():
                    raise
                return self.step(example, progress)
            self._trainable.update(progress)
            self._exposure.update(example.frame, plain.detach(), truth, progress)
        return value, image.detach()


class _Recovery:
    """The last tensors that were finite, in memory and in the checkpoint."""

    def __init__(self, trainable: Trainable, checkpoint: Checkpoint | None) -> None:
        self._trainable, self._checkpoint = trainable, checkpoint
        self._tensors, self._kept_at, self._failures = trainable.tensors(), time.monotonic(), 0

    def undo(self) -> None:
        """Go back to them. Raises: UserError when that happens too often."""
        self._failures += 1
        if self._failures > MOST_FAILURES:
            raise UserError("training became unstable and could not be recovered; lower the rates in the recipe")
        self._trainable.restore(self._tensors)

    def keep(self, share: float) -> None:
        """Every half minute, keep the tensors as they are after a share of the budget."""
        if time.monotonic() - self._kept_at <= CHECKPOINT_SECONDS:
            return
        self._tensors, self._kept_at, self._failures = self._trainable.tensors(), time.monotonic(), 0
        if self._checkpoint:
            with whole(self._checkpoint.path) as temporary:
                save_file(self._tensors, temporary, {"key": self._checkpoint.key, "share": str(share)})


def _resume(trainable: Trainable, checkpoint: Checkpoint | None) -> float:
    """Restore a checkpoint of the same run; returns the share of the budget already spent."""
    if checkpoint is None or not checkpoint.path.exists():
        return 0.0
    try:
        with safe_open(checkpoint.path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != checkpoint.key:
                return 0.0
            trainable.restore({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        return float(metadata["share"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return 0.0  # a damaged checkpoint only costs time


class _Snapshots:
    """Calls `watch` with a snapshot from time to time."""

    def __init__(self, watch: Watch | None) -> None:
        self._watch = watch
        self._start = self._last = time.monotonic()
        self._reported = 0  # losses

    def take(self, losses: list[float], drawn: Tensor, truth: Tensor) -> None:
        if self._watch is None or time.monotonic() - self._last <= SNAPSHOT_SECONDS:
            return
        self._last = time.monotonic()
        recent = losses[self._reported :]
        self._watch(TrainingSnapshot(self._last - self._start, sum(recent) / len(recent), drawn, truth))
        self._reported = len(losses)
