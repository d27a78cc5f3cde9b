"""How sound and lips lie to each other in time: what was measured, and a sound that is moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.media import SAMPLE_RATE

DRIFT_SECONDS = 60.0  # between the first and the last window, from which a drift of clocks can be seen
DRIFT_WINDOWS = 20  # that follow the sound, at least
DRIFT_ERRORS = 5.0  # standard errors that a slope must have to be a drift
LEAST_DRIFT = 0.015  # s over the whole film: less is within the error of one reading
RETIMED_AT_ONCE = 60 * SAMPLE_RATE  # samples: an hour of sound is held once
DRIFT_OUTLIER = 0.06  # s off the line: a window that read another peak
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


@dataclass(frozen=True)
class Drift:
    """Clocks that run apart: how late the sound is at a time of the picture, as a line."""

    offset: float  # s by which the sound comes later than the lips at the start
    slope: float  # s more for each second of the picture

    def at(self, seconds: float) -> float:
        """Seconds by which the sound is late at a time of the picture."""
        return self.offset + self.slope * seconds


def find_drift(windows: Sequence[SyncReading]) -> Drift | None:
    """The drift that windows along a film show; None where there is none, or too little to be sure of.

    The median slope between windows half of the film apart (Theil 1950, the incomplete method), then least squares over
    those near that line. Windows overlap, so that as many count as fit beside each other.
    """
    some = [window for window in windows if window.follows]
    if len(some) < DRIFT_WINDOWS or some[-1].start - some[0].start < DRIFT_SECONDS:
        return None
    time = torch.tensor([(window.start + window.stop) / 2 for window in some], dtype=torch.float64)
    late = torch.tensor([window.offset for window in some], dtype=torch.float64)
    half = len(some) // 2
    slope = ((late[-half:] - late[:half]) / (time[-half:] - time[:half])).quantile(0.5)
    near = (late - slope * time - (late - slope * time).quantile(0.5)).abs() < DRIFT_OUTLIER
    time, late = time[near], late[near]
    centered = time - time.mean()
    spread = centered.square().sum()
    slope = centered @ late / spread
    start = late.mean() - slope * time.mean()
    step = (some[-1].start - some[0].start) / (len(some) - 1)
    overlap = max(1.0, (some[0].stop - some[0].start) / step)
    error = ((late - start - slope * time).square().mean() * overlap / spread).sqrt()
    span = float(time[-1] - time[0])
    if abs(float(slope)) * span < LEAST_DRIFT or abs(slope) < DRIFT_ERRORS * error:
        return None
    return Drift(float(start), float(slope))


def retime_sound(samples: Tensor, drift: Drift) -> Tensor:
    """Sound [n] at 16 kHz put on the picture's clock, of the same length; linear between samples.

    A drift of clocks is some samples a second: what linear interpolation takes of the highest tones is not heard by
    the speech encoder, whose features end at 8 kHz.
    """
    count, made = len(samples), torch.empty_like(samples)
    for begin in range(0, count, RETIMED_AT_ONCE):
        stop = min(count, begin + RETIMED_AT_ONCE)
        time = torch.arange(begin, stop, dtype=torch.float64)
        place = time * (1 + drift.slope) + drift.offset * SAMPLE_RATE
        low = place.floor().long().clamp(0, max(0, count - 2))
        part = (place - low).clamp(0, 1).to(samples.dtype)
        value = torch.lerp(samples[low], samples[(low + 1).clamp_max(count - 1)], part)
        made[begin:stop] = torch.where((place >= 0) & (place <= count - 1), value, torch.zeros(()))
    return made


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
