"""Encoder output -> one person's expression: the part of the speech model that is adapted."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar.core.articulation import ARTICULATION
from avatar.motion.encoder import CHANNELS, Encoder, encode, from_tensors

HIDDEN = 96
REACH = 2  # motion frames to either side
CONTEXT = 24  # motion frames to either side after which nothing of the sound matters any more


class Decoder(nn.Module):
    """[B, 165, T] -> standardized expression [B, K, T]."""

    def __init__(self, modes: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(CHANNELS + len(ARTICULATION), modes, 1)
        self.first = nn.Conv1d(CHANNELS + len(ARTICULATION), HIDDEN, 2 * REACH + 1, padding=REACH)
        self.drop = nn.Dropout(0.2)
        self.second = nn.Conv1d(HIDDEN, modes, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, encoded: Tensor) -> Tensor:
        return self.linear(encoded) + self.second(self.drop(torch.tanh(self.first(encoded))))


class Speaker:
    """One person's speech model, ready to use: features [t, D] -> expression [T, K], mouth only."""

    def __init__(self, encoder: Encoder, decoder: Decoder, mean: Tensor, std: Tensor) -> None:
        self.encoder, self.decoder = encoder.eval(), decoder.eval()
        self.mean, self.std = mean, std

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        encoded = encode(self.encoder, features)
        return self.decoder(encoded.T[None])[0].T * self.std + self.mean


def pack_speaker(speaker: Speaker) -> dict[str, Tensor]:
    """Tensors of an avatar file; half precision, which changes motion by far less than a landmark's noise."""
    parts = {"encoder": speaker.encoder, "decoder": speaker.decoder}
    weights = {f"{part}.{name}": t.half() for part, model in parts.items() for name, t in model.state_dict().items()}
    return weights | {"mean": speaker.mean, "std": speaker.std}


def load_speaker(tensors: dict[str, Tensor]) -> Speaker:
    """The speech model of an avatar's tensors."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: t.float() for name, t in tensors.items() if name.startswith(prefix)}

    decoder = Decoder(tensors["mean"].shape[0])
    decoder.load_state_dict(part("decoder."))
    return Speaker(from_tensors(part("encoder.")), decoder, tensors["mean"], tensors["std"])
