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

    def __init__(self, frames: int, device: torch.device) -> None:
        self._logs = torch.zeros(frames, 3, device=device)  # 0 of frames that are not known
        self._known = torch.zeros(frames, 1, device=device)  # 1, or 0

    def gain(self, frame: Tensor) -> Tensor:
        """What a drawn frame [1] int64 is multiplied with [3, 1, 1]; over all frames the mean of its log is 0."""
        mean = self._logs.sum(0) / self._known.sum().clamp_min(1)
        return ((self._logs[frame] - mean) * self._known[frame]).exp()[0, :, None, None]

    def update(self, frame: Tensor, drawn: Tensor, truth: Tensor, fitted: Tensor) -> None:
        """Fit a frame's gain to it drawn without a gain and as it is, both [3, S, S]: least squares for each colour.

        fitted: [1] 1, or 0 where nothing is changed. What is not finite changes nothing either.
        """
        best = (drawn * truth).sum((1, 2)) / drawn.square().sum((1, 2)).clamp_min(1e-6)
        target = best.clamp_min(1e-6).log().clamp(-MOST_LOG_GAIN, MOST_LOG_GAIN)
        fitted = torch.where(target.isfinite().all(), fitted, 0)
        logs = torch.lerp(self._logs[frame], target.nan_to_num()[None], UPDATE_RATE * fitted)
        self._logs.index_copy_(0, frame, logs)
        self._known.index_copy_(0, frame, torch.maximum(self._known[frame], fitted[None]))
