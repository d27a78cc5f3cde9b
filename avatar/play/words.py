"""Words of a voice as motion: sound at one loudness, and lips that close when the phones say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from avatar.core.acting import Act
from avatar.core.loudness import gain_of
from avatar.core.media import SAMPLE_RATE
from avatar.core.motion_space import Motion
from avatar.motion.driver import Driver
from avatar.play.sound import SoundReader
from avatar.voice.passages import Chunk, Spoken

ChunkMade = Callable[[Chunk], None]
"""Is given each chunk of sound before its frames are made."""
STEP = SAMPLE_RATE // 5  # samples that frames are made of at a time: the first ones are there at once


class VoiceReader:
    """Chunks of a voice -> samples at 16 kHz, brought to one loudness by the first chunk with words."""

    def __init__(self) -> None:
        self._readers: dict[int, SoundReader] = {}
        self._gain: float | None = None

    def read(self, chunk: Chunk) -> Tensor:
        """Samples [n] float32."""
        reader = self._readers.setdefault(chunk.rate, SoundReader(chunk.rate))
        samples = reader.push(chunk.pcm)
        if self._gain is None and chunk.spoken and samples.any():
            self._gain = gain_of([samples])
        return samples * (self._gain or 1.0)

    def finish(self) -> Tensor:
        """What resamplers still hold."""
        return torch.cat([torch.zeros(0), *(reader.finish() for reader in self._readers.values())])


def follow(driver: Driver, chunk: Chunk, start: float = 0.0) -> None:
    """Let a driver close lips by a chunk's phones; start: s from what is pushed next to the chunk's first sample."""
    moved = chunk.later(start)
    acts = acts_of(moved.spoken)
    if chunk.phones and (chunk.timed or not chunk.pcm.any()):
        driver.follow(moved.phones, acts, alone=not chunk.pcm.any())
    else:
        driver.follow((), acts)


def acts_of(spoken: Iterable[Spoken]) -> list[Act]:
    """What a face shows with parts of a text."""
    return [Act(one.start, one.stop, one.part.emotion, one.part.look, one.part.emphasised) for one in spoken]


def say_motion(driver: Driver, chunks: Iterable[Chunk], made: ChunkMade | None = None) -> Iterator[Motion]:
    """Motion of chunks as they come; at the end the driver is finished."""
    reader = VoiceReader()
    for chunk in chunks:
        if made is not None:
            made(chunk)
        follow(driver, chunk)
        for piece in reader.read(chunk).split(STEP):
            if len(motion := driver.push(piece)):
                yield motion
    if len(motion := driver.push(reader.finish())):
        yield motion
    yield driver.finish()
