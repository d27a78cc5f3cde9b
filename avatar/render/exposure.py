"""How bright each training frame was filmed: estimated beside the renderer, dropped after training.

From a camera that turns its exposure up and down a renderer would otherwise learn that faces brighten with the pose or
the lips they had at that moment. Frames held out have no gain: they are drawn as bright as the training's mean. After
the appearance embeddings of Martin-Brualla et al. 2021 (NeRF in the Wild), as small as three gains.
"""

from __future__ import annotations

import torch
from torch import Tensor

UPDATE_RATE = 0.3  # of the way to the best gain, at each visit: one visit's noise is averaged over about three
WARM_UP = 0.05  # of the budget: what is drawn before is too far from the truth to compare brightness with
MOST_LOG_GAIN = 0.3  # a third brighter or darker: more is not the camera's doing


class Exposure:
    """Gains of the colours of frames, one at first."""

    def __init__(self, frames: int) -> None:
        self._logs, self._known = torch.zeros(frames, 3), torch.zeros(frames, dtype=torch.bool)

    def gain(self, frame: int) -> Tensor:
        """What a drawn frame is multiplied with [3, 1, 1]; over all frames the mean of its log is 0."""
        if not self._known[frame]:
            return torch.ones(3, 1, 1)
        return (self._logs[frame] - self._logs[self._known].mean(0)).exp()[:, None, None]

    def update(self, frame: int, drawn: Tensor, truth: Tensor, progress: float) -> None:
        """Fit a frame's gain to it drawn without a gain and as it is, both [3, S, S]: least squares for each colour."""
        if progress < WARM_UP:
            return
        best = (drawn * truth).sum((1, 2)) / drawn.square().sum((1, 2)).clamp_min(1e-6)
        self._logs[frame].lerp_(best.clamp_min(1e-6).log().clamp(-MOST_LOG_GAIN, MOST_LOG_GAIN).cpu(), UPDATE_RATE)
        self._known[frame] = True
