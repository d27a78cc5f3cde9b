"""How long a training is, what its rates are when, and the plan of each step."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from avatar.render.base import Trainable, random_generator
from avatar.render.step import PlannedStep
from avatar.render.training_frames import Visit

STEADY_SHARE = 0.75  # of a training that ends by itself, at steady rates; they fall in what is left
STEADY_RATE_AT = 0.4  # of the progress of one with a budget: the rates it has there are the steady ones
MOST_STEADY_STEPS = 6000  # of such a training, in any case


@dataclass(frozen=True)
class Schedule:
    """How long a training is, and what it does when."""

    seconds: float = math.inf  # budget
    steps: int | None = None  # to take in place of a time, so that the result does not depend on the machine's load
    mouth_from: float = 1.0  # share after which the mouth counts much more
    part: tuple[float, float] = (0.0, 1.0)  # of a longer training, that this one is
    until_flat: bool = False  # end before that, once validation frames gain nothing more

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
class Position:
    """Where in its schedule a training is: what a checkpoint keeps."""

    share: float = 0.0  # of the budget that is spent
    steps: int = 0  # that were taken
    flat_at: int = 0  # steps after which validation frames gained nothing more; 0: not yet


class Planner:
    """Plans steps until the schedule is over.

    A training that ends by itself has steady rates until `end_steady`, then rates that fall during a third as many
    steps (warm-up, stable, decay: Hu et al. 2024, MiniCPM): no moment needs to be known ahead.
    """

    def __init__(self, trainable: Trainable, schedule: Schedule, seed: int, begun: Position) -> None:
        self._trainable, self._schedule, self._begun = trainable, schedule, begun
        self._noise, self._taken, self._start = random_generator(seed), begun.steps, time.monotonic()
        self._flat_at = begun.flat_at

    def position(self, planned: PlannedStep) -> Position:
        """Where the training is after a step, what a checkpoint keeps."""
        return Position(planned.share, planned.count, self._flat_at)

    def end_steady(self, steps: int) -> None:
        """Let the rates fall from here on, after so many steps; the first call counts."""
        self._flat_at = self._flat_at or steps

    def plan(self, visit: Visit, ahead: float = 0.0) -> PlannedStep | None:
        """The step of a frame's visit, that will run so many seconds ahead from now; None when the budget is spent."""
        share = self._share(time.monotonic() - self._start + ahead)
        if share >= 1:
            return None
        self._taken += 1
        number, progress = self._trainable.advance(), self._schedule.progress(share)
        noise = torch.randn(1, self._trainable.features, generator=self._noise)
        rate = self._trainable.rate(number, self._fallen(share) if self._schedule.until_flat else progress)
        on_mouth = share >= self._schedule.mouth_from
        return PlannedStep(visit, number, share, progress, rate, on_mouth, noise, self._taken)

    def _fallen(self, share: float) -> float:
        """The progress whose rate a training that ends by itself has."""
        return STEADY_RATE_AT + (1 - STEADY_RATE_AT) * max(0.0, share - STEADY_SHARE) / (1 - STEADY_SHARE)

    def _share(self, seconds: float) -> float:
        schedule, begun = self._schedule, self._begun
        if not schedule.until_flat:
            return begun.share + schedule.share(seconds, self._taken - begun.steps)
        if not self._flat_at:
            steady = STEADY_SHARE * self._taken / MOST_STEADY_STEPS
            if max(steady, min(begun.share, STEADY_SHARE) + seconds / schedule.seconds) < STEADY_SHARE:
                return steady
            self.end_steady(self._taken)
        falling = self._flat_at * (1 - STEADY_SHARE) / STEADY_SHARE
        return STEADY_SHARE + (1 - STEADY_SHARE) * (self._taken - self._flat_at) / max(1.0, falling)
