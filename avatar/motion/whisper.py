"""The backbone: the first two layers of Whisper's encoder, frozen.

Radford et al. 2022, Robust Speech Recognition via Large-Scale Weak Supervision, section 2.2. The hidden states of its
first layers depend little on speaker and room, and predict lips far better than features learned from a few minutes of
video; later layers, nearer to words, predict them worse (docs/figures.md, "Speech to motion").
"""

from __future__ import annotations

import functools
import math
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from avatar.core.files import UserError, check_readable

BANDS = 80
HEAD = 64  # channels of an attention head, in all of Whisper's sizes
BIN_HZ = 40  # width of a bin of the spectrum: Whisper's mel filters have unit area over hertz, ours over bins


class Whisper(nn.Module):
    """Log-mel features [B, 80, t] of `avatar.motion.features` at 100 Hz -> hidden states [B, W, t / 2]; t even."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))

    def forward(self, mel: Tensor) -> Tensor:
        hidden = self.convolve(mel)
        hidden = hidden + positions(hidden.shape[1], hidden.shape[2])
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden.transpose(1, 2)

    def convolve(self, mel: Tensor) -> Tensor:
        """What the first layer takes, before positions are added: [B, 80, t] -> [B, t / 2, W]."""
        return functional.gelu(self.second(functional.gelu(self.first(normalize(mel))))).transpose(1, 2)


def normalize(mel: Tensor) -> Tensor:
    """Log-mel features as Whisper was trained with them."""
    power = mel * 4 / math.log(10) - math.log10(BIN_HZ)  # ours is the natural logarithm / 4
    return (power + 4) / 4


class Layer(nn.Module):
    """A pre-norm transformer layer: residual self-attention and feed-forward network, [B, T, W] -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query, self.value, self.out = (nn.Linear(width, width) for _ in range(3))
        self.key = nn.Linear(width, width, bias=False)
        self.wide_norm = nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.advance(hidden, *self.keys_and_values(hidden))

    def keys_and_values(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, T, 64] of hidden states [B, T, W]."""
        normed = self.norm(hidden)
        return _heads(self.key(normed)), _heads(self.value(normed))

    def advance(self, hidden: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The layer's output for hidden states [B, T, W] that attend to keys and values [B, H, N, 64]."""
        query = _heads(self.query(self.norm(hidden)))
        attended = functional.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
        hidden = hidden + self.out(attended)
        return hidden + self.narrow(functional.gelu(self.widen(self.wide_norm(hidden))))


def _heads(values: Tensor) -> Tensor:
    """[B, T, W] -> [B, H, T, 64]."""
    return values.unflatten(2, (-1, HEAD)).transpose(1, 2)


def positions(count: int, width: int) -> Tensor:
    """Sinusoidal embeddings [T, W] of positions: sines, then cosines, at wavelengths from 2 pi to 20000 pi."""
    half = width // 2
    angle = torch.arange(count)[:, None] * torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))
    return torch.cat([angle.sin(), angle.cos()], 1)


def load_whisper(path: Path) -> Whisper:
    """Layers of a file written by recipes/whisper_layers.py. Raises: UserError when it is no such file."""
    check_readable(path, "speech recognizer")
    try:
        tensors = load_file(path)
        layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("layers."))
        with torch.device("meta"):  # initializes no weights: loading must not advance the random state of the process
            whisper = Whisper(len(tensors["first.bias"]), layers)
        whisper.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise UserError(f"{path}: holds no layers of Whisper; make it with recipes/whisper_layers.py") from error
    return whisper.eval().requires_grad_(False)


@functools.cache
def packaged_whisper() -> Whisper:
    """The layers that ship with the package, loaded once."""
    return load_whisper(Path(str(files("avatar") / "assets" / "whisper.safetensors")))
