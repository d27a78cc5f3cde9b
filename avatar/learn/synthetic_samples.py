"""Three minutes of synthesized speech in many voices and languages that every person practises with.

What a person does while saying it is not known; it is told from the phones and from how they move lips for what the
encoder hears in their own clip. It keeps a model of one voice in one language fit for others.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.core.files import whole
from avatar.learn.regression import RegressionRows
from avatar.motion.encoder import STRIDE, Encoder
from avatar.motion.regression_inputs import regression_inputs

RIDGE = 0.05  # of the mean of the squares of what is heard
EVERY = 2  # frames: those between are much like their neighbours
BOLDNESS = 1.5  # a regression on something heard with errors says less than it would have to


@dataclass(frozen=True)
class SyntheticSpeech:
    """Utterances, one after the other."""

    features: Tensor  # [4 T, D]
    articulation: Tensor  # [T, 5]
    lengths: list[int]  # motion frames of each


def save_synthetic_speech(synthetic: SyntheticSpeech, path: Path) -> None:
    """Write as an asset: features in 8 bits, between the least and the most of each."""
    low, high = synthetic.features.amin(0), synthetic.features.amax(0)
    steps = ((synthetic.features - low) / (high - low).clamp_min(1e-6) * 255).round().to(torch.uint8)
    tensors = {"features": steps, "low": low, "high": high, "articulation": synthetic.articulation.half()}
    with whole(path) as temporary:
        save_file(tensors | {"lengths": torch.tensor(synthetic.lengths)}, temporary)


def load_synthetic_speech() -> SyntheticSpeech:
    """The practice of the package."""
    tensors = load_file(Path(str(files("avatar") / "assets" / "synthetic_samples.safetensors")))
    features = tensors["low"] + (tensors["high"] - tensors["low"]) * tensors["features"] / 255
    return SyntheticSpeech(features, tensors["articulation"].float(), tensors["lengths"].tolist())


def synthetic_rows(encoder: Encoder, own: Tensor, expression: Tensor, weight: float) -> RegressionRows:
    """Rows to learn from beside `own` articulation heard [N, 5] and expressions seen [N, K].

    weight: of all of them together.
    """
    synthetic = load_synthetic_speech()
    parts = synthetic.features.split([STRIDE * length for length in synthetic.lengths])
    heard = torch.cat([regression_inputs(encoder, part) for part in parts])[::EVERY]
    centered, usual = own - own.mean(0), expression.mean(0)
    gram = centered.T @ centered + RIDGE * centered.square().sum() / len(ARTICULATION) * torch.eye(len(ARTICULATION))
    lips = torch.linalg.solve(gram, centered.T @ (expression - usual))  # [5, K]
    meant = (synthetic.articulation - synthetic.articulation.mean(0))[::EVERY]
    return RegressionRows(heard, usual + BOLDNESS * meant @ lips, weight / len(heard))
