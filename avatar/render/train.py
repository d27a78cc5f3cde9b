"""The one training loop: a trainable, a take, a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from avatar.core.files import UserError, open_tensors, whole
from avatar.core.take import Take, Track
from avatar.render.base import Trainable
from avatar.render.captured import CapturedRun, chunk_of
from avatar.render.eager import EagerRun
from avatar.render.schedule import Planner, Position, Schedule
from avatar.render.step import PlannedStep, TrainingStep
from avatar.render.training_frames import HardExampleMiner, TrainingPictures, Visit, frames_to_train_on, visits
from avatar.render.validation import Validation

CHECKPOINT_SECONDS = 30.0  # work that a killed run loses at most
RECOVERY_STEPS = 1000  # work that a step which is not finite loses at most
SNAPSHOT_SECONDS = 10.0  # between two calls of `watch`
MOST_FAILURES = 3  # steps that are not finite, between two checkpoints
MEAN_SHARE, MEAN_EVERY = 0.15, 8  # the last part of the budget, whose tensors are averaged; steps (docs/lab/picture.md)


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
    begun, miner = _resume(trainable, checkpoint), HardExampleMiner()
    planner, mean = Planner(trainable, schedule, seed, begun), RunningMean()
    recovery, snapshots, losses = _Recovery(trainable, checkpoint), _Snapshots(watch), list[float]()
    frames, pictures = frames_to_train_on(take, track), TrainingPictures(take)

    def between(planned: PlannedStep) -> None:
        trainable.maintain(planned.number, planned.progress)
        if validation and validation.is_over(planned.count):
            planner.end_steady(planned.count)
        if schedule.whole and planned.share > 1 - MEAN_SHARE and planned.number % MEAN_EVERY == 0:
            mean.add(trainable.tensors())

    with _stream(trainable.device):
        step = TrainingStep(trainable, track, pictures.plate)
        validation = Validation(trainable, step, pictures, track, frames) if schedule.until_flat else None
        order = visits(validation.others(frames) if validation else frames, seed, miner)
        run = _open_run(trainable, step, pictures, track, order)
        for finished in run.steps(planner.plan, between):
            planned, value = finished.planned, finished.loss
            if not math.isfinite(value):
                recovery.undo()
                run.restart()
                mean.clear()
                continue
            losses.append(value)
            miner.record(planned.visit, value)
            if finished.settled:
                recovery.keep(planner.position(planned))
            if progress:
                progress(planned.share, value)
            snapshots.take(losses, run.shown)
        if mean.count:
            trainable.restore(mean.tensors)
    if not losses:
        raise UserError(f"the budget of {schedule.seconds:g} s is too short for one training step; give more")
    if checkpoint:
        checkpoint.path.unlink(missing_ok=True)
    return losses


def _open_run(
    trainable: Trainable, step: TrainingStep, pictures: TrainingPictures, track: Track, order: Iterator[Visit]
) -> EagerRun | CapturedRun:
    if trainable.device.type == "cuda" and trainable.rooms is not None:
        chunk = chunk_of(len(frames_to_train_on(pictures.take, track)))
        return CapturedRun(trainable, step, pictures, track, order, chunk=chunk)
    return EagerRun(trainable, step, pictures, track, order)


@contextmanager
def _stream(device: torch.device) -> Iterator[None]:
    """A GPU's stream of its own, which what is captured needs; what is queued on it is over at the end."""
    if device.type != "cuda":
        yield
        return
    before, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    stream.wait_stream(before)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


class RunningMean:
    """The mean of all tensors so far, by name (stochastic weight averaging, Izmailov et al. 2018)."""

    def __init__(self) -> None:
        self.count, self.tensors = 0, dict[str, Tensor]()

    def clear(self) -> None:
        """Begin anew, since what came in last was not finite."""
        self.count, self.tensors = 0, {}

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


class _Recovery:
    """The last tensors that were finite, in memory and in the checkpoint."""

    def __init__(self, trainable: Trainable, checkpoint: Checkpoint | None) -> None:
        self._trainable, self._checkpoint = trainable, checkpoint
        self._tensors, self._kept_at, self._steps, self._failures = trainable.tensors(), time.monotonic(), 0, 0

    def undo(self) -> None:
        """Go back to them. Raises: UserError when that happens too often."""
        self._failures += 1
        if self._failures > MOST_FAILURES:
            raise UserError("training became unstable and could not be recovered; lower the rates in the recipe")
        self._trainable.restore(self._tensors)

    def keep(self, position: Position) -> None:
        """Every half minute, and every thousand steps, keep the tensors as they are after a step."""
        due = time.monotonic() - self._kept_at > CHECKPOINT_SECONDS
        if not due and position.steps - self._steps < RECOVERY_STEPS:
            return
        self._tensors, self._steps, self._failures = self._trainable.tensors(), position.steps, 0
        if due:
            self._kept_at = time.monotonic()
            self._write(position)

    def _write(self, position: Position) -> None:
        if self._checkpoint is None:
            return
        with whole(self._checkpoint.path) as temporary:
            metadata = {"key": self._checkpoint.key} | {name: str(value) for name, value in vars(position).items()}
            save_file({name: tensor.cpu() for name, tensor in self._tensors.items()}, temporary, metadata)


def _resume(trainable: Trainable, checkpoint: Checkpoint | None) -> Position:
    """Restore a checkpoint of the same run; returns where it was."""
    if checkpoint is None or not checkpoint.path.exists():
        return Position()
    try:
        with open_tensors(checkpoint.path) as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != checkpoint.key:
                return Position()
            trainable.restore({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        return Position(float(metadata["share"]), int(metadata["steps"]), int(metadata["flat_at"]))
    except (SafetensorError, OSError, KeyError, ValueError):
        return Position()  # a damaged checkpoint only costs time


class _Snapshots:
    """Calls `watch` with a snapshot from time to time."""

    def __init__(self, watch: Watch | None) -> None:
        self._watch = watch
        self._start = self._last = time.monotonic()
        self._reported = 0  # losses

    def take(self, losses: list[float], shown: Callable[[], tuple[Tensor, Tensor]]) -> None:
        if self._watch is None or time.monotonic() - self._last <= SNAPSHOT_SECONDS:
            return
        self._last = time.monotonic()
        recent = losses[self._reported :]
        self._watch(TrainingSnapshot(self._last - self._start, sum(recent) / len(recent), *shown()))
        self._reported = len(losses)
