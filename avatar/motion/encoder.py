"""Features -> articulation and lips: a dilated convolutional network, trained on synthesized speech whose phones are
known, then on real lips (`avatar.motion.real`).

It hears sound as the first layers of a speech recognizer do (`avatar.motion.whisper`), or as a model of the user's.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from avatar.core.articulation import ARTICULATION, CLASSES
from avatar.core.files import UserError, check_readable, whole
from avatar.core.lips import CURVES
from avatar.motion.features import USUAL
from avatar.motion.whisper import BANDS, packaged_whisper

FORMAT = "encoder/5"
CHANNELS = 160
STRIDE = 4  # feature frames per motion frame: 100 Hz -> 25 Hz
PAIR = 2  # frames of what is perceived per motion frame: 50 Hz -> 25 Hz
PART = 150  # motion frames that are heard at a time,
CONTEXT = 25  # with so many more to either side
STEP = PART // 2  # and from one such part to the next
BEYOND = STEP + CONTEXT  # motion frames after a whole number of steps that can change what is heard before
LIP_REACH, LIP_HIDDEN = 2, 64
REACH = 1  # motion frames to either side that a person's regression looks at,
DIRECTIONS, DIRECTION_REACH = 32, 2  # and what along so many directions through so many frames to either side
NOT_HEARD, NOT_SAID = 0.2, 0.3  # shares of what lips are told by, and make of it, that are dropped while they learn


class Encoder(nn.Module):
    """What is perceived [B, W, 2 T] -> hidden [B, 160, T], articulation [B, 5, T], classes [B, 8, T]."""

    directions: Tensor  # [32, 5 W] along which lips go by what is perceived in five frames: `avatar.motion.directions`

    def __init__(self, width: int, features: str = USUAL) -> None:
        """features: the name of what it hears, of which `perceive` makes `width` values a frame."""
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

    def forward(self, perceived: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = functional.gelu(self.first(perceived))
        for block in self.fine:
            hidden = block(hidden)
        hidden = self.down(hidden)
        for block in self.coarse:
            hidden = block(hidden)
        return hidden, torch.sigmoid(self.articulation(hidden)), self.classes(hidden)


class LipHead(nn.Module):
    """Hidden and articulation [B, 165, T] -> lip curves [B, 3, T] of nobody in particular, in standard units."""

    def __init__(self) -> None:
        super().__init__()
        width = CHANNELS + len(ARTICULATION)
        self.linear = nn.Conv1d(width, len(CURVES), 1)
        self.first = nn.Conv1d(width, LIP_HIDDEN, 2 * LIP_REACH + 1, padding=LIP_REACH)
        self.miss, self.drop = nn.Dropout(NOT_HEARD), nn.Dropout(NOT_SAID)
        self.second = nn.Conv1d(LIP_HIDDEN, len(CURVES), 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, encoded: Tensor) -> Tensor:
        encoded = self.miss(encoded)
        return self.linear(encoded) + self.second(self.drop(torch.tanh(self.first(encoded))))


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
def perceive(features: Tensor, name: str) -> Tensor:
    """What the encoder of features with that name is given [B, W, t / 2] of features [B, D, t]."""
    return packaged_whisper()(features[:, :BANDS]) if name == USUAL else functional.avg_pool1d(features, STRIDE // PAIR)


@dataclass(frozen=True)
class Heard:
    """A recording, motion frame by motion frame."""

    hidden: Tensor  # [T, 160]
    articulation: Tensor  # [T, 5]
    lips: Tensor  # [T, 3] curves of nobody in particular
    perceived: Tensor  # [T, W]


def encode(encoder: Encoder, features: Tensor) -> Heard:
    """Features [t, D] at 100 Hz, of any length; the end is padded to a whole motion frame.

    Six seconds are heard at a time, with one before and one after them, and every moment twice, in the first and in the
    second half of such a part: lips are told better by the mean of both than by either (docs/figures.md). What is short
    enough is heard once.
    """
    padded = to_whole_frames(features).T[None]
    count = padded.shape[2] // STRIDE
    if count <= BEYOND:
        return Heard(*_hear_part(encoder, padded))
    total: list[Tensor] = []
    for start in range(-STEP, count, STEP):
        begin, first, last = max(0, start - CONTEXT), max(0, start), min(count, start + PART)
        told = _hear_part(encoder, padded[..., begin * STRIDE : (last + CONTEXT) * STRIDE])
        total = total or [one.new_zeros(count, one.shape[1]) for one in told]
        for sum_, one in zip(total, told, strict=True):
            sum_[first:last] += one[first - begin : last - begin] / 2
    return Heard(*total)


def _hear_part(encoder: Encoder, features: Tensor) -> tuple[Tensor, ...]:
    """Hidden, articulation, lips and perceived [T, ...] of features [1, D, 4 T]."""
    perceived = perceive(features, encoder.features)
    hidden, articulation, _ = encoder(perceived)
    lips = encoder.lips(torch.cat([hidden, articulation], 1))
    return tuple(one[0].T for one in (hidden, articulation, lips, functional.avg_pool1d(perceived, PAIR)))


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
