"""Features -> articulation: a dilated convolutional network, trained on synthesized speech whose phones are known."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from avatar.core.articulation import ARTICULATION, CLASSES
from avatar.core.files import UserError, check_readable, whole
from avatar.motion.features import USUAL

FORMAT = "encoder/2"
CHANNELS = 160
STRIDE = 4  # feature frames per motion frame: 100 Hz -> 25 Hz
CONTEXT = 24  # motion frames to either side that can matter


class Encoder(nn.Module):
    """Features [B, D, t] at 100 Hz -> hidden [B, 160, t / 4], articulation [B, 5, t / 4], classes [B, 8, t / 4]."""

    def __init__(self, width: int, features: str = USUAL) -> None:
        """features: the name of what it hears, `width` values a frame."""
        super().__init__()
        self.features = features
        self.first = nn.Conv1d(width, CHANNELS, 5, padding=2)
        self.fine = nn.ModuleList(Block(dilation) for dilation in (1, 2, 4))
        self.down = nn.Conv1d(CHANNELS, CHANNELS, STRIDE, stride=STRIDE)
        self.coarse = nn.ModuleList(Block(dilation) for dilation in (1, 2, 4, 1))
        self.articulation = nn.Conv1d(CHANNELS, len(ARTICULATION), 1)
        self.classes = nn.Conv1d(CHANNELS, len(CLASSES), 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = functional.gelu(self.first(features))
        for block in self.fine:
            hidden = block(hidden)
        hidden = self.down(hidden)
        for block in self.coarse:
            hidden = block(hidden)
        return hidden, torch.sigmoid(self.articulation(hidden)), self.classes(hidden)


class Block(nn.Module):
    """Residual dilated convolution, [B, C, t] -> [B, C, t]."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.mix = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation)
        self.out = nn.Conv1d(CHANNELS, CHANNELS, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        norm = self.norm(hidden.transpose(1, 2))
        return hidden + self.out(functional.gelu(self.mix(norm.transpose(1, 2))))


def encode(encoder: Encoder, features: Tensor) -> Tensor:
    """Features [t, D] at 100 Hz -> [t / 4, 165]: hidden, then articulation; the end is padded to a whole frame."""
    hidden, articulation, _ = encoder(to_whole_frames(features).T[None])
    return torch.cat([hidden, articulation], 1)[0].T


def half_precision() -> torch.autocast:
    """Networks in bfloat16 where the processor computes in it: half the time; emulated, ten times as long."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions do not say
    return torch.autocast("cpu", torch.bfloat16, enabled=capabilities.get("avx512_bf16", False))


def to_whole_frames(features: Tensor) -> Tensor:
    """Features [t, D] with the last one repeated to the end of its motion frame."""
    missing = -len(features) % STRIDE
    return torch.cat([features, features[-1:].expand(missing, -1)]) if missing else features


def save_encoder(encoder: Encoder, path: Path, note: dict[str, str]) -> None:
    """Write weights, in half precision, with the name of their features."""
    with whole(path) as temporary:
        tensors = {name: tensor.half().contiguous() for name, tensor in encoder.state_dict().items()}
        save_file(tensors, temporary, {"format": FORMAT, "features": encoder.features} | note)


def load_encoder(path: Path | None = None) -> Encoder:
    """The encoder of the package, or of a file. Raises: UserError for a file of another kind, version or shape."""
    source = path or Path(str(files("avatar") / "assets" / "encoder.safetensors"))
    check_readable(source, "encoder")
    try:
        with safe_open(source, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UserError(f"{source}: is of format {metadata.get('format')}, this version reads {FORMAT}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return from_tensors(tensors, metadata["features"])
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise UserError(f"{source}: is not an encoder that this version can read; train it again") from error


def from_tensors(tensors: dict[str, Tensor], features: str = USUAL) -> Encoder:
    """An encoder, ready to use, from its weights."""
    encoder = Encoder(tensors["first.weight"].shape[1], features)
    encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return encoder.eval()
