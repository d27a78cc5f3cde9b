"""Emotions from the voice: how loud and how dense speech is against the speaker's own, which says arousal, not valence.

Loudness and rate are what arousal is heard by most (Banse and Scherer 1996, Acoustic profiles in vocal emotion
expression). Whether somebody is glad or angry is not in them: a lively voice raises brows, a faint one lowers them.
"""

from __future__ import annotations

from math import exp

import torch
from torch import Tensor

from avatar.core.emotion import Emotion

SECONDS = 1.5  # of the low pass: a phrase
SPEAKS = 0.3  # of a second's frames that have a pitch, from which there is speech
LIVELY, FAINT = 0.8, 0.8  # deviations of the speaker's own from which something is shown
MOST, SLOPE = 0.5, 0.4  # strength shown at most; of each deviation beyond
LOUD, DENSE = 0.7, 0.3  # weights of loudness and of the share of voiced frames
LEAST_FRAMES = 50  # of speech that a speaker is known by
USUAL = (
    torch.tensor([0.0, 0.5]),
    torch.tensor([1.0, 0.25]),
)  # mean and deviation where the speaker's own are not known


class Arousal:
    """A stream of prosody -> emotions."""

    def __init__(self, own: Tensor | None, fps: float) -> None:
        """own: [T, 10] prosody features of the speaker's own clip (`avatar.motion.head_motion`)."""
        known = None if own is None else loudness_and_density(own)
        known = None if known is None else known[known[:, 1] > SPEAKS]
        measured = known is not None and len(known) >= LEAST_FRAMES
        self._mean, self._deviation = (known.mean(0), known.std(0)) if known is not None and measured else USUAL
        self._keeps = exp(-1 / (SECONDS * fps))
        self._level = 0.0

    def take(self, prosody: Tensor) -> list[Emotion]:
        """What the next frames [T, 10] are to show."""
        measured = loudness_and_density(prosody)
        standard = (measured - self._mean) / self._deviation.clamp_min(1e-3)
        wanted = (standard @ torch.tensor([LOUD, DENSE])).clamp(-3, 3)
        speaks = (measured[:, 1] > SPEAKS).tolist()
        return [self._step(value, voiced) for value, voiced in zip(wanted.tolist(), speaks, strict=True)]

    def _step(self, wanted: float, speaks: bool) -> Emotion:
        self._level = self._keeps * self._level + (1 - self._keeps) * (wanted if speaks else 0.0)
        if self._level > LIVELY:
            return Emotion("surprised", min(MOST, SLOPE * (self._level - LIVELY)))
        return Emotion("sad", min(MOST, SLOPE * (-self._level - FAINT))) if self._level < -FAINT else Emotion()


def loudness_and_density(prosody: Tensor) -> Tensor:
    """Mean energy and voicing [T, 2] of the second about each frame, of prosody features [T, 10]."""
    return torch.stack([prosody[:, 0::2].mean(1), prosody[:, 1::2].mean(1)], 1)
