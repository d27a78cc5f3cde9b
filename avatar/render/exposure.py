"""How bright each training frame was filmed, learned beside the avatar and left behind with training.

A camera that turns its exposure up and down would otherwise teach a renderer that faces brighten with the pose or the
lips they had at that moment. Frames held out have no such code: they are drawn as bright as the training's mean. The
idea is that of the appearance embeddings of Martin-Brualla et al. 2021 (NeRF in the Wild), as small as three gains.
"""

from __future__ import annotations

import torch
from torch import Tensor

FOLLOW = 0.3  # how far a gain goes at each visit towards what fits best
SETTLE = 0.05  # of the budget: what is drawn before is no guide yet
MOST = 0.3  # of the log of a gain


class Exposure:
    """Gains of the colours of frames, one at first."""

    def __init__(self, frames: int) -> None:
        self._logs, self._known = torch.zeros(frames, 3), torch.zeros(frames, dtype=torch.bool)

    def gain(self, frame: int) -> Tensor:
        """What a drawn frame is multiplied with [3, 1, 1]; the mean over all frames is none."""
        if not self._known[frame]:
            return torch.ones(3, 1, 1)
        return (self._logs[frame] - self._logs[self._known].mean(0)).exp()[:, None, None]

    def update(self, frame: int, drawn: Tensor, truth: Tensor, progress: float) -> None:
        """Learn from a frame drawn without its gain, and as it is, both [3, S, S]: least squares for each colour."""
        if progress < SETTLE:
            return
        best = (drawn * truth).sum((1, 2)) / drawn.square().sum((1, 2)).clamp_min(1e-6)
        self._logs[frame].lerp_(best.clamp_min(1e-6).log().clamp(-MOST, MOST).cpu(), FOLLOW)
        self._known[frame] = True
