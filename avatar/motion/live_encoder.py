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
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.motion.encoder import DIRECTION_REACH, LIP_REACH, PAIR, STRIDE, Block, Encoder, EncoderOutput
from avatar.motion.regression_inputs import assemble_inputs
from avatar.motion.speech_to_motion import MouthMotion, SpeechToMotion
from avatar.motion.whisper import BANDS, HEAD, Layer, Whisper, normalize, packaged_whisper, positions
from cuda_ext.ops import Convolution, PackedConvolution, convolve, pack_convolution

# Longer than the window that is computed as a whole would be: keys and values cost little once they are there
# (docs/figures.md, "Live").
HISTORY = 100 * PAIR  # backbone frames that are attended to: four seconds
RENEWED = 6 * PAIR  # backbone frames computed anew at every frame: a quarter of a second
MOST_POSITIONS = 150 * PAIR  # then positions begin anew at the history's first frame: every two seconds
RECEPTIVE_FIELD = (
    12  # motion frames before one that the encoder's convolutions reach: 2 fine, 8 coarse, 2 of the lip head
)
MEL_KEPT = 8  # feature frames that the convolutions reach back
ROOM = HISTORY + 50 * PAIR  # backbone frames that a stream has memory for; what is left is moved to its front
CONVOLVED, OUTPUT, LAYERS = 0, 1, 2  # a stream's stores; the first of its layers'


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
        self._backbone = LiveBackbone(precision=precision)
        self._head = LiveHead(speech.encoder, precision=precision)

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
    start: int = 0  # the first backbone frame that is attended to
    base: int = 0  # the backbone frame in the first row of each store
    # [ROOM, ...] rows of backbone frames: what was convolved [W], the output [W], keys and values [2 W] of each layer
    stores: list[Tensor] = field(default_factory=list)

    @property
    def restarts(self) -> bool:
        """Whether positions begin anew with the next frame."""
        return self.count + PAIR - self.anchor > MOST_POSITIONS

    def open(self, width: int, layers: int, device: torch.device) -> None:
        """Make room for the backbone frames of the next motion frame, and count them."""
        if not self.stores:
            self.stores = [torch.empty(ROOM, size, device=device) for size in (width, width, *[2 * width] * layers)]
        if self.count + PAIR - self.base > ROOM:
            kept = self.count - self.start
            for store in self.stores:
                store[:kept] = store[self.start - self.base : self.count - self.base].clone()
            self.base = self.start
        self.count += PAIR

    def last(self, store: int, count: int) -> Tensor:
        """The last `count` rows of a store, which may be written to."""
        end = self.count - self.base
        return self.stores[store][end - count : end]

    def known(self, store: int) -> Tensor:
        """The rows of a store that are attended to."""
        return self.last(store, self.count - self.start)

    def tail(self, count: int) -> Tensor:
        """Backbone features [n, W] that the last `count` motion frames are made of."""
        return self.last(OUTPUT, min(self.count - self.start, PAIR * (count + RECEPTIVE_FIELD)))


class LiveBackbone:
    """The packaged backbone, for features that come motion frame by motion frame, of streams that go on together."""

    def __init__(self, device: torch.device = CPU, precision: torch.dtype | None = None) -> None:
        """precision: of products; None: the fastest that the device has."""
        self._whisper: Whisper = packaged_whisper() if device == CPU else deepcopy(packaged_whisper()).to(device)
        self._layers = _live_layers(self._whisper, precision or fast_precision(device))
        self._width = self._whisper.first.out_channels
        self._positions = positions(MOST_POSITIONS + PAIR, self._width).to(device)

    def push(self, streams: Sequence[LiveStream], features: Tensor) -> None:
        """One more motion frame of features [B, 4, D] of streams that keep as much as each other.

        As much: `count - start` and `restarts` are those of all.
        """
        one = streams[0]
        mel = features[..., :BANDS]
        if one.mel is not None:
            mel = torch.cat([_together([stream.mel for stream in streams if stream.mel is not None]), mel], 1)
        # the last frame was convolved with the padding at the end: it is done again
        changed = min(1, one.count)
        behind = min(2, one.count - changed)  # frames whose convolution misses what lies before the kept features
        convolved = self._convolve(mel[:, -2 * (PAIR + changed + behind) :])[:, behind:]
        moved = one.restarts
        for stream, new, known in zip(streams, convolved, mel, strict=True):
            stream.open(self._width, len(self._layers.transformer), features.device)
            stream.last(CONVOLVED, PAIR + changed).copy_(new)
            stream.anchor = stream.start if moved else stream.anchor
            stream.mel = known[-MEL_KEPT:]
        self._attend(streams, one.count - one.start if moved else min(one.count - one.start, RENEWED))
        for stream in streams:
            stream.start = max(stream.start, stream.count - HISTORY)

    def _convolve(self, mel: Tensor) -> Tensor:
        """As `Whisper.convolve`: [B, t, 80] -> [B, t / 2, W]."""
        hidden = convolve(normalize(mel), self._layers.first, left=1, right=1)
        return convolve(hidden, self._layers.second, left=1, right=1)

    def _attend(self, streams: Sequence[LiveStream], rows: int) -> None:
        """Make the last `rows` backbone frames anew."""
        places = _together([self._positions[s.count - s.anchor - rows : s.count - s.anchor] for s in streams])
        hidden = _together([stream.last(CONVOLVED, rows) for stream in streams]) + places
        for index, layer in enumerate(self._layers.transformer, start=LAYERS):
            query, new = layer.project(hidden).split([self._width, 2 * self._width], 2)
            for stream, own in zip(streams, new, strict=True):
                stream.last(index, rows).copy_(own)
            hidden = layer.advance(hidden, _attention(query, [stream.known(index) for stream in streams]))
        for stream, own in zip(streams, hidden, strict=True):
            stream.last(OUTPUT, rows).copy_(own)


def _attention(query: Tensor, known: Sequence[Tensor]) -> Tensor:
    """Queries [B, T, W] that attend to keys and values [N, 2 W] of streams of their own -> [B, T, W].

    Stream by stream on the CPU: a batch of these would have to be copied together first, which takes as long.
    """
    batches = [_together(known)] if query.is_cuda else [one[None] for one in known]
    made = []
    for asked, each in zip(query.split(len(query) // len(batches)), batches, strict=True):
        parts = (asked, *each.chunk(2, 2))
        heads = [part.unflatten(2, (-1, HEAD)).transpose(1, 2) for part in parts]
        made.append(functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
    return made[0] if len(made) == 1 else torch.cat(made)


class LiveLayer:
    """A layer of the backbone for few frames: one product for query, key and value."""

    def __init__(self, layer: Layer, precision: torch.dtype) -> None:
        query, key, value = layer.query, layer.key, layer.value
        bias = torch.cat([query.bias, torch.zeros_like(query.bias), value.bias])  # a key has none
        weight = torch.cat([query.weight, key.weight, value.weight])
        norm, wide_norm = _scale_and_shift(layer.norm), _scale_and_shift(layer.wide_norm)
        self._project = pack_convolution(Convolution(weight[..., None], bias, norm), precision)
        self._out = _linear(layer.out, precision)
        self._widen = _linear(layer.widen, precision, normalized=wide_norm, gelu=True)
        self._narrow = _linear(layer.narrow, precision)

    def project(self, hidden: Tensor) -> Tensor:
        """Query, keys and values [B, T, 3 W] of hidden states [B, T, W]."""
        return convolve(hidden, self._project)

    def advance(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """The layer's output for hidden states and what they attended to, [B, T, W] each."""
        hidden = convolve(attended, self._out, added=hidden)
        return convolve(convolve(hidden, self._widen), self._narrow, added=hidden)


@dataclass(frozen=True)
class _Layers:
    """The backbone's layers, ready for few frames."""

    first: PackedConvolution
    second: PackedConvolution
    transformer: list[LiveLayer]


@cache
def _live_layers(whisper: Whisper, precision: torch.dtype) -> _Layers:
    """In a precision, shared by all streams."""
    layers = [LiveLayer(layer, precision) for layer in whisper.layers if isinstance(layer, Layer)]
    first, second = (_convolution(one, precision, gelu=True) for one in (whisper.first, whisper.second))
    return _Layers(first, second, layers)


def _linear(linear: nn.Linear, precision: torch.dtype, **beside: Any) -> PackedConvolution:
    layer = Convolution(linear.weight.detach()[..., None], linear.bias.detach(), **beside)
    return pack_convolution(layer, precision)


def _convolution(one: nn.Conv1d, precision: torch.dtype, **beside: Any) -> PackedConvolution:
    assert one.bias is not None
    dilation, stride = one.dilation[0], one.stride[0]
    layer = Convolution(one.weight.detach(), one.bias.detach(), dilation=dilation, stride=stride, **beside)
    return pack_convolution(layer, precision)


def _scale_and_shift(norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return norm.weight.detach(), norm.bias.detach()


def fast_precision(device: torch.device) -> torch.dtype:
    """Of weights: bfloat16 on processors, half of what has to be read; single precision elsewhere."""
    return torch.bfloat16 if device.type == "cpu" else torch.float32


def _together(parts: Sequence[Tensor]) -> Tensor:
    """A batch of what streams keep; of one alone without a copy."""
    return parts[0][None] if len(parts) == 1 else torch.stack(list(parts))


class LiveHead:
    """An encoder's own layers, for the last frames of streams."""

    def __init__(self, encoder: Encoder, device: torch.device = CPU, precision: torch.dtype | None = None) -> None:
        """precision: of products; None: the fastest that the device has."""
        precision, encoder = (
            precision or fast_precision(device),
            encoder if device == CPU else deepcopy(encoder).to(device),
        )
        lips = encoder.lips
        self._fine = [_Block(block, precision) for block in encoder.fine if isinstance(block, Block)]
        self._coarse = [_Block(block, precision) for block in encoder.coarse if isinstance(block, Block)]
        self._first = _convolution(encoder.first, precision, gelu=True)
        self._down, self._articulation, self._linear, self._wide, self._lips = (
            _convolution(one, precision)
            for one in (encoder.down, encoder.articulation, lips.linear, lips.first, lips.second)
        )

    def __call__(self, backbone: Tensor, count: int) -> EncoderOutput:
        """The last `count` motion frames [B, T, ...] of the `tail` [B, n, W] of streams.

        Where that tail is as long as the receptive field, each layer makes only what the layers after it look at;
        a shorter one is a stream's beginning, with zeros before it.
        """
        begins = backbone.shape[1] < PAIR * (count + RECEPTIVE_FIELD)
        hidden = convolve(backbone, self._first)
        for block in self._fine:
            hidden = block(hidden, begins)
        hidden = convolve(hidden[:, hidden.shape[1] % PAIR :], self._down)
        for block in self._coarse:
            hidden = block(hidden, begins)
        articulation = torch.sigmoid(convolve(hidden, self._articulation))
        both = torch.cat([hidden, articulation], 2)
        wide = torch.tanh(convolve(both, self._wide, left=LIP_REACH if begins else 0, right=LIP_REACH))
        lips = convolve(wide, self._lips, added=convolve(both, self._linear)[:, -wide.shape[1] :])
        parts = (hidden, articulation, lips, backbone.unflatten(1, (-1, PAIR)).mean(2))
        return EncoderOutput(*(part[:, -count:] for part in parts))


class _Block:
    def __init__(self, block: Block, precision: torch.dtype) -> None:
        self._reach = block.mix.dilation[0]
        self._mix = _convolution(block.mix, precision, normalized=_scale_and_shift(block.norm), gelu=True)
        self._out = _convolution(block.out, precision)

    def __call__(self, hidden: Tensor, begins: bool) -> Tensor:
        """[B, T, C] -> the same where the stream begins, else without the first frames, which only later ones need."""
        wide = convolve(hidden, self._mix, left=self._reach if begins else 0, right=self._reach)
        return convolve(wide, self._out, added=hidden[:, -wide.shape[1] :])
