"""What a person's own part of the speech model is given: all that is heard about each moment, in one row."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.motion.encoder import (
    CHANNELS,
    DIRECTION_REACH,
    DIRECTIONS,
    REACH,
    STRIDE,
    Encoder,
    encode,
    to_whole_frames,
)


def gather(encoder: Encoder, features: Tensor) -> Tensor:
    """Inputs [T, I] for features [t, D]: of 3 frames each, what `encode` tells, and mean features; then how far what is
    perceived in 5 lies along the directions that lips go by [T, 32].
    """
    heard = encode(encoder, features)
    mean = to_whole_frames(features).unflatten(0, (-1, STRIDE)).mean(1)
    frames = torch.cat([heard.hidden, heard.articulation, heard.lips, heard.perceived, mean], 1)
    return torch.cat([beside(frames, REACH), perceive_about(heard.perceived) @ encoder.directions.T], 1)


def beside(frames: Tensor, reach: int) -> Tensor:
    """Of frames [T, D] those about each, one after the other [T, (2 reach + 1) D]; beyond the ends, the last ones."""
    index, shifts = torch.arange(len(frames)), range(-reach, reach + 1)
    return torch.cat([frames[(index + shift).clamp(0, len(frames) - 1)] for shift in shifts], 1)


def perceive_about(perceived: Tensor) -> Tensor:
    """What directions are taken through [T, 5 W], of what is perceived in each frame [T, W]."""
    return beside(perceived, DIRECTION_REACH)


def split_frames(inputs: Tensor) -> Tensor:
    """What inputs [..., I] hold of each of 3 frames [..., 3, O]."""
    return inputs[..., :-DIRECTIONS].unflatten(-1, (2 * REACH + 1, -1))


def hear_about(inputs: Tensor) -> Tensor:
    """Articulation [N, 3, 5] of each of the frames in inputs [N, I]."""
    return split_frames(inputs)[..., CHANNELS : CHANNELS + len(ARTICULATION)]


def heard_articulation(inputs: Tensor) -> Tensor:
    """Articulation [N, 5] of the middle frame of inputs [N, I]."""
    return hear_about(inputs)[:, REACH]
