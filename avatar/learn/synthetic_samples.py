"""Synthetic samples: three minutes of synthesized speech that every person's regression is fitted to beside their clip.

They are of many voices and languages, and keep a model of one voice in one language fit for others. Which expressions
go with them is not known; a linear map from articulation, fitted to the person's clip, predicts them from the phones.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar.core.articulation import ARTICULATION, LIP_LEAD
from avatar.core.files import whole
from avatar.learn.regression import RegressionRows
from avatar.motion.encoder import STRIDE, Encoder
from avatar.motion.regression_inputs import regression_inputs

MAP_RIDGE = 0.05  # of the mean variance of an articulation: in short clips they are nearly collinear
FRAME_STEP = 2  # every second frame is used: neighbours are nearly the same
AMPLITUDE_COMPENSATION = 1.5  # errors in the predicted articulation shrink the map's slopes (regression dilution)


@dataclass(frozen=True)
class SyntheticSpeech:
    """Synthesized utterances, one after the other."""

    features: Tensor  # [4 T, D] at 100 Hz
    articulation: Tensor  # [T, 5] of their phones, 0..1
    lengths: list[int]  # motion frames of each utterance


def save_synthetic_speech(synthetic: SyntheticSpeech, path: Path) -> None:
    """Write as an asset; features are quantized to 8 bits between their minimum and maximum, column by column."""
    low, high = synthetic.features.amin(0), synthetic.features.amax(0)
    levels = ((synthetic.features - low) / (high - low).clamp_min(1e-6) * 255).round().to(torch.uint8)
    tensors = {"features": levels, "low": low, "high": high, "articulation": synthetic.articulation.half()}
    with whole(path) as temporary:
        save_file(tensors | {"lengths": torch.tensor(synthetic.lengths)}, temporary)


def load_synthetic_speech() -> SyntheticSpeech:
    """The asset of the package."""
    tensors = load_file(Path(str(files("avatar") / "assets" / "synthetic_samples.safetensors")))
    features = tensors["low"] + (tensors["high"] - tensors["low"]) * tensors["features"] / 255
    return SyntheticSpeech(features, tensors["articulation"].float(), tensors["lengths"].tolist())


def synthetic_rows(encoder: Encoder, own: Tensor, expression: Tensor, weight: float) -> RegressionRows:
    """Regression rows of the synthetic samples, for a person with predicted articulation [N, 5] and expressions [N, K].

    own: articulation that the encoder predicts for the person's lips (`lip_articulation`); weight: of all rows.
    """
    synthetic = load_synthetic_speech()
    parts = synthetic.features.split([STRIDE * length for length in synthetic.lengths])
    inputs = torch.cat([regression_inputs(encoder, part) for part in parts])[::FRAME_STEP]
    centered, mean = own - own.mean(0), expression.mean(0)
    ridge = MAP_RIDGE * centered.square().sum() / len(ARTICULATION) * torch.eye(len(ARTICULATION))
    slopes = torch.linalg.solve(centered.T @ centered + ridge, centered.T @ (expression - mean))  # [5, K]
    lips = torch.cat([_lead(part) for part in synthetic.articulation.split(synthetic.lengths)])
    articulation = (lips - lips.mean(0))[::FRAME_STEP]
    return RegressionRows(inputs, mean + AMPLITUDE_COMPENSATION * articulation @ slopes, weight / len(inputs))


def _lead(articulation: Tensor) -> Tensor:
    """Articulation [T, 5] as people's lips would show it, which run before it."""
    return torch.cat([articulation[LIP_LEAD:], articulation[-1:].expand(LIP_LEAD, -1)])
