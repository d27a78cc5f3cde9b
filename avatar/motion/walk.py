"""Head, shoulders, gaze and brows over time: the person's own, gone on with wherever they heard what is heard now."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.bundle import Habits
from avatar.core.geometry import exponential, mean_rotation, to_vector
from avatar.core.motion_space import Motion
from avatar.motion.encoder import STRIDE

STRETCH_SECONDS = (4.0, 9.0)  # followed before going on elsewhere, where nothing is known of the voice
LEAST_STRETCH = 25  # frames followed before going on elsewhere for the voice's sake
EVERY = 5  # frames: how often that is thought of
FADE_SECONDS = 1.0
GUIDES = 12  # values of head, shoulders and gaze, by which the next moment is chosen
NEAR, LAST = 12, 15  # frames: too near to go to, too near to the end
SPEED_WEIGHT = 5.0  # of a change a frame against a difference
VOICE, POSE, PRICE, CHANCE = 1.5, 0.5, 0.3, 0.2  # costs: other sound, other pose, going elsewhere at all, a random one
TIRED, RECOVERY = 0.2, 0.9987  # what each visit of a moment adds to its cost, and what is left of it a frame later
BLOCK, BLOCKS, AHEAD = 5, 5, 4  # frames of a block of sound, blocks that are listened to, frames after a frame
LISTENED = 2 * BLOCKS


@dataclass(frozen=True)
class Pose:
    """Head, shoulders, gaze and what the face does beside speaking, of a stretch of frames."""

    rotation: Tensor  # [T, 3, 3]
    translation: Tensor  # [T, 3] cm
    torso: Tensor  # [T, 4]
    gaze: Tensor  # [T, 2]
    face: Tensor  # [T, K] to be added to an expression


def listen(features: Tensor) -> Tensor:
    """What a head goes by [T, 10] in log-mel features [4 T, 83]: how loud and how voiced it is.

    In fifths of a second from .8 s before a frame to .2 s after, which a live stream has heard by then.
    """
    heard = features[:, -3:-1].T[None]  # energy, voicing
    frames = functional.avg_pool1d(heard, STRIDE)
    padded = functional.pad(frames, (BLOCK * BLOCKS - 1 - AHEAD, AHEAD), mode="replicate")
    blocks, count = functional.avg_pool1d(padded, BLOCK, 1)[0], frames.shape[2]
    return torch.cat([blocks[:, at * BLOCK : at * BLOCK + count] for at in range(BLOCKS)]).T


class PoseWalk:
    """The person's own head motion without an end and without a visible loop.

    Follows the clip, and goes on at another moment of it with a similar pose and speed, where more like what is heard
    was heard; what is left of the difference fades out. Head, shoulders, gaze, brows and cheeks stay together as they
    were seen.
    """

    def __init__(
        self,
        habits: Habits,
        face: Tensor,
        generator: torch.Generator,
        *,
        pose: Motion | None = None,
        voice: Tensor | None = None,
    ) -> None:
        """face: [T, K] what the person's face does beside speaking, frame by frame of their own motion.

        pose: motion to follow first from its beginning to its end, and to go on with, instead of the person's.
        voice: [T, 10] of `listen`, what was heard in the frames of their own motion; without it the walk goes on
        elsewhere every few seconds, whatever is heard.
        """
        own = pose or habits.own
        self._center = mean_rotation(own.rotation)
        turn = to_vector(self._center.T @ own.rotation)
        there_and_back = torch.arange(len(own)) % (2 * len(face))  # a head that is followed brings no face
        face = face[torch.minimum(there_and_back, 2 * len(face) - 1 - there_and_back)]
        values = torch.cat([turn, own.translation, own.torso, own.eyes[:, 2:], face], 1)  # [T, 12 + K]
        self._mean = values.mean(0)
        self._mean[:3] = 0
        self._mean[GUIDES:] = 0
        self._values = values
        self._guides = guides = values[:, :GUIDES]
        self._speed = torch.gradient(guides, dim=0)[0] if len(values) > 1 else torch.zeros_like(guides)
        self._scale = guides.std(0).clamp_min(1e-3) if len(values) > 1 else torch.ones(GUIDES)
        self._voice = None if pose else voice
        self._loud = 1 if voice is None else voice.std(0).clamp_min(1e-2)
        self._fps, self._generator = own.fps, generator
        self._index, self._left = (-1, len(values)) if pose else (0, 0)
        self._offset = torch.zeros(values.shape[1])
        self._tired = torch.zeros(len(values))
        self._age = 0

    def take(self, head: Tensor, gaze: Tensor, face: Tensor, heard: Tensor) -> Pose:
        """The next frames, as many as there are gains of head, gaze and face [T]; heard: [T, 10] of `listen`."""
        values = torch.stack([self._step(frame) for frame in heard]) if len(heard) else self._values[:0]
        modes = values.shape[1] - GUIDES
        gain = torch.cat(
            [head[:, None].expand(-1, 10), gaze[:, None].expand(-1, 2), face[:, None].expand(-1, modes)], 1
        )
        values = self._mean + gain * (values - self._mean)
        turn, translation, torso, looks, face = values.split([3, 3, 4, 2, modes], 1)
        return Pose(self._center @ exponential(turn), translation, torso, looks, face)

    def _step(self, heard: Tensor) -> Tensor:
        following = self._index + 1
        if self._left <= 0 or following >= len(self._values):
            self._jump(int(self._price(self._mismatch(heard)).argmin()))
        elif self._voice is not None and self._age >= LEAST_STRETCH and self._age % EVERY == 0:
            mismatch = self._mismatch(heard)
            price = self._price(mismatch)
            if mismatch[following] + (self._tired[following] - 1).clamp_min(0) <= price.min():
                self._index = following
            else:
                self._jump(int(price.argmin()))
        else:
            self._index = following
        self._left -= 1
        self._age += 1
        self._tired *= RECOVERY
        self._tired[max(0, self._index - 2) : self._index + 3] += TIRED
        return self._values[self._index] + self._fade() * self._offset

    def _fade(self) -> Tensor:
        share = min(1.0, self._age / (FADE_SECONDS * self._fps))
        return 0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * share))

    def _mismatch(self, heard: Tensor) -> Tensor:
        """How unlike what is heard every moment sounded [T]."""
        if self._voice is None:
            return torch.zeros(len(self._values))
        return VOICE * ((self._voice - heard) / self._loud).square().mean(1)

    def _price(self, mismatch: Tensor) -> Tensor:
        """What going on at every moment costs [T]."""
        count = len(self._values)
        cost = mismatch + CHANCE * torch.rand(count, generator=self._generator) + self._tired + PRICE
        if self._age:
            away = (self._guides - self._guides[self._index]) / self._scale
            faster = SPEED_WEIGHT * (self._speed - self._speed[self._index]) / self._scale
            cost = cost + POSE * (away.square().mean(1) + faster.square().mean(1))
        moments = torch.arange(count)
        free = ((moments - self._index - 1).abs() >= NEAR) & (moments < count - LAST)
        return torch.where(free, cost, torch.inf) if free.any() else cost

    def _jump(self, target: int) -> None:
        now = self._values[self._index] + self._fade() * self._offset
        self._offset = now - self._values[target] if self._age else torch.zeros_like(now)
        low, high = STRETCH_SECONDS
        seconds = low + (high - low) * float(torch.rand(1, generator=self._generator))
        self._left = int(seconds * self._fps) if self._voice is None else len(self._values)
        self._index, self._age = target, 0
