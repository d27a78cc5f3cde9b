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
from avatar.motion.decoder import Rows
from avatar.motion.encoder import STRIDE, Encoder
from avatar.motion.inputs import gather

RIDGE = 0.05  # of the mean of the squares of what is heard
EVERY = 2  # frames: those between are much like their neighbours
BOLDNESS = 1.5  # a regression on something heard with errors says less than it would have to


@dataclass(frozen=True)
class Practice:
    """Utterances, one after the other."""

    features: Tensor  # [4 T, D]
    articulation: Tensor  # [T, 5]
    lengths: list[int]  # motion frames of each


def save_practice(practice: Practice, path: Path) -> None:
    """Write as an asset: features in 8 bits, between the least and the most of each."""
    low, high = practice.features.amin(0), practice.features.amax(0)
    steps = ((practice.features - low) / (high - low).clamp_min(1e-6) * 255).round().to(torch.uint8)
    tensors = {"features": steps, "low": low, "high": high, "articulation": practice.articulation.half()}
    with whole(path) as temporary:
        save_file(tensors | {"lengths": torch.tensor(practice.lengths)}, temporary)


def load_practice() -> Practice:
    """The practice of the package."""
    tensors = load_file(Path(str(files("avatar") / "assets" / "practice.safetensors")))
    features = tensors["low"] + (tensors["high"] - tensors["low"]) * tensors["features"] / 255
    return Practice(features, tensors["articulation"].float(), tensors["lengths"].tolist())


def practise(encoder: Encoder, own: Tensor, expression: Tensor, weight: float) -> Rows:
    """Rows to learn from beside `own` articulation heard [N, 5] and expressions seen [N, K].

    weight: of all of them together.
    """
    practice = load_practice()
    parts = practice.features.split([STRIDE * length for length in practice.lengths])
    heard = torch.cat([gather(encoder, part) for part in parts])[::EVERY]
    centered, usual = own - own.mean(0), expression.mean(0)
    gram = centered.T @ centered + RIDGE * centered.square().sum() / len(ARTICULATION) * torch.eye(len(ARTICULATION))
    lips = torch.linalg.solve(gram, centered.T @ (expression - usual))  # [5, K]
    meant = (practice.articulation - practice.articulation.mean(0))[::EVERY]
    return Rows(heard, usual + BOLDNESS * meant @ lips, weight / len(heard))
