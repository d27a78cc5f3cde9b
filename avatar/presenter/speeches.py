"""What is said in a scene: by a voice, or in a recording; kept, so that it is said once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from avatar.core.articulation import Phone
from avatar.core.files import whole
from avatar.voice.passages import Chunk, Spoken


@dataclass(frozen=True)
class KeptChunk:
    """A chunk without its sound."""

    start: float  # s of the speech
    phones: tuple[Phone, ...]
    spoken: tuple[Spoken, ...]
    timed: bool
    loud: bool  # whether there was any sound

    def chunk(self) -> Chunk:
        """A chunk that lips follow as the one that was kept."""
        return Chunk(np.full(1, float(self.loud), np.float32), 1, self.phones, self.spoken, self.timed)


@dataclass(frozen=True)
class KeptSpeech:
    """The words of a speech on the clock."""

    seconds: float
    chunks: tuple[KeptChunk, ...] = ()

    @property
    def spoken(self) -> list[Spoken]:
        """All its parts, s from its beginning."""
        return [one for kept in self.chunks for one in kept.chunk().later(kept.start).spoken]


_READER = TypeAdapter(KeptSpeech)


def keep_speech(speech: KeptSpeech, place: Path) -> None:
    """Write a speech's words as JSON."""
    with whole(place) as temporary:
        temporary.write_bytes(_READER.dump_json(speech))


def kept_speech(place: Path) -> KeptSpeech:
    """What `keep_speech` wrote."""
    return _READER.validate_json(place.read_bytes())


def kept_chunks(chunks: tuple[tuple[float, Chunk], ...]) -> tuple[KeptChunk, ...]:
    """Chunks that `record` made, without their sound."""
    return tuple(KeptChunk(start, one.phones, one.spoken, one.timed, bool(one.pcm.any())) for start, one in chunks)
