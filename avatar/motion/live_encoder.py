"""The encoder in a live stream, frame by frame: what was computed for earlier frames is kept.

A frame's keys, values and outputs of the backbone change little once half a second lies beyond it, so only the last
frames are computed anew, and attention reads the others from a cache (as in streaming transformers: Moritz et al. 2020,
Streaming Automatic Speech Recognition with the Transformer Model). Three times as fast as the whole window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.motion.encoder import DIRECTION_REACH, PAIR, STRIDE, Block, Encoder, EncoderOutput
from avatar.motion.regression_inputs import assemble_inputs
from avatar.motion.speech_to_motion import MouthMotion, SpeechToMotion
from avatar.motion.whisper import BANDS, Layer, packaged_whisper, positions

# Longer than the window that is computed as a whole would be: keys and values cost little once they are there
# (docs/figures.md, "Live").
HISTORY = 100 * PAIR  # backbone frames that are attended to: four seconds
RENEWED = 12 * PAIR  # backbone frames computed anew at every frame: half a second
MOST_POSITIONS = 150 * PAIR  # then positions begin anew at the history's first frame: every two seconds
RECEPTIVE_FIELD = (
    12  # motion frames before one that the encoder's convolutions reach: 2 fine, 8 coarse, 2 of the lip head
)
MEL_KEPT = 8  # feature frames that the convolutions reach back


class LiveSpeech:
    """A speech model for one stream. Frames are asked for one after the other."""

    def __init__(self, speech: SpeechToMotion) -> None:
        self._speech, self._encoder = speech, LiveEncoder(speech.encoder)
        self._taken = 0  # motion frames of the stream that the encoder has

    @torch.no_grad()
    def __call__(self, window: Tensor, frames: slice) -> MouthMotion:
        """Mouth motion of `frames` (one) of a window [4 T, D] of features that ends at the stream's last frame."""
        count = len(window) // STRIDE
        new = count if self._taken == 0 else 1
        for features in window[(count - new) * STRIDE :].split(STRIDE):
            self._encoder.push(features)
        self._taken += new
        first = max(0, frames.start - DIRECTION_REACH)
        encoded = self._encoder.end(count - first)
        inputs = assemble_inputs(self._speech.encoder, encoded, window[first * STRIDE :])
        return self._speech.describe(inputs[frames.start - first : frames.stop - first], window, frames)


class LiveEncoder:
    """The packaged backbone and an encoder, for features that come motion frame by motion frame."""

    def __init__(self, encoder: Encoder) -> None:
        self._whisper, self._convolutions = packaged_whisper(), _Convolutions(encoder)
        self._layers = [layer for layer in self._whisper.layers if isinstance(layer, Layer)]
        width = self._whisper.first.out_channels
        self._positions = positions(MOST_POSITIONS + PAIR, width)
        self._mel = torch.zeros(0, BANDS)  # the last feature frames
        self._count = 0  # backbone frames so far
        self._anchor = 0  # the backbone frame at position 0
        self._start = 0  # the backbone frame that everything below begins with
        self._convolved = self._backbone = torch.zeros(0, width)
        self._cache: list[tuple[Tensor, Tensor]] = []  # keys and values [1, H, N, 64] of each layer

    def push(self, features: Tensor) -> None:
        """One more motion frame of features [4, D]."""
        self._mel = torch.cat([self._mel, features[:, :BANDS]])
        # the last frame was convolved with the padding at the end: it is done again
        changed = max(0, self._count - 1)
        self._count += PAIR
        behind = min(2, changed)  # frames whose convolution misses what lies before the kept features
        mel = self._mel[-2 * (self._count - changed + behind) :]
        convolved = self._whisper.convolve(mel.T[None])[0, behind:]
        self._convolved = torch.cat([self._convolved[: changed - self._start], convolved])
        self._mel = self._mel[-MEL_KEPT:]
        self._attend()
        self._forget()

    def _attend(self) -> None:
        moved = self._count - self._anchor > MOST_POSITIONS
        self._anchor = self._start if moved else self._anchor
        first = self._start if moved or not self._cache else max(self._start, self._count - RENEWED)
        kept = first - self._start
        hidden = self._convolved[None, kept:] + self._positions[first - self._anchor : self._count - self._anchor]
        cache = []
        for index, layer in enumerate(self._layers):
            found = layer.keys_and_values(hidden)
            if kept:
                before = self._cache[index]
                found = (
                    torch.cat([before[0][:, :, :kept], found[0]], 2),
                    torch.cat([before[1][:, :, :kept], found[1]], 2),
                )
            hidden = layer.advance(hidden, *found)
            cache.append(found)
        self._cache = cache
        self._backbone = torch.cat([self._backbone[:kept], hidden[0]])

    def _forget(self) -> None:
        """Keep what later frames attend to."""
        surplus = len(self._convolved) - HISTORY
        if surplus > 0:
            self._start += surplus
            self._convolved, self._backbone = self._convolved[surplus:], self._backbone[surplus:]
            self._cache = [(keys[:, :, surplus:], values[:, :, surplus:]) for keys, values in self._cache]

    def end(self, count: int) -> EncoderOutput:
        """The last `count` motion frames."""
        backbone = self._backbone[-PAIR * (count + RECEPTIVE_FIELD) :]
        parts = (*self._convolutions(backbone), backbone.unflatten(0, (-1, PAIR)).mean(1))
        return EncoderOutput(*(part[-count:] for part in parts))


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
        """Hidden [T, 160], articulation [T, 5] and lips [T, 3] of backbone features [2 T, W]."""
        hidden = functional.gelu(self._first(backbone))
        for block in self._fine:
            hidden = block(hidden)
        hidden = self._down.strided(hidden)
        for block in self._coarse:
            hidden = block(hidden)
        articulation = torch.sigmoid(self._articulation(hidden))
        linear, first, second = self._lips
        both = torch.cat([hidden, articulation], 1)
        return hidden, articulation, linear(both) + second(torch.tanh(first(both)))


class _Block:
    def __init__(self, block: Block) -> None:
        self._norm, self._mix, self._out = block.norm, _Convolution(block.mix), _Convolution(block.out)

    def __call__(self, hidden: Tensor) -> Tensor:
        return hidden + self._out(functional.gelu(self._mix(self._norm(hidden))))


class _Convolution:
    """A convolution over time of [T, I], zeros beyond the ends."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        weight = convolution.weight.detach()  # [O, I, k]
        self._kernel, self._dilation = weight.shape[2], convolution.dilation[0]
        self._weight = weight.permute(2, 1, 0).reshape(-1, len(weight)).contiguous()  # [k I, O]
        assert convolution.bias is not None
        self._bias = convolution.bias.detach()

    def __call__(self, values: Tensor) -> Tensor:
        reach = self._dilation * (self._kernel // 2)
        padded, count = functional.pad(values, (0, 0, reach, reach)), len(values)
        taps = [padded[at * self._dilation : at * self._dilation + count] for at in range(self._kernel)]
        return torch.addmm(self._bias, torch.cat(taps, 1), self._weight)

    def strided(self, values: Tensor) -> Tensor:
        """One output for every `kernel` inputs, without padding."""
        return torch.addmm(self._bias, values.reshape(len(values) // self._kernel, -1), self._weight)
