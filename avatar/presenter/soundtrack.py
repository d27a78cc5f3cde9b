"""The sound of a film: what is said, each scene as loud as the others, and the sound of films under it."""

from __future__ import annotations

import wave
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.core.media import SoundTrack, steady
from avatar.core.media_command import input_options, started

RATE = 48_000  # Hz
BLOCK = RATE  # samples mixed at a time
UNDER_DB = -16.0  # of a film's sound under what is said
PEAK = 0.97

Array = np.ndarray


@dataclass(frozen=True)
class Laid:
    """A sound that begins somewhere in a film."""

    track: SoundTrack
    start: float  # s of the film
    seconds: float  # at most so long
    gain: float = 1.0


def write_soundtrack(sounds: Sequence[Laid], seconds: float, path: Path) -> None:
    """Write a wav, stereo at 48 kHz, of a length to the sample; sounds: in order of their starts.

    Memory does not grow with length. Raises: UserError when one cannot be decoded.
    """
    total, waiting, running = round(seconds * RATE), list(sounds), list[_Reader]()
    with path.open("wb") as target, wave.open(target, "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        for at in range(0, total, BLOCK):
            count = min(BLOCK, total - at)
            while waiting and round(waiting[0].start * RATE) < at + count:
                running.append(_Reader(waiting.pop(0)))
            mixed = np.zeros((count, 2), np.float32)
            for reader in running:
                reader.add(mixed, at)
            running = [reader for reader in running if not reader.done]
            file.writeframes((mixed.clip(-PEAK, PEAK) * 32767).astype("<i2").tobytes())


class _Reader:
    """A sound, decoded as it is needed."""

    def __init__(self, laid: Laid) -> None:
        self._laid, self._start = laid, round(laid.start * RATE)
        self._left, self._parts = round(laid.seconds * RATE), _decode(laid.track)
        self._held = np.zeros((0, 2), np.float32)
        self.done = False

    def add(self, mixed: Array, at: int) -> None:
        """Add to samples [n, 2] that begin at a sample of the film."""
        begin = max(0, self._start - at)
        wanted = min(len(mixed) - begin, self._left)
        while len(self._held) < wanted and (part := next(self._parts, None)) is not None:
            self._held = np.concatenate([self._held, part])
        given, self._held = self._held[:wanted], self._held[wanted:]
        mixed[begin : begin + len(given)] += self._laid.gain * given
        self._left -= wanted
        if len(given) < wanted or self._left <= 0:
            self.done = True
            self._parts.close()


def _decode(track: SoundTrack) -> Generator[Array, None, None]:
    """Samples [n, 2] float32 at RATE."""
    with steady(track) as sound:
        mixed = f"pan={sound.mix}," if sound.mix else ""
        mono = bool(sound.mix) or sound.channels == 1
        pan = mixed + ("pan=stereo|c0=c0|c1=c0," if mono else "")  # as loud in both; ffmpeg lowers it by 3 dB
        filters = f"{sound.stretch.filters(sound.info, 'a')}{pan}aresample={RATE}:async=1:first_pts=0"
        arguments = ["-v", "error", *sound.stretch.options(sound.info), *input_options(sound.path)]
        arguments += ["-map", f"0:a:{sound.track}", "-af", filters, "-ac", "2", "-f", "f32le", "-"]
        with started(arguments) as running:
            while data := running.output.read(BLOCK * 8):
                yield np.frombuffer(data[: len(data) // 8 * 8], np.float32).reshape(-1, 2)


def decibels(level: float) -> float:
    """A gain of a level in dB."""
    return float(10 ** (level / 20))
