"""One step of training: what it reads, its loss, what it changes. The same on a processor and captured on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.take import Track
from avatar.render.base import StepInputs, Trainable
from avatar.render.exposure import WARM_UP, Exposure
from avatar.render.losses import blob_weights, hole_loss, picture_loss
from avatar.render.training_frames import Visit
from cuda_ext import ops

MATTE_WEIGHT = 0.2  # of the loss: over one plate the picture says little of coverage
HOLE_WEIGHT = 0.01  # of the loss: holes close in the first steps, and nothing is left of it


@dataclass(frozen=True)
class PlannedStep:
    """A step as it is planned, before it runs."""

    visit: Visit
    number: int  # of the optimizer's step, from 1
    share: float  # of the budget that is over
    progress: float  # of the longer training
    rate: float  # of `Trainable.rate`
    on_mouth: bool  # the mouth counts much more
    noise: Tensor  # [1, D]
    count: int  # steps of this training so far, this one included

    def values(self) -> Tensor:
        """What `make_inputs` reads [1, 5 + D]."""
        numbers = [self.rate, float(self.progress >= WARM_UP), *blob_weights(self.on_mouth)]
        return torch.cat([torch.tensor([numbers]), self.noise], 1)


def make_inputs(frame: Tensor, picture: Tensor, blobs: Tensor, values: Tensor) -> StepInputs:
    """The inputs of a step, on one device.

    frame: [1] int64; picture: [4, S, S] uint8, red, green, blue, matte; blobs: [3, 2, S] of `weight_blobs`;
    values: [1, 5 + D] of `PlannedStep.values`.
    """
    rate, exposed, weights, noise = values[0, 0:1], values[0, 1:2], values[0, 2:5], values[:, 5:]
    return StepInputs(frame, picture, blobs, weights, noise, rate, exposed)


@dataclass(frozen=True)
class Measured:
    """A drawn frame beside the truth."""

    loss: Tensor  # [] with a graph
    composed: ops.Composed


class TrainingStep:
    """What all steps share: the trainable, the plate behind it, the exposure of each frame."""

    def __init__(self, trainable: Trainable, track: Track, plate: Tensor) -> None:
        """plate: [3, S, S] uint8."""
        self._trainable = trainable
        self._plate = (plate.float() / 255).to(trainable.device)
        self._exposure = Exposure(len(track), trainable.device)
        trainable.prepare(track.motion())

    def measure(self, step: StepInputs) -> Measured:
        """Draw and compare. Raises: ValueError when the parameters are not finite any more."""
        rgb, alpha = self._trainable.draw(step)
        truth = step.picture, step.blobs, step.weights
        composed = ops.compose(rgb[0], alpha[0], self._plate, *truth, self._exposure.gains, step.frame)
        loss = picture_loss(composed.image, composed.truth, composed.weight) + MATTE_WEIGHT * composed.matte_error
        loss = loss + HOLE_WEIGHT * hole_loss(alpha[0], step.picture[3:])
        return Measured(loss, composed)

    def learn(self, step: StepInputs, measured: Measured) -> None:
        """Change the parameters and the frame's exposure by what was measured."""
        measured.loss.backward()
        self._trainable.update(step)
        self._exposure.update(step.frame, measured.composed.sums, step.exposed)


@dataclass(frozen=True)
class FinishedStep:
    """A step that ran."""

    planned: PlannedStep
    loss: float  # not finite: the parameters are not, either, or the step was not taken
    settled: bool  # no later step has begun: the trainable's tensors are those after this one


Plan = Callable[..., PlannedStep | None]
"""The step of a `Visit`, that runs some seconds ahead from now (default 0); None when the budget is spent."""
