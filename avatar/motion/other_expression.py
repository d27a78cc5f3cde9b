"""Another recording's expression beside speech: its brows, eyes, cheeks and mouth corners, in this person's range."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from avatar.core.eyes import eyelid_closure
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, MotionSpace
from avatar.motion.behaviour import slope_on, smooth, speech_residual
from avatar.motion.expression import SPEECH_RAMP, to_range

LIDS = 2  # first modes of the MotionSpace
SLOW_FRAMES = 25.0  # deviation of the Gaussian that leaves of the lips what no speech is: a smile, a pout


@dataclass(frozen=True)
class OtherFrames:
    """What another recording shows, frame by frame."""

    expression: Tensor  # [T, K] to be added
    shut: Tensor  # [T] lid closure
    gaze: Tensor  # [T, 2] about its mean
    speaks: Tensor  # [T] 0..1, smooth: how far lips go before what is shown


class OtherExpression:
    """A recording's expression, run forwards and backwards without an end."""

    def __init__(self, other: Motion, own: Tensor, space: MotionSpace) -> None:
        """other: of the recording; own: [N, K] expressions of this person without lids.

        Both are about a face at rest, so that the difference of their means is what the other person shows all the
        time. Lips follow only where they change slowly.
        """
        shut = eyelid_closure(other.eyes)
        face = other.expression - shut[:, None] * slope_on(shut, other.expression, least=1e-3)
        face[:, :LIDS] = 0
        centred, reading = face - face.mean(0), read_lips(space.basis)
        lips = centred @ reading
        slow = smooth(lips, SLOW_FRAMES) @ (torch.linalg.pinv(lips, rtol=1e-4) @ centred)
        lasting = to_range(face.mean(0) - own.mean(0), own)
        gaze = other.eyes[:, 2:] - other.eyes[:, 2:].mean(0)
        self._expression = lasting + slow + speech_residual(face, reading)
        self._shut, self._gaze = shut, gaze
        self._next, self._speaks = 0, 0.0
        self._share = 1 - exp(-1 / (SPEECH_RAMP * other.fps))

    def take(self, voice: Tensor) -> OtherFrames:
        """The next frames; voice: [T] 0..1, how far there is speech."""
        length = len(self._shut)
        at = (self._next + torch.arange(len(voice))) % (2 * length)
        at = torch.minimum(at, 2 * length - 1 - at)
        self._next += len(voice)
        speaks = torch.tensor([self._ramp(level) for level in voice.tolist()])
        return OtherFrames(self._expression[at], self._shut[at], self._gaze[at], speaks)

    def _ramp(self, voice: float) -> float:
        self._speaks += self._share * (voice - self._speaks)
        return self._speaks
