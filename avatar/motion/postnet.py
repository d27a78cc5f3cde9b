"""Post-net: generic articulation to one person's expression. It is trained by `avatar.learn.postnet`."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.core.speech_model import PostNet
from avatar.motion.regression_inputs import leading_frame, spliced_articulation

CURVE_SOURCES = [ARTICULATION.index(name) for name in ("opening", "opening", "width", "protrusion")]
"""Which articulation each lip curve (opening, height, width, protrusion) is driven by."""


def apply_postnet(net: PostNet, inputs: Tensor) -> Tensor:
    """Expression [T, K] for inputs [T, I] of `regression_inputs`."""
    return move(net, standardize(net, spliced_articulation(inputs)))


def standardize(net: PostNet, articulation: Tensor) -> Tensor:
    """Articulation [..., F, A] in standard units of the person's own speech."""
    return (articulation - net.input_mean) / net.input_std


def move(net: PostNet, articulation: Tensor) -> Tensor:
    """Expression [..., K] of standardized articulation [..., F, A]; a convolution over F frames."""
    hidden = torch.tanh(articulation.flatten(-2) @ net.first.T + net.bias)
    return net.offset + leading_frame(articulation)[..., CURVE_SOURCES] @ net.lips + hidden @ net.second.T
