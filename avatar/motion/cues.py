"""What is said and shown when, beside a stream of sound: phones whose times are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION, LIP_LEAD, SILENCE, Phone, articulate
from avatar.core.lips import read_lips

REACH = 0.3  # s about a frame that phones say something of its lips
MARGIN = 0.1  # s beyond the first and the last phone in which they do
LOW, HIGH = 0.02, 0.98  # quantiles of a person's lips that articulation 0 and 1 stand for
CURVES = ("opening", "width", "protrusion")
COLUMNS = [0, 2, 3]  # of `read_lips`


@dataclass(frozen=True)
class CueFrames:
    """Frame by frame what phones say."""

    articulation: Tensor  # [T, 5] 0..1, columns as `avatar.core.articulation` has them
    known: Tensor  # [T] bool: whether there are phones
    spoken: Tensor  # [T] bool: whether the phone is a sound
    alone: Tensor  # [T] bool: whether lips follow phones alone, since there is no sound


class Cues:
    """A timeline that grows while a script is spoken; what lies behind is forgotten."""

    def __init__(self) -> None:
        self._phones: list[Phone] = []
        self._spans: list[tuple[float, float, bool]] = []

    def add(self, start: float, phones: Sequence[Phone], *, alone: bool) -> None:
        """Phones whose times count from `start`, s; alone: there is no sound that lips could follow."""
        moved = [replace(phone, start=phone.start + start, stop=phone.stop + start) for phone in phones]
        self._phones += moved
        if moved:
            self._spans.append((moved[0].start - MARGIN, moved[-1].stop + MARGIN, alone))

    def clear(self) -> None:
        """Forget everything."""
        self._phones, self._spans = [], []

    def over(self, first: int, count: int, fps: float) -> CueFrames | None:
        """What phones say of the next frames; None where they say nothing. Frames before `first` are forgotten."""
        if not self._spans:
            return None
        begin, end = first / fps, (first + count) / fps
        self._spans = [span for span in self._spans if span[1] > begin]
        self._phones = [phone for phone in self._phones if phone.stop > begin - REACH]
        near = [phone for phone in self._phones if phone.start < end + REACH]
        if not near:
            return None
        times = (torch.arange(first, first + count) + 0.5) / fps
        shifted = [replace(one, start=one.start - begin, stop=one.stop - begin) for one in near]
        known, alone, spoken = (torch.zeros(count, dtype=torch.bool) for _ in range(3))
        for start, stop, silent in self._spans:
            inside = (times >= start) & (times < stop)
            known |= inside
            alone |= inside & silent
        for phone in near:
            spoken |= (times >= phone.start) & (times < phone.stop) & (phone.symbol != SILENCE)
        articulation = articulate(shifted, fps=fps, seconds=(count + LIP_LEAD) / fps)[LIP_LEAD:]
        return CueFrames(articulation, known, spoken, alone)


class PhoneLips:
    """Articulation -> expression of a person, by the range of their own lips."""

    def __init__(self, expression: Tensor, basis: Tensor) -> None:
        """expression: [N, K] of the person, without lids; basis: [K, 478, 3] of the MotionSpace."""
        reading = read_lips(basis)[:, COLUMNS]  # [K, 3]
        curves = expression @ reading
        self._low, self._high = curves.quantile(LOW, 0), curves.quantile(HIGH, 0)
        self._mean, self._center = expression.mean(0), curves.mean(0)
        # the least change, by the person's own covariance, that moves the curves as far: (R'SR)^-1 R'S
        covariance = torch.cov(expression.T) + 1e-4 * torch.eye(len(reading))
        self._along = torch.linalg.solve(reading.T @ covariance @ reading, reading.T @ covariance)

    def __call__(self, articulation: Tensor) -> Tensor:
        """Expression [T, K] of articulation [T, 5]."""
        wanted = articulation[:, [ARTICULATION.index(name) for name in CURVES]]
        curves = self._low + wanted * (self._high - self._low)
        return self._mean + (curves - self._center) @ self._along
