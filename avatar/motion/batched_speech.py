"""Live mouth motion of many streams in common batches, on any device: what a server of many sessions runs on a GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.articulation import ARTICULATION
from avatar.core.speech_model import decoder_from_tensors, decoder_tensors
from avatar.motion.encoder import PAIR, STRIDE
from avatar.motion.live_encoder import Hop, LiveBackbone, LiveHead, LiveStream, first_frame, new_features
from avatar.motion.regression_inputs import join_inputs, lip_articulation
from avatar.motion.speech_to_motion import MouthMotion, SpeechToMotion, decode, describe_sound

LIP_CLOSURE = ARTICULATION.index("lip_closure")


@dataclass(frozen=True)
class SpeechStream:
    """A stream of one of the speech models."""

    model: int
    state: LiveStream


class BatchedSpeech:
    """Speech models for many streams, each of which gets what its own `LiveSpeech` would make. One thread at a time."""

    def __init__(
        self, models: Sequence[SpeechToMotion], device: torch.device, precision: torch.dtype | None = None
    ) -> None:
        """precision: of the backbone's products; None: the fastest that the device has."""
        self._device, self._models = device, list(models)
        self._backbone = LiveBackbone(device, precision)
        self._heads = [LiveHead(one.encoder, device, precision) for one in models]
        self._directions = [one.encoder.directions.to(device) for one in models]
        self._decoders = [
            decoder_from_tensors({name: value.to(device) for name, value in decoder_tensors(one.model.decoder).items()})
            for one in models
        ]

    def open(self, model: int) -> SpeechStream:
        """A new stream of a model, by its index."""
        return SpeechStream(model, LiveStream())

    @torch.no_grad()
    def push(self, due: Sequence[tuple[SpeechStream, Hop]]) -> list[Tensor]:
        """Frames of several streams, of each in order: a row [K + 1] each for `mouth_motion`, on the host."""
        made: dict[int, Tensor] = {}
        rounds: list[list[int]] = []  # a stream that fell behind has more than one hop: these come one after the other
        seen: dict[int, int] = defaultdict(int)
        for index, (stream, _) in enumerate(due):
            number = seen[id(stream.state)]
            seen[id(stream.state)] += 1
            rounds += [[]] if number == len(rounds) else []
            rounds[number].append(index)
        for members in rounds:
            made |= zip(members, self._push([due[index] for index in members]), strict=True)
        return [made[index] for index in range(len(due))]

    def _push(self, due: Sequence[tuple[SpeechStream, Hop]]) -> list[Tensor]:
        """One frame of each stream."""
        self._advance(due)
        made: dict[int, Tensor] = {}
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for index, (stream, hop) in enumerate(due):
            count = len(hop.window) // STRIDE - first_frame(hop.frames)
            groups[stream.model, count, len(stream.state.tail(count)), hop.frames.start].append(index)
        for members in groups.values():
            made |= zip(members, self._decode([due[index] for index in members]), strict=True)
        return [made[index] for index in range(len(due))]

    def _advance(self, due: Sequence[tuple[SpeechStream, Hop]]) -> None:
        """Give the backbone what is new in each window, streams that keep as much as each other together."""
        left = [(stream.state, iter(new_features(stream.state, hop.window))) for stream, hop in due]
        while left:
            groups: dict[Hashable, list[tuple[LiveStream, Tensor]]] = defaultdict(list)
            following: list[tuple[LiveStream, Iterator[Tensor]]] = []
            for state, features in left:
                if (one := next(features, None)) is not None:
                    groups[state.count - state.start, min(state.count, 2 * PAIR), state.restarts].append((state, one))
                    following.append((state, features))
            for members in groups.values():
                self._backbone.push([m[0] for m in members], torch.stack([m[1] for m in members]).to(self._device))
            left = following

    def _decode(self, due: Sequence[tuple[SpeechStream, Hop]]) -> tuple[Tensor, ...]:
        """Streams of one model whose windows are as long as each other."""
        model, frames, window = due[0][0].model, due[0][1].frames, due[0][1].window
        first, count = first_frame(frames), len(window) // STRIDE - first_frame(frames)
        backbone = torch.stack([stream.state.tail(count) for stream, _ in due])
        features = torch.stack([hop.window[first * STRIDE :] for _, hop in due]).to(self._device)
        inputs = join_inputs(self._directions[model], self._heads[model](backbone, count), features)
        inputs = inputs[:, frames.start - first]
        lip_closure = lip_articulation(inputs)[:, LIP_CLOSURE : LIP_CLOSURE + 1]
        return torch.cat([decode(self._decoders[model], inputs), lip_closure], 1).cpu().unbind()


def mouth_motion(hop: Hop, row: Tensor) -> MouthMotion:
    """The mouth motion of a hop from its row of `BatchedSpeech.push`; may be made in another process than the row."""
    return MouthMotion(row[None, :-1], row[-1:], *describe_sound(hop.window, hop.frames))
