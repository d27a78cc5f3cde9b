"""What is said and how; what a voice makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from avatar.core.articulation import Phone
from avatar.core.emotion import Emotion


@dataclass(frozen=True)
class Part:
    """Words that are said the same way; at most two lines of a caption."""

    text: str
    emphasised: bool = False
    emotion: Emotion | None = None  # None: nothing was asked for
    look: str | None = None  # a key of `avatar.core.emotion.LOOKS`
    begins: tuple[int, ...] = ()  # numbers of cues, the caller's own, at its first word
    ends: tuple[int, ...] = ()  # and of those at the end of its last one


@dataclass(frozen=True)
class Passage:
    """What a voice says at once: a sentence, or a part of a long one."""

    parts: tuple[Part, ...]
    pause: float = 0.0  # s of silence before it
    speed: float = 1.0  # times the speaker's
    start: float | None = None  # s from the beginning of the film, where subtitles give it
    stop: float | None = None

    @property
    def text(self) -> str:
        """All its words."""
        return " ".join(part.text for part in self.parts)


@dataclass(frozen=True)
class Spoken:
    """A part and when it is said, s."""

    part: Part
    start: float
    stop: float


@dataclass(frozen=True)
class Chunk:
    """Sound of one passage, or silence; times count from its first sample."""

    pcm: np.ndarray  # [n] float32, -1..1
    rate: int  # Hz
    phones: tuple[Phone, ...] = ()
    spoken: tuple[Spoken, ...] = ()
    timed: bool = False  # whether the voice itself gave the times; else they follow from usual durations

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.pcm) / self.rate

    def later(self, seconds: float) -> Chunk:
        """The same with its times moved."""
        phones = tuple(replace(one, start=one.start + seconds, stop=one.stop + seconds) for one in self.phones)
        spoken = tuple(replace(one, start=one.start + seconds, stop=one.stop + seconds) for one in self.spoken)
        return replace(self, phones=phones, spoken=spoken)


class Voice(Protocol):
    """Somebody who says passages in one language."""

    rate: int  # Hz
    language: str

    def say(self, passage: Passage, speed: float) -> Chunk:
        """A passage as sound. speed: times the voice's own. Raises: UserError."""
        ...

    def phonemize(self, text: str) -> str:
        """A text in IPA, as `avatar.voice.phones` reads it; empty where the voice cannot. Raises: UserError."""
        ...


def join(chunks: Sequence[Chunk]) -> Chunk:
    """Chunks of one rate, one after the other."""
    moved, clock = [], 0.0
    for chunk in chunks:
        moved.append(chunk.later(clock))
        clock += chunk.seconds
    return Chunk(
        np.concatenate([chunk.pcm for chunk in moved]),
        moved[0].rate,
        tuple(phone for chunk in moved for phone in chunk.phones),
        tuple(one for chunk in moved for one in chunk.spoken),
        all(chunk.timed for chunk in moved),
    )


def silence(seconds: float, rate: int) -> Chunk:
    """A pause."""
    return Chunk(np.zeros(max(0, round(seconds * rate)), np.float32), rate)
