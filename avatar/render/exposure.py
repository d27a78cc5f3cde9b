"""How bright each training frame was filmed: estimated beside the renderer, dropped after training.

From a camera that turns its exposure up and down a renderer would otherwise learn that faces brighten with the pose or
the lips they had at that moment. Frames held out have no gain: they are drawn as bright as the training's mean. After
the appearance embeddings of Martin-Brualla et al. 2021 (NeRF in the Wild), as small as three gains.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ext import ops

UPDATE_RATE = 0.3  # of the way to the best gain, at each visit: one visit's noise is averaged over about three
WARM_UP = 0.05  # of the budget: what is drawn before is too far from the truth to compare brightness with
MOST_LOG_GAIN = 0.3  # a third brighter or darker: more is not the camera's doing


class Exposure:
    """Gains of the colours of frames, one at first."""

    def __init__(self, frames: int, device: torch.device) -> None:
        self.gains = torch.zeros(frames + 1, 4, device=device)  # as `ops.compose` reads them

    def update(self, frame: Tensor, sums: Tensor, fitted: Tensor) -> None:
        """Move a frame's gain towards that which makes it as bright as it was filmed: least squares for each colour.

        frame: [1] int64; sums: [7] of `ops.compose`; fitted: [1] 1, or 0 where nothing is changed. What is not finite
        changes nothing either.
        """
        ops.update_exposure_(self.gains, frame, sums, fitted, rate=UPDATE_RATE, most=MOST_LOG_GAIN)
