"""The clip's sound: put in time with the lips, brought to one loudness, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d
from torch import Tensor

from avatar.core.lips import lip_curves
from avatar.core.loudness import SILENCE_DB, find_gain, is_spoken, measure_level
from avatar.core.media import SAMPLE_RATE
from avatar.core.sync import MeasureSync, SyncMeasurement, SyncReading, find_drift, move_sound, retime_sound
from avatar.core.take import Span, Track
from preprocess.spans import to_spans

FULL_SCALE, CLIPPED_RUN = 0.985, 3  # samples in a row at full scale: clipped
SILENT_RMS = 0.002
LEAST_GAIN_DB = 0.5  # sound that was brought to the wanted loudness before stays as it is
LEAST_OFFSET = 0.002  # s; less is within the error
MOSTLY_SPOKEN = 0.5  # share of a window's frames with speech from which it can be said not to fit the lips
UNLIKE = 0.2  # likeness at the right offset in 3 s: another sound has .05 with a deviation of .12, the right one .6
LIKELY = 0.9  # certainty that the lips follow at all: short of sure, where a part of the clip is dubbed
UNSYNCED_FRAMES = 25  # that the lips must leave the sound for
FPS = 25.0
OTHER_VOICE_WINDOW, SPOKEN_SHARE = 25, 0.8  # frames; share of them with speech
RESTING_LIPS = 0.006  # eye distances: standard deviation of the lips in a window, below which they rest
SOMEBODY_ELSE_FRAMES = 38

Array = np.ndarray


@dataclass(frozen=True)
class Sound:
    """A clip's sound, ready to be trained on."""

    samples: Tensor  # [n] -1..1 at 16 kHz, in time with the picture
    level: Array  # [T] dB of full scale, frame by frame
    spans: list[Span]
    quality: dict[str, float]


def prepare_sound(samples: Tensor, track: Track, measure: MeasureSync | None) -> Sound:
    """Prepare the sound [n] -1..1 at 16 kHz of a clip of 25 frames/s.

    The samples given are changed: an hour of sound is held once.
    measure: the sync expert, to whom the sound is known; without it the offset to the picture is not searched.
    """
    rms = float(torch.linalg.vector_norm(samples)) / max(1, len(samples)) ** 0.5
    if rms < SILENT_RMS:
        return Sound(samples, np.full(len(track), SILENCE_DB), [], {"sound_rms": 0.0})
    curves, seen = lip_curves(track.landmarks).double().numpy(), track.confidence.numpy() > 0.3
    quality = {"sound_rms": rms}
    clipped = find_clipped(samples)
    sync = measure(track.expression, torch.from_numpy(seen)) if measure else None
    if sync:
        samples, known = _put_in_time(samples, sync)
        quality |= known
    level = _per_frame(measure_level(samples), len(track))
    spoken, gain = is_spoken(level).numpy(), find_gain(level, float(max(samples.max(), -samples.min())))
    gain_db = 20 * float(np.log10(gain))
    if abs(gain_db) < LEAST_GAIN_DB:
        gain, gain_db = 1.0, 0.0
    quality |= {
        "spoken": float(spoken.mean()),
        "pause_depth_db": float(level.quantile(0.9) - level.quantile(0.05)),
        "clipped": clipped,
        "sound_gain_db": gain_db,
    }
    other = find_other_voice(spoken, curves, seen)
    spans = to_spans(other, "somebody else speaks", at_least=SOMEBODY_ELSE_FRAMES)
    if sync and quality["sync_certainty"] > LIKELY:
        unsynced = find_unsynced(sync.windows, spoken)
        spans += to_spans(unsynced, "the lips do not follow the sound", at_least=UNSYNCED_FRAMES)
    return Sound(samples.mul_(gain), (level + gain_db).double().numpy(), spans, quality)


def _per_frame(level: Tensor, count: int) -> Tensor:
    missing = max(0, count - len(level))
    return torch.nn.functional.pad(level, (0, missing), value=SILENCE_DB)[:count]


def _put_in_time(samples: Tensor, found: SyncMeasurement) -> tuple[Tensor, dict[str, float]]:
    """Sound [n] moved to where the lips of real people have it, and what is known of its sync."""
    quality = {"sync_certainty": found.whole.certainty, "sync_likeness": found.whole.likeness}
    if (drift := find_drift(found.windows)) is not None:
        along = [window.certainty for window in found.windows]  # at one offset for all, too little is alike
        known = {"sync_certainty": max(found.whole.certainty, float(np.median(along)))}
        known |= {"sound_moved_seconds": -drift.offset, "sound_drift": -drift.slope}
        return retime_sound(samples, drift), quality | known
    if not found.whole.follows or abs(found.whole.offset) < LEAST_OFFSET:
        return samples, quality
    return move_sound(samples, -found.whole.offset), quality | {"sound_moved_seconds": -found.whole.offset}


def find_unsynced(windows: Sequence[SyncReading], spoken: Array) -> Array:
    """Frames [T] bool at which the lips of a film that follows its sound do not; spoken: [T] bool.

    Neither at the film's offset nor, by more than chance, at another. What a window says is said of its middle third,
    and only where somebody speaks most of the time.
    """
    foreign = np.zeros(len(spoken), bool)
    for window in windows:
        start, stop = round(window.start * FPS), round(window.stop * FPS)
        third = (stop - start) // 3
        unlike = window.common < UNLIKE and window.certainty < 0.5
        if unlike and window.seconds and spoken[start:stop].mean() > MOSTLY_SPOKEN:
            foreign[start + third : stop - third] = True
    return foreign


def find_clipped(samples: Tensor) -> float:
    """Share of the seconds in which the sound [n] stands at full scale for some samples in a row."""
    seconds = samples.split(SAMPLE_RATE)
    runs = [minimum_filter1d((second.abs() >= FULL_SCALE).numpy().astype(np.uint8), CLIPPED_RUN) for second in seconds]
    return sum(bool(run.any()) for run in runs) / max(1, len(runs))


def find_other_voice(spoken: Array, curves: Array, seen: Array) -> Array:
    """Frames [T] bool with speech for a while, spoken [T] bool, but lips at rest; curves [T, 3] of `lip_curves`."""
    speech = uniform_filter1d(spoken.astype(float), OTHER_VOICE_WINDOW) > SPOKEN_SHARE
    moved = np.max([_deviation(curves[:, i], OTHER_VOICE_WINDOW) for i in range(3)], axis=0)
    resting = speech & seen & (moved < RESTING_LIPS)
    return maximum_filter1d(resting.astype(np.uint8), OTHER_VOICE_WINDOW // 2).astype(bool) & seen


def _deviation(curve: Array, window: int) -> Array:
    mean = uniform_filter1d(curve, window)
    return np.sqrt(np.maximum(uniform_filter1d(curve**2, window) - mean**2, 0))
