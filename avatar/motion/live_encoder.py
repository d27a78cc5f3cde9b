"""The encoder in a live stream, frame by frame: what was computed for earlier frames is kept.

A frame's keys, values and outputs of the backbone change little once half a second lies beyond it, so only the last
frames are computed anew, and attention reads the others from a cache (as in streaming transformers: Moritz et al. 2020,
Streaming Automatic Speech Recognition with the Transformer Model). Three times as fast as the whole window.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.motion.encoder import DIRECTION_REACH, PAIR, STRIDE, Block, Encoder, EncoderOutput
from avatar.motion.regression_inputs import assemble_inputs
from avatar.motion.speech_to_motion import MouthMotion, SpeechToMotion
from avatar.motion.whisper import BANDS, Layer, Whisper, packaged_whisper, positions

# Longer than the window that is computed as a whole would be: keys and values cost little once they are there
# (docs/figures.md, "Live").
HISTORY = 100 * PAIR  # backbone frames that are attended to: four seconds
RENEWED = 12 * PAIR  # backbone frames computed anew at every frame: half a second
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

    def __init__(self, speech: SpeechToMotion) -> None:
        self._speech, self._stream = speech, LiveStream()
        self._backbone, self._head = LiveBackbone(), LiveHead(speech.encoder)

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

    def __init__(self, device: torch.device = CPU) -> None:
        self._whisper: Whisper = packaged_whisper() if device == CPU else deepcopy(packaged_whisper()).to(device)
        self._layers = [layer for layer in self._whisper.layers if isinstance(layer, Layer)]
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
        convolved = self._whisper.convolve(known.mT)[:, behind:]
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

    def _attend(self, streams: Sequence[LiveStream], convolved: Tensor, *, anew: bool) -> None:
        one = streams[0]
        first = one.start if anew or not one.cache else max(one.start, one.count - RENEWED)
        kept = first - one.start
        rows = one.count - first
        places = torch.stack([self._positions[s.count - s.anchor - rows : s.count - s.anchor] for s in streams])
        hidden = convolved[:, kept:] + places
        caches = []
        for index, layer in enumerate(self._layers):
            keys, values = layer.keys_and_values(hidden)
            if kept:
                before = [stream.cache[index] for stream in streams]
                keys = torch.cat([_together([pair[0] for pair in before])[:, :, :kept], keys], 2)
                values = torch.cat([_together([pair[1] for pair in before])[:, :, :kept], values], 2)
            hidden = layer.advance(hidden, keys, values)
            caches.append((keys, values))
        if kept:
            hidden = torch.cat([_together([stream.backbone for stream in streams])[:, :kept], hidden], 1)
        for index, stream in enumerate(streams):
            stream.cache = [(keys[index], values[index]) for keys, values in caches]
            stream.backbone = hidden[index]


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
        reach = self._dilation * (self._kernel // 2)
        padded, count = functional.pad(values, (0, 0, reach, reach)), values.shape[1]
        taps = [padded[:, at * self._dilation : at * self._dilation + count] for at in range(self._kernel)]
        return self._product(torch.cat(taps, 2))

    def strided(self, values: Tensor) -> Tensor:
        """One output for every `kernel` inputs, without padding."""
        return self._product(values.unflatten(1, (-1, self._kernel)).flatten(2))

    def _product(self, values: Tensor) -> Tensor:
        return torch.addmm(self._bias, values.flatten(0, 1), self._weight).unflatten(0, values.shape[:2])
