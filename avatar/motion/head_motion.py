"""Head, shoulders, gaze and brows over time: a motion graph over the person's own clip, led by prosody.

Motion graphs (Kovar et al. 2002): follow the clip, and jump to another frame of it where pose and velocity are alike.
Which frame is chosen goes by a cost, as in unit selection (Hunt and Black 1996).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.avatar_file import SpeakingStyle
from avatar.core.geometry import exponential, mean_rotation, to_vector
from avatar.core.motion_space import Motion
from avatar.motion.encoder import STRIDE

# Costs and times were chosen on 15 people (`bench/bench_head_motion.py`; docs/figures.md, "Heads").
STRETCH_SECONDS = (4.0, 9.0)  # followed before a jump, where prosody is unknown
LEAST_STRETCH = 25  # frames followed before a jump for the prosody's sake
JUMP_EVERY = 5  # frames: how often such a jump is considered
FADE_SECONDS = 1.0  # in which the offset at a jump decays
GUIDES = 12  # values of head, shoulders and gaze, which jumps are chosen by
LEAST_JUMP, LAST = 12, 15  # frames: shortest jump; frames before the end that no jump leads to
VELOCITY_WEIGHT = 5.0  # of a difference of velocities against one of poses
PROSODY_COST, POSE_COST, JUMP_COST, RANDOM_COST = 1.5, 0.5, 0.3, 0.2
VISIT_PENALTY, VISIT_DECAY = 0.2, 0.9987  # added to a frame's cost at each visit; what is left of it a frame later
BLOCK, BLOCKS, LOOKAHEAD = 5, 5, 4  # frames of a block of prosody; blocks; of them frames after the current one
PROSODY_WIDTH = 2 * BLOCKS


@dataclass(frozen=True)
class HeadMotion:
    """Head, shoulders, gaze and the face's residual of a stretch of frames."""

    rotation: Tensor  # [T, 3, 3]
    translation: Tensor  # [T, 3] cm
    torso: Tensor  # [T, 4]
    gaze: Tensor  # [T, 2]
    residual: Tensor  # [T, K] to be added to an expression


def prosody_features(features: Tensor) -> Tensor:
    """Energy and voicing about each motion frame [T, 10], of log-mel features [4 T, 83].

    Means over fifths of a second, from .8 s before a frame to .2 s after it, which is within a live stream's lookahead.
    """
    energy_and_voicing = features[:, -3:-1].T[None]
    frames = functional.avg_pool1d(energy_and_voicing, STRIDE)
    padded = functional.pad(frames, (BLOCK * BLOCKS - 1 - LOOKAHEAD, LOOKAHEAD), mode="replicate")
    blocks, count = functional.avg_pool1d(padded, BLOCK, 1)[0], frames.shape[2]
    return torch.cat([blocks[:, at * BLOCK : at * BLOCK + count] for at in range(BLOCKS)]).T


class MotionGraph:
    """The person's own head motion without an end and without a visible loop.

    Follows the clip, and jumps to a frame with similar pose and velocity whose prosody is nearer to the current one;
    the offset at a jump decays. Head, shoulders, gaze, brows and cheeks stay together as they were recorded.
    """

    def __init__(
        self,
        style: SpeakingStyle,
        residual: Tensor,
        generator: torch.Generator,
        *,
        pose: Motion | None = None,
        prosody: Tensor | None = None,
    ) -> None:
        """residual: [T, K] of `speech_residual`, for the frames of the person's own motion.

        pose: motion to follow first from its beginning to its end, and to go on with, instead of the person's.
        prosody: [T, 10] of the frames of the person's own motion; without it jumps come every few seconds.
        """
        own = pose or style.own
        self._center = mean_rotation(own.rotation)
        turn = to_vector(self._center.T @ own.rotation)
        # a pose from elsewhere brings no residual: the person's runs forwards and backwards beside it
        ping_pong = torch.arange(len(own)) % (2 * len(residual))
        residual = residual[torch.minimum(ping_pong, 2 * len(residual) - 1 - ping_pong)]
        values = torch.cat([turn, own.translation, own.torso, own.eyes[:, 2:], residual], 1)  # [T, 12 + K]
        self._mean = values.mean(0)
        self._mean[:3] = 0
        self._mean[GUIDES:] = 0
        self._values = values
        self._guides = guides = values[:, :GUIDES]
        self._velocity = torch.gradient(guides, dim=0)[0] if len(values) > 1 else torch.zeros_like(guides)
        self._scale = guides.std(0).clamp_min(1e-3) if len(values) > 1 else torch.ones(GUIDES)
        self._prosody = None if pose else prosody
        self._prosody_scale = 1 if prosody is None else prosody.std(0).clamp_min(1e-2)
        self._fps, self._generator = own.fps, generator
        self._index, self._left = (-1, len(values)) if pose else (0, 0)
        self._offset = torch.zeros(values.shape[1])
        self._visit_penalty = torch.zeros(len(values))
        self._age = 0  # frames since the last jump

    def take(self, head: Tensor, gaze: Tensor, residual: Tensor, prosody: Tensor) -> HeadMotion:
        """The next frames, as many as there are gains of head, gaze and residual [T]; prosody: [T, 10]."""
        values = torch.stack([self._step(frame) for frame in prosody]) if len(prosody) else self._values[:0]
        modes = values.shape[1] - GUIDES
        gains = (head[:, None].expand(-1, 10), gaze[:, None].expand(-1, 2), residual[:, None].expand(-1, modes))
        values = self._mean + torch.cat(gains, 1) * (values - self._mean)
        turn, translation, torso, looks, face = values.split([3, 3, 4, 2, modes], 1)
        return HeadMotion(self._center @ exponential(turn), translation, torso, looks, face)

    def _step(self, prosody: Tensor) -> Tensor:
        following = self._index + 1
        if self._left <= 0 or following >= len(self._values):
            self._jump(int(self._transition_cost(self._prosody_cost(prosody)).argmin()))
        elif self._prosody is not None and self._age >= LEAST_STRETCH and self._age % JUMP_EVERY == 0:
            mismatch = self._prosody_cost(prosody)
            cost = self._transition_cost(mismatch)
            if mismatch[following] + (self._visit_penalty[following] - 1).clamp_min(0) <= cost.min():
                self._index = following
            else:
                self._jump(int(cost.argmin()))
        else:
            self._index = following
        self._left -= 1
        self._age += 1
        self._visit_penalty *= VISIT_DECAY
        self._visit_penalty[max(0, self._index - 2) : self._index + 3] += VISIT_PENALTY
        return self._values[self._index] + self._fade() * self._offset

    def _fade(self) -> Tensor:
        share = min(1.0, self._age / (FADE_SECONDS * self._fps))
        return 0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * share))

    def _prosody_cost(self, prosody: Tensor) -> Tensor:
        """Squared distance of the prosody of every frame from the current one [T]."""
        if self._prosody is None:
            return torch.zeros(len(self._values))
        return PROSODY_COST * ((self._prosody - prosody) / self._prosody_scale).square().mean(1)

    def _transition_cost(self, mismatch: Tensor) -> Tensor:
        """Cost of a jump to every frame [T]; infinite where none may lead."""
        count = len(self._values)
        cost = mismatch + RANDOM_COST * torch.rand(count, generator=self._generator) + self._visit_penalty + JUMP_COST
        if self._age:
            away = (self._guides - self._guides[self._index]) / self._scale
            faster = VELOCITY_WEIGHT * (self._velocity - self._velocity[self._index]) / self._scale
            cost = cost + POSE_COST * (away.square().mean(1) + faster.square().mean(1))
        frames = torch.arange(count)
        free = ((frames - self._index - 1).abs() >= LEAST_JUMP) & (frames < count - LAST)
        return torch.where(free, cost, torch.inf) if free.any() else cost

    def _jump(self, target: int) -> None:
        now = self._values[self._index] + self._fade() * self._offset
        self._offset = now - self._values[target] if self._age else torch.zeros_like(now)
        low, high = STRETCH_SECONDS
        seconds = low + (high - low) * float(torch.rand(1, generator=self._generator))
        self._left = int(seconds * self._fps) if self._prosody is None else len(self._values)
        self._index, self._age = target, 0
