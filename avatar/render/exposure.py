"""How bright each training frame was filmed, learned beside the avatar and left behind with training.

A camera that turns its exposure up and down would otherwise teach a renderer that faces brighten with the pose or the
lips they had at that moment. Frames held out have no such code: they are drawn as bright as the training's mean. After
the appearance embeddings of Martin-Brualla et al. 2021 (NeRF in the Wild), as small as a gain for each colour.
"""

from __future__ import annotations

import torch
from torch import Tensor

RATE = 0.003  # of the log of a gain, a visit
SHRINK = 0.02  # share of a gain that is forgotten at each visit
BETAS = (0.5, 0.9)  # a frame is visited a few dozen times
EPSILON = 1e-12
SETTLE = 0.05  # of the budget: what is drawn before is no guide yet


class Exposure:
    """Gains of the colours of frames, one at first; holds their optimizer."""

    def __init__(self, frames: int) -> None:
        self.values = torch.zeros(frames, 3)  # logs of the gains
        self._first, self._second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self._visits = torch.zeros(frames)
        self._leaf = torch.zeros(3)

    def gain(self, frame: int) -> Tensor:
        """What a drawn frame is multiplied with [3, 1, 1], to learn from."""
        self._leaf = self.values[frame].clone().requires_grad_()
        return self._leaf.exp()[:, None, None]

    def update(self, frame: int, progress: float) -> None:
        """One Adam step (Kingma and Ba 2015) from the gradients of what `gain` gave last."""
        gradient = self._leaf.grad
        if gradient is None or progress < SETTLE:
            return
        self._visits[frame] += 1
        first, second, visits = self._first[frame], self._second[frame], float(self._visits[frame])
        first.lerp_(gradient, 1 - BETAS[0])
        second.lerp_(gradient.square(), 1 - BETAS[1])
        step = first / (1 - BETAS[0] ** visits) / ((second / (1 - BETAS[1] ** visits)).sqrt() + EPSILON)
        self.values[frame] = (1 - SHRINK) * self.values[frame] - RATE * step
