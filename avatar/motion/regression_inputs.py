"""The input vector of one person's decoder: spliced encoder outputs and projections onto learned directions."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION, LIP_LEAD
from avatar.core.lips import CURVES
from avatar.motion.encoder import (
    CHANNELS,
    DIRECTION_REACH,
    DIRECTIONS,
    REACH,
    STRIDE,
    Encoder,
    EncoderOutput,
    encode,
    to_whole_frames,
)


def regression_inputs(encoder: Encoder, features: Tensor) -> Tensor:
    """Inputs [T, I] for features [t, D] at 100 Hz.

    Of 3 frames each: hidden state, articulation, lips and backbone of `encode`, and mean features. Then backbone
    features spliced over 5 frames, projected onto the encoder's directions [T, 32].
    """
    return assemble_inputs(encoder, encode(encoder, features), to_whole_frames(features))


def inputs_width(backbone: int, features: int) -> int:
    """The width I of inputs, of a backbone and audio features of these widths."""
    return (2 * REACH + 1) * (CHANNELS + len(ARTICULATION) + len(CURVES) + backbone + features) + DIRECTIONS


def assemble_inputs(encoder: Encoder, encoded: EncoderOutput, features: Tensor) -> Tensor:
    """Inputs [..., T, I] of an encoder's output and the features [..., 4 T, D] that it was made of."""
    return join_inputs(encoder.directions, encoded, features)


def join_inputs(directions: Tensor, encoded: EncoderOutput, features: Tensor) -> Tensor:
    """As `assemble_inputs`, by an encoder's directions alone."""
    mean = features.unflatten(-2, (-1, STRIDE)).mean(-2)
    frames = torch.cat([encoded.hidden, encoded.articulation, encoded.lips, encoded.backbone, mean], -1)
    return torch.cat([splice(frames, REACH), splice_backbone(encoded.backbone) @ directions.T], -1)


def splice(frames: Tensor, reach: int) -> Tensor:
    """Frames [..., T, D] concatenated with their neighbours [..., T, (2 reach + 1) D]; the ends are repeated."""
    count = frames.shape[-2]
    index, shifts = torch.arange(count, device=frames.device), range(-reach, reach + 1)
    return torch.cat([frames[..., (index + shift).clamp(0, count - 1), :] for shift in shifts], -1)


def splice_backbone(backbone: Tensor) -> Tensor:
    """Backbone features [..., T, W] spliced over the 5 frames that directions look at [..., T, 5 W]."""
    return splice(backbone, DIRECTION_REACH)


def split_frames(inputs: Tensor) -> Tensor:
    """The spliced part of inputs [..., I], frame by frame [..., 3, O]."""
    return inputs[..., :-DIRECTIONS].unflatten(-1, (2 * REACH + 1, -1))


def spliced_articulation(inputs: Tensor) -> Tensor:
    """Articulation [N, 3, 5] of the frames spliced in inputs [N, I]."""
    return split_frames(inputs)[..., CHANNELS : CHANNELS + len(ARTICULATION)]


def average_lips(inputs: Tensor) -> Tensor:
    """Lip curves [N, 3] of an average speaker, in standard units, in the middle frame of inputs [N, I]."""
    first = CHANNELS + len(ARTICULATION)
    return split_frames(inputs)[..., REACH, first : first + len(CURVES)]


def lip_articulation(inputs: Tensor) -> Tensor:
    """Articulation [N, 5] that people's lips show in the middle frame of inputs [N, I], before it is heard."""
    return leading_frame(spliced_articulation(inputs))


def leading_frame(articulation: Tensor) -> Tensor:
    """Of articulation [..., F, 5] the frame [..., 5] that people's lips are at in the middle one."""
    return articulation[..., articulation.shape[-2] // 2 + LIP_LEAD, :]
