"""Frames of the clip that are kept out of training to tell when more of it buys nothing."""

from __future__ import annotations

import torch

from avatar.core.take import Track
from avatar.render.base import Trainable
from avatar.render.step import TrainingStep, make_inputs
from avatar.render.training_frames import Decoder, TrainingPictures, Visit

CHECK_EVERY = 300  # steps
MOST_FRAMES = 24  # drawn at each check: a fiftieth of the time between two
ONE_IN = 20  # frames of the clip, at most: the others are needed
FEWEST_FRAMES = 8  # fewer say too little
FLAT_DB = 0.1  # gained by validation frames within `PATIENCE` checks: less is not worth the time
PATIENCE = 2  # checks: at full rates one alone is .2 dB up or down by chance


STEPS_OF_SHORT = 1500  # steps at full rates on a clip that is too short for validation frames


def validation_frames(frames: list[int]) -> list[int]:
    """Frames spread evenly over those that could be trained on; none where the clip is too short for it."""
    known = sorted(set(frames))
    count = min(MOST_FRAMES, len(known) // ONE_IN)
    if count < FEWEST_FRAMES:
        return []
    return [known[int((index + 0.5) * len(known) / count)] for index in range(count)]


class Validation:
    """Draws the validation frames now and then, and says when they gain nothing more."""

    def __init__(
        self, trainable: Trainable, step: TrainingStep, pictures: TrainingPictures, track: Track, frames: list[int]
    ) -> None:
        """frames: all that could be trained on, of which a few are taken."""
        self._trainable, self._step, self._decibels = trainable, step, list[float]()
        decoder = Decoder(pictures, track)
        self._frames = [decoder.decode(Visit(frame, 0)) for frame in validation_frames(frames)]

    def others(self, frames: list[int]) -> list[int]:
        """Frames without those of the validation."""
        own = {frame.visit.frame for frame in self._frames}
        return [frame for frame in frames if frame not in own]

    def is_over(self, steps: int) -> bool:
        """Whether more steps buy nothing: the last checks are under `FLAT_DB` better than the best before them."""
        if not self._frames:
            return steps >= STEPS_OF_SHORT
        if steps % CHECK_EVERY:
            return False
        self._decibels.append(self.measure())
        before, lately = self._decibels[:-PATIENCE], self._decibels[-PATIENCE:]
        return bool(before) and max(lately) - max(before) < FLAT_DB

    def measure(self) -> float:
        """Mean PSNR of the frames in dB, drawn as bright as the training's mean."""
        device, values, total = self._trainable.device, torch.zeros(1, 5 + self._trainable.features), 0.0
        with torch.no_grad():
            for frame in self._frames:
                parts = torch.tensor([frame.visit.frame]), frame.picture, frame.blobs, values
                composed = self._step.measure(make_inputs(*(part.to(device) for part in parts))).composed
                error = (composed.image - composed.truth).square().mean()
                total += float(-10 * torch.log10(error.clamp_min(1e-10)))
        return total / len(self._frames)
