"""The encoder in a live stream, frame by frame: what was computed for earlier frames is kept.

A frame's keys, values and outputs of the backbone change little once half a second lies beyond it, so only the last
frames are computed anew, and attention reads the others from a cache (as in streaming transformers: Moritz et al. 2020,
Streaming Automatic Speech Recognition with the Transformer Model). Three times as fast as the whole window.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.motion.encoder import DIRECTION_REACH, PAIR, STRIDE, Block, Encoder, EncoderOutput
from avatar.motion.regression_inputs import assemble_inputs
from avatar.motion.speech_to_motion import MouthMotion, SpeechToMotion
from avatar.motion.whisper import BANDS, HEAD, Layer, Whisper, normalize, packaged_whisper, positions

# Longer than the window that is computed as a whole would be: keys and values cost little once they are there
# (docs/figures.md, "Live").
HISTORY = 100 * PAIR  # backbone frames that are attended to: four seconds
RENEWED = 6 * PAIR  # backbone frames computed anew at every frame: a quarter of a second
MOST_POSITIONS = 150 * PAIR  # then positions begin anew at the history's first frame: every two seconds
RECEPTIVE_FIELD = (
    12  # motion frames before one that the encoder's convolutions reach: 2 fine, 8 coarse, 2 of the lip head
)
MEL_KEPT = 8  # feature frames that the convolutions reach back


CPU = torch.device("cpu")


@dataclass(frozen=True)
class Hop:
    """One motion frame of a stream: a window of features [4 T, D] and which of its frames, as `LiveSpeech` has them."""

    window: Tensor
    frames: slice


class LiveSpeech:
    """A speech model for one stream. Frames are asked for one after the other."""

    def __init__(self, speech: SpeechToMotion, precision: torch.dtype | None = None) -> None:
        """precision: of the backbone's products; None: the fastest."""
        self._speech, self._stream = speech, LiveStream()
        self._backbone, self._head = LiveBackbone(precision=precision), LiveHead(speech.encoder)

    @torch.no_grad()
    def __call__(self, window: Tensor, frames: slice) -> MouthMotion:
        """Mouth motion of `frames` (one) of a window [4 T, D] of features that ends at the stream's last frame."""
        for features in new_features(self._stream, window):
            self._backbone.push([self._stream], features[None])
        first = first_frame(frames)
        encoded = self._head(self._stream.tail(len(window) // STRIDE - first)[None], len(window) // STRIDE - first)
        encoded = EncoderOutput(*(part[0] for part in vars(encoded).values()))
        inputs = assemble_inputs(self._speech.encoder, encoded, window[first * STRIDE :])
        return self._speech.describe(inputs[frames.start - first : frames.stop - first], window, frames)


def first_frame(frames: slice) -> int:
    """The first motion frame of a window that the inputs of `frames` look at."""
    return max(0, frames.start - DIRECTION_REACH)


def new_features(stream: LiveStream, window: Tensor) -> tuple[Tensor, ...]:
    """The motion frames of features [4, D] each that a stream has not had of a window: all at first, then the last."""
    return window.split(STRIDE) if stream.count == 0 else (window[-STRIDE:],)


@dataclass
class LiveStream:
    """What the backbone keeps of one stream."""

    mel: Tensor | None = None  # [t, 80] the last feature frames
    count: int = 0  # backbone frames so far
    anchor: int = 0  # the backbone frame at position 0
    start: int = 0  # the backbone frame that everything below begins with
    convolved: Tensor | None = None  # [N, W]
    backbone: Tensor | None = None  # [N, W]
    cache: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # keys and values [H, N, 64] of each layer

    @property
    def restarts(self) -> bool:
        """Whether positions begin anew with the next frame."""
        return self.count + PAIR - self.anchor > MOST_POSITIONS

    def tail(self, count: int) -> Tensor:
        """Backbone features [n, W] that the last `count` motion frames are made of."""
        assert self.backbone is not None
        return self.backbone[-PAIR * (count + RECEPTIVE_FIELD) :]


class LiveBackbone:
    """The packaged backbone, for features that come motion frame by motion frame, of streams that go on together."""

    def __init__(self, device: torch.device = CPU, precision: torch.dtype | None = None) -> None:
        """precision: of products; None: the fastest that the device has."""
        self._whisper: Whisper = packaged_whisper() if device == CPU else deepcopy(packaged_whisper()).to(device)
        self._layers = _live_layers(self._whisper, precision or fast_precision(device))
        self._first, self._second = _Convolution(self._whisper.first), _Convolution(self._whisper.second)
        self._width = self._whisper.first.out_channels
        self._positions = positions(MOST_POSITIONS + PAIR, self._width).to(device)

    def push(self, streams: Sequence[LiveStream], features: Tensor) -> None:
        """One more motion frame of features [B, 4, D] of streams that keep as much as each other.

        As much: `count - start` and `restarts` are those of all.
        """
        one = streams[0]
        mel = features[..., :BANDS]
        if one.mel is not None:
            mel = torch.cat([_together([stream.mel for stream in streams]), mel], 1)
        # the last frame was convolved with the padding at the end: it is done again
        changed = max(0, one.count - 1)
        behind = min(2, changed)  # frames whose convolution misses what lies before the kept features
        known = mel[:, -2 * (one.count + PAIR - changed + behind) :]
        convolved = self._convolve(known)[:, behind:]
        if one.convolved is not None:
            kept = _together([stream.convolved for stream in streams])[:, : changed - one.start]
            convolved = torch.cat([kept, convolved], 1)
        moved = one.restarts
        for stream in streams:
            stream.count += PAIR
            stream.anchor = stream.start if moved else stream.anchor
        self._attend(streams, convolved, anew=moved)
        surplus = max(0, convolved.shape[1] - HISTORY)  # what no later frame attends to
        for index, stream in enumerate(streams):
            assert stream.backbone is not None
            stream.mel, stream.convolved = mel[index, -MEL_KEPT:], convolved[index, surplus:]
            stream.start += surplus
            stream.backbone = stream.backbone[surplus:]
            stream.cache = [(keys[:, surplus:], values[:, surplus:]) for keys, values in stream.cache]

    def _convolve(self, mel: Tensor) -> Tensor:
        """As `Whisper.convolve`, by products: [B, t, 80] -> [B, t / 2, W]."""
        hidden = functional.gelu(self._first(normalize(mel)))
        return functional.gelu(self._second(hidden)[:, ::2])

    def _attend(self, streams: Sequence[LiveStream], convolved: Tensor, *, anew: bool) -> None:
        one = streams[0]
        first = one.start if anew or not one.cache else max(one.start, one.count - RENEWED)
        kept = first - one.start
        rows = one.count - first
        places = torch.stack([self._positions[s.count - s.anchor - rows : s.count - s.anchor] for s in streams])
        hidden = convolved[:, kept:] + places
        caches = []
        for index, layer in enumerate(self._layers):
            query, keys, values = layer.project(hidden)
            if kept:
                before = [stream.cache[index] for stream in streams]
                keys = torch.cat([_together([pair[0] for pair in before])[:, :, :kept], keys], 2)
                values = torch.cat([_together([pair[1] for pair in before])[:, :, :kept], values], 2)
            hidden = layer.advance(hidden, query, keys, values)
            caches.append((keys, values))
        if kept:
            hidden = torch.cat([_together([stream.backbone for stream in streams])[:, :kept], hidden], 1)
        for index, stream in enumerate(streams):
            stream.cache = [(keys[index], values[index]) for keys, values in caches]
            stream.backbone = hidden[index]


class LiveLayer:
    """A layer of the backbone for few frames: one product for query, key and value, in a precision of its own."""

    def __init__(self, layer: Layer, precision: torch.dtype) -> None:
        self._layer, self._kind = layer, precision
        query, key, value = layer.query, layer.key, layer.value
        bias = torch.cat([query.bias, torch.zeros_like(query.bias), value.bias])  # a key has none
        self._project = self._pair(torch.cat([query.weight, key.weight, value.weight]), bias)
        linear = (layer.out, layer.widen, layer.narrow)
        self._out, self._widen, self._narrow = (self._pair(one.weight, one.bias) for one in linear)

    def _pair(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight.detach().to(self._kind), bias.detach().to(self._kind)

    def project(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, keys and values [B, H, T, 64] of hidden states [B, T, W]."""
        projected = functional.linear(self._layer.norm(hidden).to(self._kind), *self._project)
        query, keys, values = projected.unflatten(2, (3, -1, HEAD)).unbind(2)
        return query.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)

    def advance(self, hidden: Tensor, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The layer's output for hidden states [B, T, W] that attend to keys and values [B, H, N, 64]."""
        attended = functional.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
        hidden = hidden + functional.linear(attended, *self._out).to(hidden.dtype)
        wide = functional.linear(self._layer.wide_norm(hidden).to(self._kind), *self._widen)
        return hidden + functional.linear(functional.gelu(wide), *self._narrow).to(hidden.dtype)


@cache
def _live_layers(whisper: Whisper, precision: torch.dtype) -> list[LiveLayer]:
    """The backbone's layers in a precision, shared by all streams."""
    return [LiveLayer(layer, precision) for layer in whisper.layers if isinstance(layer, Layer)]


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 on processors that have instructions for it: a third of the time; else single precision."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions have no such query
    half = device.type == "cpu" and capabilities.get("avx512_bf16", False)
    return torch.bfloat16 if half else torch.float32


def _together(parts: Sequence[Tensor | None]) -> Tensor:
    """A batch of what streams keep; of one alone without a copy."""
    present = [part for part in parts if part is not None]
    return present[0][None] if len(present) == 1 else torch.stack(present)


class LiveHead:
    """An encoder's own layers, for the last frames of streams."""

    def __init__(self, encoder: Encoder, device: torch.device = CPU) -> None:
        self._convolutions = _Convolutions(encoder if device == CPU else deepcopy(encoder).to(device))

    def __call__(self, backbone: Tensor, count: int) -> EncoderOutput:
        """The last `count` motion frames [B, T, ...] of the `tail` [B, n, W] of streams."""
        parts = (*self._convolutions(backbone), backbone.unflatten(1, (-1, PAIR)).mean(2))
        return EncoderOutput(*(part[:, -count:] for part in parts))


class _Convolutions:
    """An encoder's convolutions as matrix products: for a few frames several times as fast as torch's own."""

    def __init__(self, encoder: Encoder) -> None:
        lips = encoder.lips
        self._fine = [_Block(block) for block in encoder.fine if isinstance(block, Block)]
        self._coarse = [_Block(block) for block in encoder.coarse if isinstance(block, Block)]
        self._first, self._down = _Convolution(encoder.first), _Convolution(encoder.down)
        self._articulation = _Convolution(encoder.articulation)
        self._lips = [_Convolution(part) for part in (lips.linear, lips.first, lips.second)]

    def __call__(self, backbone: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden [B, T, 160], articulation [B, T, 5] and lips [B, T, 3] of backbone features [B, 2 T, W]."""
        hidden = functional.gelu(self._first(backbone))
        for block in self._fine:
            hidden = block(hidden)
        hidden = self._down.strided(hidden)
        for block in self._coarse:
            hidden = block(hidden)
        articulation = torch.sigmoid(self._articulation(hidden))
        linear, first, second = self._lips
        both = torch.cat([hidden, articulation], 2)
        return hidden, articulation, linear(both) + second(torch.tanh(first(both)))


class _Block:
    def __init__(self, block: Block) -> None:
        self._norm, self._mix, self._out = block.norm, _Convolution(block.mix), _Convolution(block.out)

    def __call__(self, hidden: Tensor) -> Tensor:
        return hidden + self._out(functional.gelu(self._mix(self._norm(hidden))))


class _Convolution:
    """A convolution over time of [B, T, I], zeros beyond the ends."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        weight = convolution.weight.detach()  # [O, I, k]
        self._kernel, self._dilation = weight.shape[2], convolution.dilation[0]
        self._weight = weight.permute(2, 1, 0).reshape(-1, len(weight)).contiguous()  # [k I, O]
        assert convolution.bias is not None
        self._bias = convolution.bias.detach()

    def __call__(self, values: Tensor) -> Tensor:
        if self._kernel == 1:
            return self._product(values)
        reach = self._dilation * (self._kernel // 2)
        padded, count = functional.pad(values, (0, 0, reach, reach)), values.shape[1]
        taps = [padded[:, at * self._dilation : at * self._dilation + count] for at in range(self._kernel)]
        return self._product(torch.cat(taps, 2))

    def strided(self, values: Tensor) -> Tensor:
        """One output for every `kernel` inputs, without padding."""
        return self._product(values.unflatten(1, (-1, self._kernel)).flatten(2))

    def _product(self, values: Tensor) -> Tensor:
        return torch.addmm(self._bias, values.flatten(0, 1), self._weight).unflatten(0, values.shape[:2])
