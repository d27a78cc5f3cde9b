"""What a live avatar does beside speaking: one movement runs into the next, and whoever is spoken to nods."""

from __future__ import annotations

import torch
from torch import Tensor

NOD_SECONDS = 0.9  # of a nod of two dips, the second smaller, as listeners' nods mostly are
NOD_DEGREES = 3.0  # of its first dip
NODS_EVERY = 4.0  # s between nods while somebody else speaks, in the mean
LEAST_BETWEEN = 1.5  # s from a nod's end to the next
ATTENTION_SECONDS = 0.6  # in which a listener's gaze comes to the viewer, and leaves
AVERTED = 0.25  # of the person's own shifts of gaze are left while they attend to the viewer


class Transition:
    """From one movement into another without a jump of value or speed (Bollo 2018, Inertialization).

    What the first movement's end, followed at its speed, and the second differ by decays as a cubic of time whose
    value and slope are zero at the end.
    """

    def __init__(self) -> None:
        self._last: Tensor | None = None  # [K] the last value that was shown
        self._speed: Tensor | None = None  # [K] a frame
        self._frames = self._age = 0
        self._begins = False
        self._offset: tuple[Tensor, Tensor] | None = None  # [K] value and speed at age 0

    def begin(self, frames: int) -> None:
        """Let the next values run into what was shown last, in so many frames."""
        self._begins, self._frames = self._last is not None, frames

    def take(self, values: Tensor) -> Tensor:
        """The next values [T, K] of what is shown, continuous with those before."""
        if not len(values):
            return values
        if self._begins:
            assert self._last is not None
            speed = torch.zeros_like(self._last) if self._speed is None else self._speed
            self._offset, self._age, self._begins = (self._last - values[0], speed), 0, False
        if self._offset is not None:
            age = self._age + 1 + torch.arange(len(values))
            share = (age / self._frames).clamp_max(1)
            level, slope = 1 - share * share * (3 - 2 * share), self._frames * share * (1 - share).square()
            values = values + level[:, None] * self._offset[0] + slope[:, None] * self._offset[1]
            self._age += len(values)
            self._offset = self._offset if self._age < self._frames else None
        ends = values[-2:] if len(values) > 1 or self._last is None else torch.stack([self._last, values[0]])
        self._last, self._speed = ends[-1], ends[-1] - ends[0]
        return values


class Attention:
    """Gaze and nods of somebody who attends to a speaker: both come and go smoothly."""

    def __init__(self, fps: float, generator: torch.Generator) -> None:
        self._fps, self._generator = fps, generator
        self._level, self._waiting = 0.0, self._draw()
        time = torch.arange(1, round(NOD_SECONDS * fps)) / round(NOD_SECONDS * fps)
        self._shape = NOD_DEGREES * torch.pi / 180 * torch.sin(torch.pi * time) ** 2 * (1 - 0.5 * time)
        self._shape = self._shape * (0.5 - 0.5 * torch.cos(4 * torch.pi * time))
        self._place = len(self._shape)

    def take(self, count: int, attends: bool) -> tuple[Tensor, Tensor]:
        """Factor of the shifts of gaze [T], and how far the head is lowered [T], rad, in the next frames."""
        if not attends and self._level == 0 and self._place >= len(self._shape):
            return torch.ones(count), torch.zeros(count)
        step = (1 if attends else -1) / (ATTENTION_SECONDS * self._fps)
        level = (self._level + step * (1 + torch.arange(count))).clamp(0, 1)
        self._level = float(level[-1]) if count else self._level
        smooth = level * level * (3 - 2 * level)
        return 1 - (1 - AVERTED) * smooth, torch.tensor([self._nod(attends) for _ in range(count)])

    def _nod(self, attends: bool) -> float:
        if self._place < len(self._shape):
            self._place += 1
            return float(self._shape[self._place - 1])
        self._waiting -= 1 if attends else 0
        if self._waiting <= 0:
            self._place, self._waiting = 0, self._draw()
        return 0.0

    def _draw(self) -> int:
        """Frames until the next nod: a Poisson process with a refractory time."""
        interval = float(torch.rand(1, generator=self._generator).clamp_min(1e-6).log()) * (LEAST_BETWEEN - NODS_EVERY)
        return round((LEAST_BETWEEN + interval) * self._fps)
