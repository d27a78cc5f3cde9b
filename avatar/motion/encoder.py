"""Audio features -> articulation and lip curves of any speaker: a dilated convolutional network.

Pre-trained on synthesized speech with known phones, then fine-tuned on real lips (`avatar.learn`). Its backbone is the
first layers of a speech recognizer (`avatar.motion.whisper`), or a model of the user's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from avatar.core.articulation import ARTICULATION, CLASSES
from avatar.core.deflate import shorten
from avatar.core.files import UserError, check_readable, read_safetensors, whole
from avatar.core.lips import CURVES
from avatar.motion.features import DEFAULT_FEATURES
from avatar.motion.whisper import BANDS, packaged_whisper

FORMAT = "encoder/5"
CHANNELS = 160
STRIDE = 4  # feature frames per motion frame: 100 Hz -> 25 Hz
PAIR = 2  # backbone frames per motion frame: 50 Hz -> 25 Hz
SEGMENT = 150  # motion frames encoded at a time; two overlapping segments are averaged (docs/lab/speech.md)
CONTEXT = 25  # motion frames to either side of a segment that are encoded with it, and dropped
STEP = SEGMENT // 2  # motion frames from one segment to the next
BEYOND = STEP + CONTEXT  # motion frames after a whole number of steps that can change the output before
LIP_REACH, LIP_HIDDEN = 2, 64
REACH = 1  # motion frames to either side that a person's regression takes; two are no better (docs/lab/speech.md)
DIRECTIONS, DIRECTION_REACH = 32, 2  # learned projections of the backbone, over so many frames to either side
DIGITS = 7  # binary, of stored weights: lips stay equal to .9999, and a package is .2 MB smaller than with all ten
INPUT_DROPOUT, HIDDEN_DROPOUT = 0.2, 0.3  # of the lip head in training


class Encoder(nn.Module):
    """Backbone features [B, W, 2 T] -> hidden [B, 160, T], articulation [B, 5, T] and phone class logits [B, 48, T]."""

    directions: Tensor  # [32, 5 W] of the backbone over 5 frames that lips change along most: `avatar.learn.directions`

    def __init__(self, width: int, features: str = DEFAULT_FEATURES) -> None:
        """features: name of the audio features, of which `backbone_features` makes `width` values a frame."""
        super().__init__()
        self.features = features
        self.first = nn.Conv1d(width, CHANNELS, 1)
        self.fine = nn.ModuleList(Block(dilation) for dilation in (1, 2))
        self.down = nn.Conv1d(CHANNELS, CHANNELS, PAIR, stride=PAIR)
        self.coarse = nn.ModuleList(Block(dilation) for dilation in (1, 2, 4, 1))
        self.articulation = nn.Conv1d(CHANNELS, len(ARTICULATION), 1)
        self.classes = nn.Conv1d(CHANNELS, len(CLASSES), 1)
        self.lips = LipHead()
        self.register_buffer("directions", torch.zeros(DIRECTIONS, (2 * DIRECTION_REACH + 1) * width))

    def forward(self, backbone: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = functional.gelu(self.first(backbone))
        for block in self.fine:
            hidden = block(hidden)
        hidden = self.down(hidden)
        for block in self.coarse:
            hidden = block(hidden)
        return hidden, torch.sigmoid(self.articulation(hidden)), self.classes(hidden)


class LipHead(nn.Module):
    """Hidden and articulation [B, 165, T] -> lip curves [B, 3, T] of any speaker, in standard units."""

    def __init__(self) -> None:
        super().__init__()
        width = CHANNELS + len(ARTICULATION)
        self.linear = nn.Conv1d(width, len(CURVES), 1)
        self.first = nn.Conv1d(width, LIP_HIDDEN, 2 * LIP_REACH + 1, padding=LIP_REACH)
        self.input_dropout, self.hidden_dropout = nn.Dropout(INPUT_DROPOUT), nn.Dropout(HIDDEN_DROPOUT)
        self.second = nn.Conv1d(LIP_HIDDEN, len(CURVES), 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, encoded: Tensor) -> Tensor:
        encoded = self.input_dropout(encoded)
        return self.linear(encoded) + self.second(self.hidden_dropout(torch.tanh(self.first(encoded))))


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


@torch.no_grad()
def backbone_features(features: Tensor, name: str) -> Tensor:
    """Backbone features [B, W, t / 2] of audio features [B, D, t] of a name."""
    if name == DEFAULT_FEATURES:
        return packaged_whisper()(features[:, :BANDS])
    return functional.avg_pool1d(features, STRIDE // PAIR)


@dataclass(frozen=True)
class EncoderOutput:
    """The encoder's output for a recording, motion frame by motion frame."""

    hidden: Tensor  # [T, 160]
    articulation: Tensor  # [T, 5]
    lips: Tensor  # [T, 3] lip curves of any speaker, in standard units
    backbone: Tensor  # [T, W]


def encode(encoder: Encoder, features: Tensor) -> EncoderOutput:
    """Encode features [t, D] at 100 Hz, of any length; the end is padded to a whole motion frame.

    Segments of six seconds, with one second of context to either side, overlap by half and are averaged, which predicts
    lips better than either (docs/figures.md). Recordings of up to four seconds are one segment.
    """
    padded = to_whole_frames(features).T[None]
    count = padded.shape[2] // STRIDE
    if count <= BEYOND:
        return EncoderOutput(*_encode_segment(encoder, padded))
    total: list[Tensor] = []
    for start in range(-STEP, count, STEP):
        begin, first, last = max(0, start - CONTEXT), max(0, start), min(count, start + SEGMENT)
        encoded = _encode_segment(encoder, padded[..., begin * STRIDE : (last + CONTEXT) * STRIDE])
        total = total or [one.new_zeros(count, one.shape[1]) for one in encoded]
        for sum_, one in zip(total, encoded, strict=True):
            sum_[first:last] += one[first - begin : last - begin] / 2
    return EncoderOutput(*total)


def _encode_segment(encoder: Encoder, features: Tensor) -> tuple[Tensor, ...]:
    """Hidden, articulation, lips and backbone [T, ...] of features [1, D, 4 T]."""
    backbone = backbone_features(features, encoder.features)
    hidden, articulation, _ = encoder(backbone)
    lips = encoder.lips(torch.cat([hidden, articulation], 1))
    return tuple(one[0].T for one in (hidden, articulation, lips, functional.avg_pool1d(backbone, PAIR)))


def to_whole_frames(features: Tensor) -> Tensor:
    """Features [t, D] with the last one repeated to the end of its motion frame."""
    missing = -len(features) % STRIDE
    return torch.cat([features, features[-1:].expand(missing, -1)]) if missing else features


def save_encoder(encoder: Encoder, path: Path, note: dict[str, str]) -> None:
    """Write weights, in half precision of DIGITS, with the name of their features; note: metadata beside them."""
    with whole(path) as temporary:
        tensors = {name: shorten(tensor, DIGITS) for name, tensor in encoder.state_dict().items()}
        save_file(tensors, temporary, {"format": FORMAT, "features": encoder.features} | note)


def encoder_id(encoder: Encoder) -> str:
    """Which encoder it is: a digest of its weights, as files and avatars keep them."""
    digest = hashlib.sha256(encoder.features.encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_encoder(path: Path | None = None) -> Encoder:
    """The encoder of the package, or of a file. Raises: UserError for a file of another kind, version or shape."""
    source = path or Path(str(files("avatar") / "assets" / "encoder.safetensors"))
    check_readable(source, "encoder")
    try:
        tensors, metadata = read_safetensors(source)
        if metadata.get("format") != FORMAT:
            raise UserError(f"{source}: is of format {metadata.get('format')}, this version reads {FORMAT}")
        return encoder_from_tensors(tensors, metadata["features"])
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{source}: is not an encoder that this version can read; train it again") from error


def encoder_from_tensors(tensors: Mapping[str, Tensor], features: str = DEFAULT_FEATURES) -> Encoder:
    """An encoder, in evaluation mode and single precision, from its weights by name.

    Raises: ValueError naming weights that are missing or have another shape.
    """
    try:
        first = tensors["first.weight"]
        width = first.shape[1]
        if not width or first.numel() != CHANNELS * width:  # before anything of that width is made
            raise ValueError(f"weights of the encoder do not fit: first.weight is {list(first.shape)}")
        encoder = Encoder(width, features)
        encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, IndexError, RuntimeError) as error:
        raise ValueError(f"weights of the encoder do not fit: {' '.join(str(error).split())}") from error
    return encoder.eval()
