"""Steps of training on a GPU, each the replay of one CUDA graph, several queued ahead: the card never waits.

Frames lie on the card as bytes, as many as fit; the others are copied to it through pinned memory before their chunk.
The host plans a chunk of steps (frames, rates, noise), queues it, and reads the losses of the one before.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.take import Track
from avatar.render.base import StepInputs, Trainable
from avatar.render.frame_pool import FramePool
from avatar.render.step import FinishedStep, Plan, PlannedStep, TrainingStep, make_inputs
from avatar.render.training_frames import TrainingPictures, Visit

MOST_STEPS = 25  # of a chunk: what is not finite is found at the end of the next one, within 50 steps
SETTLED_EVERY = 40  # chunks after which the card is waited for, so that tensors can be kept: a hundredth of a second
WARM_UP_STEPS = 3  # before a capture, which must not make anything for the first time
Replay = Callable[[], None]
Capture = Callable[[Replay, tuple[torch.Generator, ...]], Replay]


def capture_graph(step: Replay, generators: tuple[torch.Generator, ...]) -> Replay:
    """What runs a step, recorded once from the current stream."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        step()
    return graph.replay


def chunk_of(frames: int) -> int:
    """Steps of a chunk: two of them must not be longer than an epoch, whose losses the next but one needs."""
    return max(1, min(MOST_STEPS, frames // 2))


@dataclass
class _Chunk:
    steps: list[PlannedStep]
    losses: Tensor  # [C] on the host
    needed: Tensor  # [rooms] int64 on the host
    over: torch.cuda.Event | None
    queued_at: float  # seconds


class CapturedRun:
    """Runs steps in chunks; one is queued while the one before runs."""

    def __init__(
        self,
        trainable: Trainable,
        step: TrainingStep,
        pictures: TrainingPictures,
        track: Track,
        order: Iterator[Visit],
        *,
        chunk: int,
        capture: Capture = capture_graph,
        most_bytes: int | None = None,
    ) -> None:
        """chunk: steps of one; most_bytes: of the frames on the card (default: a share of what is free)."""
        self._trainable, self._training, self._order, self._capture = trainable, step, order, capture
        self._chunk, device = chunk, trainable.device
        self._pool = FramePool(pictures, track, device, streamed=chunk, most_bytes=most_bytes)
        self._where = torch.zeros(chunk, 2, dtype=torch.int64, device=device)  # row in the pool, frame
        self._values = torch.zeros(chunk, 5 + trainable.features, device=device)
        self._losses, self._at = torch.zeros(chunk, device=device), torch.zeros(1, dtype=torch.int64, device=device)
        self._replay: Replay | None = None
        self._shown: tuple[Tensor, Tensor] | None = None
        self._void = False  # what is queued is of parameters that were given up
        self._seconds, self._finished_at = 0.0, 0.0  # a step lately takes; when the last chunk was over

    def steps(self, plan: Plan, between: Callable[[PlannedStep], None]) -> Iterator[FinishedStep]:
        """Steps as they are finished, until none is planned any more; `between` is called when each one was queued."""
        queued: _Chunk | None = None
        for turn in itertools.count():
            planned = self._plan(plan)
            chunk = self._queue(planned, turn, between) if planned else None
            if queued:
                yield from self._finish(queued, settled=chunk is None)
            if chunk and turn % SETTLED_EVERY == 0 and not self._void:
                yield from self._finish(chunk, settled=True)
                chunk = None
            if not planned:
                return
            queued, self._void = None if self._void else chunk, False

    def restart(self) -> None:
        """After the trainable was restored: what is queued counts no more, and the step is captured anew."""
        self._replay, self._void = None, True

    def shown(self) -> tuple[Tensor, Tensor]:
        """The last frame as it was drawn, and the truth, [3, S, S] 0..1."""
        if self._shown is None:
            raise RuntimeError("no step was taken yet")
        drawn, truth = self._shown
        return drawn.clone(), truth.clone()

    def _plan(self, plan: Plan) -> list[PlannedStep]:
        """The next steps; the first of them runs when those that are queued are over."""
        planned = list[PlannedStep]()
        for index in range(self._chunk):
            one = plan(next(self._order), (self._chunk + index) * self._seconds)
            if one is None:
                break
            planned.append(one)
        return planned

    def _queue(self, planned: list[PlannedStep], turn: int, between: Callable[[PlannedStep], None]) -> _Chunk:
        frames = [one.visit.frame for one in planned]
        rows = torch.tensor([self._pool.rows(frames, turn), frames]).T
        self._where[: len(planned)].copy_(_pinned(rows, self._where.device), non_blocking=True)
        values = torch.cat([one.values() for one in planned])
        self._values[: len(planned)].copy_(_pinned(values, self._values.device), non_blocking=True)
        self._at.zero_()
        rooms = self._trainable.rooms or ()
        for index, one in enumerate(planned):
            if self._replay is None and index == 0:
                self._fit_rooms()
            if self._replay is None and index == WARM_UP_STEPS:
                self._replay = self._capture(self._step, self._trainable.generators)
            (self._replay or self._step)()
            between(one)
        needed = torch.cat([room.needed for room in rooms])
        return _Chunk(planned, _to_host(self._losses), _to_host(needed), _mark(self._losses.device), time.monotonic())

    def _finish(self, chunk: _Chunk, *, settled: bool) -> Iterator[FinishedStep]:
        """Wait for a chunk; its steps, and larger rooms where they are almost full."""
        if chunk.over:
            chunk.over.synchronize()
        begun, self._finished_at = max(chunk.queued_at, self._finished_at), time.monotonic()
        self._seconds = (self._finished_at - begun) / len(chunk.steps)
        for room, needed in zip(self._trainable.rooms or (), chunk.needed.tolist(), strict=True):
            if room.resize(needed):
                self._replay = None
        for index, (planned, loss) in enumerate(zip(chunk.steps, chunk.losses.tolist(), strict=False), 1):
            yield FinishedStep(planned, loss, settled and index == len(chunk.steps))
            if self._void:
                return

    def _step(self) -> None:
        """One step from the row that `_at` counts; ends in its loss, and the count of the next."""
        inputs = self._inputs()
        measured = self._training.measure(inputs)
        self._training.learn(inputs, measured)
        self._losses.index_copy_(0, self._at, measured.loss.detach()[None])
        self._at.add_(1)
        self._shown = measured.composed.image.detach(), measured.composed.truth

    def _inputs(self) -> StepInputs:
        row, frame = self._where[self._at].split(1, 1)
        (picture,), (blobs,) = self._pool.pictures.index_select(0, row[0]), self._pool.blobs[frame[0]]
        return make_inputs(frame[0], picture, blobs, self._values[self._at])

    def _fit_rooms(self) -> None:
        """Make the rooms large enough for a frame; there is little to go by before the first."""
        while True:
            self._trainable.draw(self._inputs())
            rooms = self._trainable.rooms or ()
            if not any([room.resize(int(room.needed)) for room in rooms]):
                return


def _pinned(values: Tensor, device: torch.device) -> Tensor:
    return values.pin_memory() if device.type == "cuda" else values


def _to_host(values: Tensor) -> Tensor:
    """A copy on the host, which is there when the stream has come so far."""
    if values.device.type != "cuda":
        return values.clone()
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)


def _mark(device: torch.device) -> torch.cuda.Event | None:
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record()
    return event
