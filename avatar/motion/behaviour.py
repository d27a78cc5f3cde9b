"""Everything about a talking head that the sound does not say: blinks, gaze, head and shoulders."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.bundle import Habits
from avatar.core.geometry import exponential, mean_rotation, to_vector
from avatar.core.recipe import Controls

STRETCH_SECONDS = (4.0, 9.0)  # how long the person's own motion is followed before going on elsewhere
FADE_SECONDS = 1.0
CANDIDATES = 24
NEAREST = 8  # own expressions a predicted one is rebuilt from
LLE_RIDGE = 1e-2


@dataclass(frozen=True)
class Pose:
    """Head, shoulders and gaze of a stretch of frames."""

    rotation: Tensor  # [T, 3, 3]
    translation: Tensor  # [T, 3] cm
    torso: Tensor  # [T, 4]
    gaze: Tensor  # [T, 2]


class PoseWalk:
    """The person's own head motion without an end and without a visible loop.

    Follows the clip for some seconds, then goes on at another moment of it with a similar pose and speed; what is left
    of the difference fades out. Head, shoulders and gaze stay together as they were seen.
    """

    def __init__(self, habits: Habits, gain: float, generator: torch.Generator) -> None:
        own = habits.own
        self._center = mean_rotation(own.rotation)
        turn = to_vector(self._center.T @ own.rotation)
        values = torch.cat([turn, own.translation, own.torso, own.eyes[:, 2:]], 1)  # [T, 12]
        self._mean = values.mean(0)
        self._mean[:3] = 0
        self._values = values
        self._speed = torch.gradient(values, dim=0)[0] if len(values) > 1 else torch.zeros_like(values)
        self._scale = values.std(0).clamp_min(1e-3)
        self._fps, self._gain, self._generator = own.fps, gain, generator
        self._index, self._left = 0, 0
        self._offset = torch.zeros(values.shape[1])
        self._age = 0

    def take(self, count: int) -> Pose:
        """The next frames."""
        values = torch.stack([self._step() for _ in range(count)]) if count else torch.zeros(0, 12)
        values = self._mean + self._gain * (values - self._mean)
        rotation = self._center @ exponential(values[:, :3])
        return Pose(rotation, values[:, 3:6], values[:, 6:10], values[:, 10:])

    def _step(self) -> Tensor:
        if self._left <= 0 or self._index + 1 >= len(self._values):
            self._jump()
        else:
            self._index += 1
        self._left -= 1
        self._age += 1
        share = min(1.0, self._age / (FADE_SECONDS * self._fps))
        fade = 0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * share))
        return self._values[self._index] + fade * self._offset

    def _jump(self) -> None:
        length = len(self._values)
        low, high = STRETCH_SECONDS
        seconds = low + (high - low) * float(torch.rand(1, generator=self._generator))
        room = max(1, length - int(low * self._fps / 2))
        candidates = torch.randint(room, (CANDIDATES,), generator=self._generator)
        away = (candidates - self._index).abs() > self._fps
        candidates = candidates[away] if away.any() else candidates
        now, speed = self._values[self._index], self._speed[self._index]
        difference = ((self._values[candidates] - now) / self._scale).square().sum(1)
        difference += ((self._speed[candidates] - speed) / self._scale * 5).square().sum(1)
        target = int(candidates[difference.argmin()])
        share = min(1.0, self._age / (FADE_SECONDS * self._fps))
        fade = 0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * share))
        self._offset = now + fade * self._offset - self._values[target] if self._age else torch.zeros_like(now)
        self._index, self._left, self._age = target, int(seconds * self._fps), 0


class Blinker:
    """Lids over time: this person's blinks at this person's rate, never two at once."""

    def __init__(self, habits: Habits, rate: float, fps: float, generator: torch.Generator) -> None:
        self._rate = habits.blinks_per_second * rate
        self._generator, self._fps = generator, fps
        half = max(1.5, habits.blink_seconds * fps / 2)
        time = torch.arange(-int(half) - 1, int(half) + 2) / half
        self._shape = (0.5 + 0.5 * torch.cos(torch.pi * time.clamp(-1, 1))) ** 0.7
        self._tail = torch.zeros(0)
        self._wait = self._draw_wait()

    def _draw_wait(self) -> int:
        if self._rate <= 0:
            return 1 << 60
        # at least 0.4 s apart, otherwise without memory
        u = float(torch.rand(1, generator=self._generator).clamp_min(1e-6))
        gap = max(0.0, 1 / self._rate - 0.4)
        return int((0.4 - gap * float(torch.log(torch.tensor(u)))) * self._fps)

    def take(self, count: int) -> Tensor:
        """How far the lids are shut [count], 0..1."""
        shut = torch.zeros(count)
        carried = self._tail[:count]
        shut[: len(carried)] = carried
        self._tail = self._tail[count:]
        while self._wait < count:
            end = self._wait + len(self._shape)
            inside = self._shape[: max(0, count - self._wait)]
            shut[self._wait : self._wait + len(inside)] = torch.maximum(
                shut[self._wait : self._wait + len(inside)], inside
            )
            self._tail = self._shape[len(inside) :]
            self._wait = end + self._draw_wait()
        self._wait -= count
        return shut


def project(expression: Tensor, own: Tensor, strength: float) -> Tensor:
    """Pull expressions [T, K] towards what this person has done [M, K] (GeneFace++'s landmark LLE).

    Each frame is rebuilt as the best affine combination of its nearest own frames, then mixed in by `strength` 0..1.
    """
    if strength <= 0 or len(own) <= NEAREST:
        return expression
    nearest = torch.cdist(expression, own).topk(NEAREST, largest=False).indices
    neighbours = own[nearest]  # [T, N, K]
    difference = neighbours - expression[:, None]
    gram = difference @ difference.mT
    ridge = LLE_RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-6)
    weights = torch.linalg.solve(gram + ridge[:, None, None] * torch.eye(NEAREST), torch.ones(len(gram), NEAREST, 1))
    rebuilt = (weights / weights.sum(1, keepdim=True) * neighbours).sum(1)
    return expression + strength * (rebuilt - expression)


def apply_gains(expression: Tensor, rest: Tensor, reach: float, controls: Controls) -> Tensor:
    """Scale expressions [T, K] about the person's rest [K]; reach: `Habits.mouth_reach`."""
    return rest + reach * controls.mouth_gain * controls.expression_gain * (expression - rest)
