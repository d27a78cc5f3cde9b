"""Rules beside the speech model: blinks, rest pose, lip closure, limits, and the residual of brows and cheeks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.avatar_file import SpeakingStyle

NEAREST = 8  # own expressions that an LLE projection is rebuilt from
LLE_RIDGE = 1e-2  # of the mean of the Gram matrix's diagonal, which is singular where neighbours are collinear
LEAST_BETWEEN = 0.4  # s between two blinks
SHUT_QUANTILE, LEAST_QUANTILE = 0.03, 0.005  # of a person's lip openings: closed, and pressed together
LOOKS_SHUT = 0.15  # of the range of a person's lip openings
PRESSED_FROM, PRESSED_WHOLLY = 0.5, 0.8  # predicted lip closure
CLOSED_SHARE = 0.1  # of the frames, those with the least open lips: a person's mouth at rest
QUIET, SETTLING = 35, 5  # motion frames without voicing after which a mouth rests; in which it gets there
VOICED, VOICED_RAMP = 0.6, 0.15  # voicing that counts as speech
DETREND_FRAMES = 50.0  # deviation of the Gaussian whose output is drift: mood, which sound does not predict
CALM_FRAMES = 2.0  # deviation of the Gaussian that removes tracking jitter from the residual


def speech_residual(expression: Tensor, reading: Tensor) -> Tensor:
    """The part of expressions that is uncorrelated with the lips [T, K], of zero mean, smoothed.

    expression: [T, K] without lids, in the order of time; reading: [K, C] lip curves of a unit of each mode. The linear
    regression on the lip curves is subtracted, so that adding the residual does not move the lips.
    """
    centered = expression - expression.mean(0)
    lips = centered @ reading
    rest = centered - lips @ torch.linalg.pinv(lips, rtol=1e-4) @ centered
    return smooth(rest, CALM_FRAMES)


def smooth(values: Tensor, frames: float) -> Tensor:
    """Values [T, K] through a Gaussian of a deviation of so many frames; at the ends, of what there is."""
    time = torch.arange(-int(3 * frames), int(3 * frames) + 1)
    weight = torch.exp(-0.5 * (time / frames).square())[None, None]
    inside = functional.conv1d(torch.ones(1, 1, len(values)), weight, padding=len(time) // 2)
    summed = functional.conv1d(values.T[:, None], weight, padding=len(time) // 2)
    return (summed / inside)[:, 0].T


def detrend(values: Tensor, frames: float = DETREND_FRAMES) -> Tensor:
    """Values [N, K], in the order of time, high-pass filtered; their mean stays.

    frames: deviation of the Gaussian whose output is subtracted.
    """
    slow = smooth(values, frames)
    return values - (slow - slow.mean(0))


class Rest:
    """Weight of the rest pose over time: 1 where there was no voicing for one and a half seconds.

    In shorter pauses lips move for breath and for the next word, which the speech model has learned.
    """

    def __init__(self) -> None:
        self._voiced = torch.zeros(QUIET + SETTLING - 1)  # of the frames before

    def take(self, voiced: Tensor) -> Tensor:
        """Weights [T], 0..1, of the next frames, of which voicing [T] is given."""
        known = torch.cat([self._voiced, voiced])
        self._voiced = known[len(voiced) :]
        loudest = functional.max_pool1d(known[None, None], QUIET, stride=1)
        quiet = ((VOICED - loudest) / VOICED_RAMP).clamp(0, 1)
        return functional.avg_pool1d(quiet, SETTLING, stride=1)[0, 0][1:]


class Blinker:
    """Eyelid closure over time: blinks of this person's length at this person's rate, never two at once."""

    def __init__(self, style: SpeakingStyle, fps: float, generator: torch.Generator) -> None:
        self._rate, self._generator, self._fps = style.blinks_per_second, generator, fps
        half = max(1.5, style.blink_seconds * fps / 2)
        time = torch.arange(-int(half) - 1, int(half) + 2) / half
        self._shape = (0.5 + 0.5 * torch.cos(torch.pi * time.clamp(-1, 1))) ** 0.7
        self._place = len(self._shape)  # in the blink; at its end there is none
        self._refractory = 0  # frames in which no other may begin
        self._waiting = self._draw()

    def _draw(self) -> float:
        return -float(torch.rand(1, generator=self._generator).clamp_min(1e-6).log())

    def take(self, times: Tensor) -> Tensor:
        """How far the lids are shut [T], 0..1, in the next frames; times [T] the person's own rate."""
        return torch.tensor([self._step(float(factor) * self._rate) for factor in times])

    def _step(self, rate: float) -> float:
        """A Poisson process of `rate` a second with a refractory time after each blink."""
        if self._place < len(self._shape):
            self._place += 1
            return float(self._shape[self._place - 1])
        self._refractory -= 1
        if self._refractory < 0 and rate > 0:
            usual = len(self._shape) / self._fps + LEAST_BETWEEN
            self._waiting -= 1 / max(1 / rate - usual, 1e-3) / self._fps
        if self._waiting <= 0:
            self._place, self._refractory, self._waiting = 0, int(LEAST_BETWEEN * self._fps), self._draw()
        return 0.0


def project(expression: Tensor, own: Tensor, strength: float) -> Tensor:
    """Project expressions [T, K] onto the person's own [M, K] by locally linear embedding (GeneFace++).

    Each frame is rebuilt as the best affine combination of its nearest own frames, then mixed in by `strength` 0..1.
    """
    if strength <= 0 or len(own) <= NEAREST:
        return expression
    farther = own.square().sum(1) - 2 * expression @ own.T  # squared distances less what is the same for all
    nearest = farther.topk(NEAREST, largest=False).indices
    neighbours = own[nearest]  # [T, N, K]
    difference = neighbours - expression[:, None]
    gram = difference @ difference.mT
    ridge = LLE_RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-6)
    weights = torch.linalg.solve(gram + ridge[:, None, None] * torch.eye(NEAREST), torch.ones(len(gram), NEAREST, 1))
    rebuilt = (weights / weights.sum(1, keepdim=True) * neighbours).sum(1)
    return expression + strength * (rebuilt - expression)


@dataclass(frozen=True)
class Lips:
    """The range of this person's lips."""

    reading: Tensor  # [K] lip opening (cm) of one unit of each mode
    slope: Tensor  # [K] how expression moves with the opening, per cm
    shut: Tensor  # [] opening (cm) of closed lips, about the person's neutral
    least: Tensor  # [] the least opening (cm) that was seen
    line: Tensor  # [] the opening (cm) under which lips look shut
    usual: Tensor  # [] the median opening (cm), or what is above that line

    def add(self, expression: Tensor, shown: Tensor, speaks: Tensor) -> Tensor:
        """Expressions [T, K] and what is shown beside them [T, K]; lips go before it while they speak, [T] 0..1.

        What it opens the mouth by is added to lips that are open as usual, less the nearer they are to shut, and not
        at all to shut ones; what closes it does so no farther than the least opening.
        """
        opening, more = expression @ self.reading, shown @ self.reading
        share = ((opening - self.line) / (self.usual - self.line)).clamp(0, 1)
        wanted = opening + more.clamp_min(0) * (1 - speaks * (1 - share)) + more.clamp_max(0)
        wanted = torch.maximum(wanted, torch.minimum(opening, self.least))
        return expression + shown + (wanted - opening - more)[:, None] * self.slope

    def press(self, expression: Tensor, lip_closure: Tensor) -> Tensor:
        """Expressions [T, K], lips shut where lip_closure [T] 0..1 is high (p, b, m), never beyond the least."""
        sure = ((lip_closure - PRESSED_FROM) / (PRESSED_WHOLLY - PRESSED_FROM)).clamp(0, 1)
        opening = expression @ self.reading
        wanted = torch.maximum(opening - sure * (opening - self.shut).clamp_min(0), self.least)
        return expression + (wanted - opening)[:, None] * self.slope


def slope_on(cause: Tensor, expression: Tensor, *, least: float) -> Tensor:
    """Slope [K] of the linear regression of expression [N, K] on `cause` [N]; least: smallest sum of squares."""
    centered = cause - cause.mean()
    return centered @ (expression - expression.mean(0)) / centered.square().sum().clamp_min(least)


def measure_lips(expression: Tensor, reading: Tensor) -> Lips:
    """The lips of a person seen with expressions [N, K]; reading [K] gives the lip opening (cm)."""
    opening = expression @ reading
    slope = slope_on(opening, expression, least=1e-6)
    shut, least, usual, wide = (opening.quantile(share) for share in (SHUT_QUANTILE, LEAST_QUANTILE, 0.5, 0.99))
    line = least + LOOKS_SHUT * (wide - least)
    return Lips(reading, slope, shut, least, line, torch.maximum(usual, line + 0.05 * (wide - least).clamp_min(1e-3)))


def resting(expression: Tensor, reading: Tensor) -> Tensor:
    """Mean expression [K] of the frames of [N, K] whose lips are least open; reading [K] gives the opening."""
    opening = expression @ reading
    return expression[opening <= opening.quantile(CLOSED_SHARE)].mean(0)


def apply_gains(expression: Tensor, rest: Tensor, gain: Tensor) -> Tensor:
    """Scale expressions [T, K] about the person's rest [K]; gain [T]."""
    return rest + gain[:, None] * (expression - rest)
