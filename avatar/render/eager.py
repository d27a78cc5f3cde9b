"""Steps of training one by one: the processor's, and a GPU's where a step cannot be captured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing

import torch
from torch import Tensor

from avatar.core.take import Track
from avatar.render.base import Trainable
from avatar.render.step import FinishedStep, Plan, PlannedStep, TrainingStep, make_inputs
from avatar.render.training_frames import Decoder, TrainingFrame, TrainingPictures, Visit, decode_ahead


class EagerRun:
    """Runs each step when the one before is over; frames are decoded ahead."""

    def __init__(
        self,
        trainable: Trainable,
        step: TrainingStep,
        pictures: TrainingPictures,
        track: Track,
        order: Iterator[Visit],
    ) -> None:
        self._trainable, self._step = trainable, step
        self._frames = decode_ahead(order, Decoder(pictures, track))
        self._shown: tuple[Tensor, Tensor] | None = None

    def steps(self, plan: Plan, between: Callable[[PlannedStep], None]) -> Iterator[FinishedStep]:
        """Steps as they are finished, until none is planned any more; `between` follows each one that was taken."""
        with closing(self._frames) as frames:
            for frame in frames:
                planned = plan(frame.visit)
                if planned is None:
                    return
                loss = self._take(planned, frame)
                if math.isfinite(loss):
                    between(planned)
                yield FinishedStep(planned, loss, settled=True)

    def restart(self) -> None:
        """After the trainable was restored: each step finds its tensors anew."""

    def shown(self) -> tuple[Tensor, Tensor]:
        """The last frame as it was drawn, and the truth, [3, S, S] 0..1."""
        if self._shown is None:
            raise RuntimeError("no step was taken yet")
        return self._shown

    def _take(self, planned: PlannedStep, frame: TrainingFrame) -> float:
        """The loss of a step; not a number when it could not be taken."""
        device = self._trainable.device
        parts = torch.tensor([planned.visit.frame]), frame.picture, frame.blobs, planned.values()
        inputs = make_inputs(*(part.to(device) for part in parts))
        try:
            measured = self._step.measure(inputs)
        except ValueError:  # the rasterizer refuses parameters that are not finite
            return math.nan
        self._shown = measured.composed.image.detach(), measured.composed.truth
        loss = measured.loss.item()
        if math.isfinite(loss):
            try:
                self._step.learn(inputs, measured)
            except torch.cuda.OutOfMemoryError:
                if not self._trainable.reduce_memory():
                    raise
                return self._take(planned, frame)
        return loss
