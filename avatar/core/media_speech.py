"""Which of a file's sound tracks, and which of their channels, holds the speech."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from avatar.core.files import UserError
from avatar.core.loudness import FRAME, SILENCE_DB, SPEECH_RANGE_DB, measure_level
from avatar.core.media_info import WHOLE, Stretch, probe
from avatar.core.media_samples import SAMPLE_RATE, SoundTrack, decode

SILENT_DB = -65.0  # of full scale: the loudest of what is a muted microphone
SECONDS_AT_ONCE = 5
PITCHES = (60, 400)  # Hz of voices
VOICED = 0.55  # normalized autocorrelation from which a frame is voiced
SYLLABLE = 3  # frames of 40 ms that levels are compared over: syllables follow each other at 4 Hz
MOST_CHANGE_DB, FLOOR_DB = 25.0, 40.0  # of a change; below the loud frames, where nothing counts
SPEECH = 1.8  # of `speech_score`: speech, also over noise, has 2.2 to 10, chords under 1, noise and tones 0
NONE = 0.4  # of it: so little is worth a word; short, soft or noisy speech has more
MUCH_LESS = 0.6  # of the best score: a mix or an earlier track with less is something else, with speech in it perhaps
ENOUGH_SECONDS = 4.0  # of voiced sound that speech is recognized by

Array = np.ndarray


@dataclass(frozen=True)
class _Score:
    """How much like speech a sound is."""

    value: float
    level: float  # dB of full scale of its loud frames
    voiced_seconds: float

    @property
    def is_speech(self) -> bool:
        return self.value >= SPEECH and self.level > SILENT_DB

    @property
    def is_sure(self) -> bool:
        return self.is_speech and self.voiced_seconds >= ENOUGH_SECONDS


@dataclass(frozen=True)
class _Frames:
    """What is known of each 40 ms of a sound."""

    level: Array  # [T] dB of full scale
    voiced: Array  # [T] bool


def describe(samples: Array) -> _Frames:
    """Level and voicing of samples [n] at 16 kHz; an open end is left out."""
    frames = np.nan_to_num(samples[: len(samples) // FRAME * FRAME])
    return _Frames(measure_level(torch.from_numpy(frames)).numpy(), _is_voiced(frames.reshape(-1, FRAME)))


def speech_score(frames: Sequence[_Frames]) -> _Score:
    """How much like speech a sound is: how levels change within syllables, times how evenly frames are voiced or not.

    The 4 Hz modulation separates speech from music (Scheirer and Slaney 1997). Of loud frames of speech about half
    have a pitch, of chords all, of noise and clicks none.
    """
    level = np.concatenate([part.level for part in frames])
    if len(level) <= SYLLABLE:
        return _Score(0.0, SILENCE_DB, 0.0)
    loud = float(np.quantile(level, 0.95))
    active = level > max(loud - SPEECH_RANGE_DB, SILENT_DB)
    voiced = np.concatenate([part.voiced for part in frames]) & active
    floor = np.maximum(level, loud - FLOOR_DB)
    change = np.abs(floor[SYLLABLE:] - floor[:-SYLLABLE]).clip(0, MOST_CHANGE_DB)
    near = active[SYLLABLE:] | active[:-SYLLABLE]
    if not near.any():
        return _Score(0.0, loud, 0.0)
    share = float(voiced.sum() / active.sum().clip(1))
    return _Score(float(change[near].mean()) * 4 * share * (1 - share), loud, float(voiced.sum()) * FRAME / SAMPLE_RATE)


def _is_voiced(frames: Array) -> Array:
    """Frames [T] bool of sound [T, 640] that repeat themselves at the pitch of a voice."""
    centred = frames - frames.mean(1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centred, 2 * FRAME, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)
    lags = slice(SAMPLE_RATE // PITCHES[1], SAMPLE_RATE // PITCHES[0])
    shared = 1 - np.arange(FRAME)[lags] / FRAME
    return (correlation[:, lags] / shared).max(1) > VOICED * correlation[:, 0].clip(1e-12)


def find_speech(path: Path, *, track: int | None = None, stretch: Stretch = WHOLE) -> SoundTrack:
    """The sound of a file that holds speech: the first track that does, mixed if the mix does, else one channel of it.

    track: the one to use, from 1 on. Warns where another than the first track is used, and where no speech is found.
    Raises: UserError when there is no such sound.
    """
    info = probe(path)
    if not info.has_audio:
        raise UserError(f"{path}: has no sound; give a file with speech")
    count = len(info.sounds)
    if track is not None and not 1 <= track <= count:
        raise UserError(f"{path}: has {count} sound track{'s' * (count > 1)}, so there is no --audio-track {track}")
    found: list[tuple[_Score, SoundTrack]] = []
    refused: list[UserError] = []
    for index in range(count) if track is None else (track - 1,):
        try:
            found.append(_best_channel(SoundTrack(path, info, index, stretch=stretch)))
        except UserError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    score, best = found[_first_speech([score for score, _ in found])]
    if score.value < NONE or score.level <= SILENT_DB:
        warnings.warn(f"{path}: no speech is found in {_place(best)}", stacklevel=1)
    elif track is None and best.track > 0:
        warnings.warn(f"{path}: the speech is in {_place(best)}; --audio-track chooses another", stacklevel=1)
    return best


def _first_speech(scores: Sequence[_Score]) -> int:
    """The first that is as good as the best; without speech the first that is not silent."""
    best = max(score.value for score in scores)
    spoken = [index for index, score in enumerate(scores) if score.is_speech and score.value >= MUCH_LESS * best]
    loud = [index for index, score in enumerate(scores) if score.level > SILENT_DB]
    return (*spoken, *loud, 0)[0]


def _place(sound: SoundTrack) -> str:
    count = len(sound.info.sounds)
    return f"sound track {sound.track + 1} of {count}" if count > 1 else "it"


def _best_channel(sound: SoundTrack) -> tuple[_Score, SoundTrack]:
    """The mix of a track where speech is found in it, else the channel that is most like speech, with its score."""
    channels: list[int | None] = list(range(sound.channels))
    frames: list[list[_Frames]] = []
    if sound.channels <= 2:
        channels = [None, *channels] if sound.channels == 2 else [None]
    elif sound.info.sounds[sound.track].known:  # mixed by the layout, which leaves channels out
        frames = _describe_until_sure(_blocks(decode(sound)), [0])
        if (score := speech_score(frames[0])).is_sure:
            return score, sound
        channels = [None, *channels]
    frames += _describe_until_sure(_blocks(decode(sound, channels=None)), channels[len(frames) :])
    scores = [speech_score(kept) for kept in frames]
    best = _first_speech(scores)
    return scores[best], replace(sound, channel=channels[best])


def _describe_until_sure(blocks: Iterable[Array], channels: Sequence[int | None]) -> list[list[_Frames]]:
    """Of each channel (None: the mean of all) what is known, up to where one of them is surely speech."""
    frames: list[list[_Frames]] = [[] for _ in channels]
    for part in blocks:
        for kept, channel in zip(frames, channels, strict=True):
            kept.append(describe(part.mean(1) if channel is None else part[:, channel]))
        if any(speech_score(kept).is_sure for kept in frames):
            break
    return frames


def _blocks(chunks: Iterable[Array]) -> Iterator[Array]:
    """The same samples [n, channels] some seconds at a time."""
    held: list[Array] = []
    for chunk in chunks:
        held.append(chunk)
        if len(held) == SECONDS_AT_ONCE:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)
