"""The sound of a file, decoded once and brought to one loudness."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.loudness import gain_of
from avatar.core.media import CHUNK, SAMPLE_RATE, SoundTrack, find_speech, probe, read_speech


@dataclass(frozen=True)
class SpeechFile:
    """A file with speech, and which of its sound tracks that is."""

    path: Path | str
    track: int | None = None  # from 1 on; None: the one with speech
    notice: Path | str | None = None  # a file whose sound comes first, while the person is silent
    listening: bool = False  # whether the person attends to it, instead of saying it


@dataclass(frozen=True)
class DecodedSpeech:
    """Decoded sound, kept on disk while it is used: an hour is 230 MB."""

    samples: int  # at 16 kHz, with those of the notice
    gain: float  # brings the voice to -23 dB of full scale
    track: SoundTrack  # what was decoded, for whoever wants it at its own rate
    _store: IO[bytes]
    notice: SoundTrack | None = None  # what comes first
    quiet: int = 0  # samples that it takes

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.samples / SAMPLE_RATE

    def chunks(self) -> Iterator[Tensor]:
        """Samples [n] float32 at 16 kHz and at one loudness, a second at a time; silence in place of the notice."""
        yield from torch.zeros(self.quiet).split(CHUNK) if self.quiet else ()
        self._store.seek(0)
        while data := self._store.read(CHUNK * 4):
            yield torch.from_numpy(np.frombuffer(data, np.float32).copy()) * self.gain


def as_speech_file(speech: SpeechFile | Path | str) -> SpeechFile:
    """A file's name alone stands for the track with speech in it."""
    return SpeechFile(speech) if isinstance(speech, (Path, str)) else speech


@contextmanager
def open_speech(speech: SpeechFile | Path | str) -> Iterator[DecodedSpeech]:
    """Decode the speech of any media file. Its loudness is known at the end only, so it waits on disk meanwhile.

    Raises: UserError, as `find_speech` and `read_speech` do.
    """
    file = as_speech_file(speech)
    found = find_speech(Path(file.path), track=file.track)
    with tempfile.TemporaryFile() as store:
        count = 0

        def decode() -> Iterator[Tensor]:
            nonlocal count
            for chunk in read_speech(found):
                store.write(chunk.numpy().tobytes())
                count += len(chunk)
                yield chunk

        gain = gain_of(decode())
        notice, quiet = None, 0
        if file.notice:
            notice = first_sound(Path(file.notice))
            quiet = sum(len(chunk) for chunk in read_speech(notice))
        yield DecodedSpeech(quiet + count, gain, found, store, notice, quiet)


def first_sound(path: Path) -> SoundTrack:
    """The first sound track of a file, speech or not. Raises: UserError when there is none."""
    if not (info := probe(path)).has_audio:
        raise UserError(f"{path}: has no sound; give a file with a spoken notice, or a tone")
    return SoundTrack(path, info)
