"""How fully lips articulate: energy in a band, closures, turning points; of predicted curves against tracked ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.learn.lip_range import BINS, FPS, mean_spectrum
from avatar.motion.lip_reader import SURE

CLOSED, FAR = 0.15, 0.3  # of the range of gaps: lips are closed below the first, not nearly above the second
RANGE = (0.01, 0.99)  # quantiles of gaps that are its ends
LONGEST = 12  # frames of a closure; a longer one is a pause
TURN = 0.1  # of the range: what turns by less is tremor


@dataclass(frozen=True)
class Closures:
    """Closures of the tracked lips, and those of the predicted ones."""

    tracked: int
    seen: int  # of the tracked: predicted lips are closed then, too, to a frame
    predicted: int
    false: int  # of the predicted: tracked lips stay far from closed within two frames


def band_energy(predicted: Tensor, tracked: Tensor, frames: Tensor, band: tuple[float, float]) -> Tensor:
    """Energy [L] of curves [N, L] between two frequencies, Hz, as times the tracked ones'; frames: [N], in order."""
    frequency = torch.fft.rfftfreq(BINS, 1 / FPS)
    inside = (frequency >= band[0]) & (frequency < band[1])
    ours, theirs = mean_spectrum(predicted, frames), mean_spectrum(tracked, frames)
    if ours is None or theirs is None:
        raise ValueError("band_energy: no run of frames is long enough")
    return ours[inside].sum(0) / theirs[inside].sum(0)


def count_closures(predicted: Tensor, tracked: Tensor, frames: Tensor) -> Closures:
    """Closures in gaps [N] at frames [N], in order; closed is what is in the lowest part of the tracked range."""
    low, high = tracked.quantile(RANGE[0]), tracked.quantile(RANGE[1])
    line, far = low + CLOSED * (high - low), low + FAR * (high - low)
    real = [run for run in runs_below(tracked, line, frames) if run[1] - run[0] <= LONGEST]
    ours = runs_below(predicted, line, frames)
    seen = sum(bool((predicted[max(0, start - 1) : stop + 1] < line).any()) for start, stop in real)
    false = sum(bool((tracked[max(0, start - 2) : stop + 2] > far).all()) for start, stop in ours)
    return Closures(len(real), seen, len(ours), false)


def runs_below(gap: Tensor, line: Tensor, frames: Tensor) -> list[tuple[int, int]]:
    """Runs [start, stop) of gaps [N] below a line, at frames [N] that follow each other."""
    below = gap < line
    joined = below[1:] & below[:-1] & (frames.diff() == 1)
    first = torch.cat([below[:1], below[1:] & ~joined]).nonzero()[:, 0]
    last = torch.cat([below[:-1] & ~joined, below[-1:]]).nonzero()[:, 0]
    return [(int(start), int(stop) + 1) for start, stop in zip(first, last, strict=True)]


def count_turns(gap: Tensor, least: float) -> int:
    """Turning points of gaps [N] between which it changes by more than `least`."""
    turns, rising, extreme = 0, 0, float(gap[0])
    for value in gap.tolist():
        change = value - extreme
        if rising == 0:
            if abs(change) > least:
                rising, extreme = (1 if change > 0 else -1), value
        elif change * rising > 0:
            extreme = value
        elif abs(change) > least:
            turns, rising, extreme = turns + 1, -rising, value
    return turns


def count_read(spoken: Tensor, speaks: Tensor, *lips: Tensor) -> list[list[int]]:
    """By viseme, frames that are surely of it, and how many of them are read right off each of the lips [T, 8].

    spoken: [T, 8] and speaks: [T] bool of `visemes_of_sound`.
    """
    sure, group = speaks & (spoken.amax(1) > SURE), spoken.argmax(1)
    right = [sure & (read.argmax(1) == group) for read in lips]
    return [[int((one & (group == index)).sum()) for one in (sure, *right)] for index in range(spoken.shape[1])]
