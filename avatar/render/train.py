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
from avatar.render.base import Trainable, random_generator
from avatar.render.captured import CapturedRun, chunk_of
from avatar.render.eager import EagerRun
from avatar.render.step import PlannedStep, TrainingStep
from avatar.render.training_frames import HardExampleMiner, TrainingPictures, Visit, frames_to_train_on, visits

CHECKPOINT_SECONDS = 30.0  # work that a killed run loses at most
RECOVERY_STEPS = 1000  # work that a step which is not finite loses at most
SNAPSHOT_SECONDS = 10.0  # between two calls of `watch`
MOST_FAILURES = 3  # steps that are not finite, between two checkpoints
MEAN_SHARE, MEAN_EVERY = 0.15, 8  # the last part of the budget, whose tensors are averaged; steps (docs/lab/picture.md)


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
    begun, miner = _resume(trainable, checkpoint), HardExampleMiner()
    planner, mean = _Planner(trainable, schedule, seed, begun), RunningMean()
    recovery, snapshots, losses = _Recovery(trainable, checkpoint), _Snapshots(watch), list[float]()

    def between(planned: PlannedStep) -> None:
        trainable.maintain(planned.number, planned.progress)
        if schedule.whole and planned.share > 1 - MEAN_SHARE and planned.number % MEAN_EVERY == 0:
            mean.add(trainable.tensors())

    with _stream(trainable.device):
        run = _open_run(trainable, take, track, seed, miner)
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
                recovery.keep(planned)
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
    trainable: Trainable, take: Take, track: Track, seed: int, miner: HardExampleMiner
) -> EagerRun | CapturedRun:
    frames, pictures = frames_to_train_on(take, track), TrainingPictures(take)
    step = TrainingStep(trainable, track, pictures.plate)
    order = visits(frames, seed, miner)
    if trainable.device.type == "cuda" and trainable.rooms is not None:
        return CapturedRun(trainable, step, pictures, track, order, chunk=chunk_of(len(frames)))
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


class _Planner:
    """Plans steps until the schedule is over."""

    def __init__(self, trainable: Trainable, schedule: Schedule, seed: int, begun: float) -> None:
        """begun: share of the budget that was spent before."""
        self._trainable, self._schedule, self._begun = trainable, schedule, begun
        self._noise, self._taken, self._start = random_generator(seed), 0, time.monotonic()

    def plan(self, visit: Visit, ahead: float = 0.0) -> PlannedStep | None:
        """The step of a frame's visit, that will run so many seconds ahead from now; None when the budget is spent."""
        seconds = time.monotonic() - self._start + ahead
        share = self._begun + self._schedule.share(seconds, self._taken)
        if share >= 1:
            return None
        self._taken += 1
        number, progress = self._trainable.advance(), self._schedule.progress(share)
        noise = torch.randn(1, self._trainable.features, generator=self._noise)
        rate, on_mouth = self._trainable.rate(number, progress), share >= self._schedule.mouth_from
        return PlannedStep(visit, number, share, progress, rate, on_mouth, noise)


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
        self._tensors, self._kept_at, self._number, self._failures = trainable.tensors(), time.monotonic(), 0, 0

    def undo(self) -> None:
        """Go back to them. Raises: UserError when that happens too often."""
        self._failures += 1
        if self._failures > MOST_FAILURES:
            raise UserError("training became unstable and could not be recovered; lower the rates in the recipe")
        self._trainable.restore(self._tensors)
        self._number = 0

    def keep(self, planned: PlannedStep) -> None:
        """Every half minute, and every thousand steps, keep the tensors as they are after a step."""
        due = time.monotonic() - self._kept_at > CHECKPOINT_SECONDS
        if not due and planned.number - self._number < RECOVERY_STEPS:
            return
        self._tensors, self._number, self._failures = self._trainable.tensors(), planned.number, 0
        if due:
            self._kept_at = time.monotonic()
            self._write(planned.share)

    def _write(self, share: float) -> None:
        if self._checkpoint is None:
            return
        with whole(self._checkpoint.path) as temporary:
            metadata = {"key": self._checkpoint.key, "share": str(share)}
            save_file({name: tensor.cpu() for name, tensor in self._tensors.items()}, temporary, metadata)


def _resume(trainable: Trainable, checkpoint: Checkpoint | None) -> float:
    """Restore a checkpoint of the same run; returns the share of the budget already spent."""
    if checkpoint is None or not checkpoint.path.exists():
        return 0.0
    try:
        with open_tensors(checkpoint.path) as file:
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

    def take(self, losses: list[float], shown: Callable[[], tuple[Tensor, Tensor]]) -> None:
        if self._watch is None or time.monotonic() - self._last <= SNAPSHOT_SECONDS:
            return
        self._last = time.monotonic()
        recent = losses[self._reported :]
        self._watch(TrainingSnapshot(self._last - self._start, sum(recent) / len(recent), *shown()))
        self._reported = len(losses)
