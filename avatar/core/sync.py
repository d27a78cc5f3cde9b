"""How sound and lips lie to each other in time: what was measured, and a sound that is moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.media import SAMPLE_RATE

SURE = 0.95  # certainty from which the lips are said to follow the sound, and below 1 - SURE not to


@dataclass(frozen=True)
class SyncReading:
    """What part of a film shows of its sound and lips."""

    start: float  # s of the part
    stop: float
    seconds: float  # of it that show a face
    offset: float  # s by which the sound comes later than the lips; 0 as in recordings of real people
    likeness: float  # -1..1: weighted mean of correlations at that offset
    common: float  # likeness at the offset of the whole film, give or take a frame
    certainty: float  # 0..1: probability that the lips follow this sound, not another

    @property
    def follows(self) -> bool | None:
        """Whether the lips follow the sound; None where that cannot be said."""
        return True if self.certainty >= SURE else False if self.certainty <= 1 - SURE else None


@dataclass(frozen=True)
class SyncMeasurement:
    """The whole of a film, and windows along it."""

    whole: SyncReading
    windows: Sequence[SyncReading]


MeasureSync = Callable[[Tensor, Tensor], SyncMeasurement]
"""Expressions [T, K] at 25 frames/s and whether a face was seen [T] bool -> how they lie to a sound known before."""
OpenSync = Callable[[Tensor], MeasureSync]
"""Samples [n] at 16 kHz -> what measures lips against them."""


def move_sound(samples: Tensor, seconds: float) -> Tensor:
    """Sound [n] at 16 kHz that comes later by some seconds (earlier, where negative), of the same length."""
    shift, moved = round(seconds * SAMPLE_RATE), torch.zeros_like(samples)
    if abs(shift) >= len(samples):
        return moved
    if shift >= 0:
        moved[shift:] = samples[: len(samples) - shift]
    else:
        moved[:shift] = samples[-shift:]
    return moved
