"""Speech of any media file as samples, and samples as a file."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.media_info import WHOLE, Stretch, is_cut_short
from avatar.core.media_samples import SAMPLE_RATE, SoundTrack, decode, steady
from avatar.core.media_speech import find_speech


def read_speech(
    source: Path | str | SoundTrack, *, stretch: Stretch = WHOLE, check_length: bool = True
) -> Iterator[Tensor]:
    """Speech of any media file as chunks [n] float32 -1..1, 16 kHz mono, from the file's beginning on.

    source: a file, of which the track with speech is read, or what `find_speech` found, which has its own stretch.
    check_length: warn when the file is cut short.
    Raises: UserError when there is no sound, it has zero length, or it holds NaN.
    """
    sound = source if isinstance(source, SoundTrack) else find_speech(Path(source), stretch=stretch)
    total = 0
    with steady(sound) as same:
        for chunk in decode(same):
            samples = torch.from_numpy(chunk[:, 0].copy())
            if not torch.isfinite(samples).all():
                raise UserError(f"{sound.path}: holds samples that are not numbers (NaN or infinite); export it again")
            total += len(samples)
            yield samples.clamp(-1, 1)
    if check_length:
        announced = sound.stretch.within(sound.info, str(sound.path)).seconds
        is_cut_short(sound.path, sound.info, announced, total / SAMPLE_RATE)


def write_wav(path: Path, samples: Tensor, *, rate: int = SAMPLE_RATE) -> None:
    """Write samples [n] float -1..1 as 16-bit mono wav."""
    parts = [(part.clamp(-1, 1) * 32767).round().to(torch.int16) for part in samples.split(60 * rate)]
    with path.open("wb") as target, wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for part in parts:
            file.writeframes(part.numpy().tobytes())
