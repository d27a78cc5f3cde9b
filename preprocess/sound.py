"""The clip's sound: put in time with the lips, brought to one loudness, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d
from torch import Tensor

from avatar.core.lips import lip_curves
from avatar.core.loudness import SILENCE_DB, find_gain, is_spoken, measure_level
from avatar.core.media import SAMPLE_RATE
from avatar.core.take import Span
from preprocess.spans import to_spans

FULL_SCALE, CLIPPED_RUN = 0.985, 3  # samples in a row at full scale: clipped
SEARCHED, BEYOND = 12, 40  # frames: offsets that are tried, and those that show what chance gives
GUARD = 1  # frames beyond the searched ones that belong to neither
SLOW = (12, 25)  # frames: changes slower than this say nothing of the offset
LEAST_FRAMES = 4 * BEYOND
SILENT_RMS = 0.002
LEAST_GAIN_DB = 0.5  # sound that was brought to the wanted loudness before stays as it is
EARLY = 1  # frames by which real lips run before the articulation that the encoder was trained on
SURE = 6.0  # standard deviations over chance from which an offset is accepted
LEAST_OFFSET = 2  # frames; less is within the error
SMOOTHING = 0.1  # ridge of the regression of lips on articulation, of unit variance each
OTHER_VOICE_WINDOW, SPOKEN_SHARE = 25, 0.8  # frames; share of them with speech
RESTING_LIPS = 0.006  # eye distances: standard deviation of the lips in a window, below which they rest
SOMEBODY_ELSE_FRAMES = 38

Array = np.ndarray
PredictArticulation = Callable[[Tensor], Tensor]
"""Samples [n] at 16 kHz -> articulation [t, 5] at 25 frames/s: opening and width first."""


@dataclass(frozen=True)
class Offset:
    """By how many frames the picture is later than the sound, and how sure that is."""

    frames: int
    strength: float  # standard deviations over chance; 3 and less is what a picture with a foreign sound gives
    agreed: bool  # whether quick and slow motion give the same


@dataclass(frozen=True)
class Sound:
    """A clip's sound, ready to be trained on."""

    samples: Tensor  # [n] -1..1 at 16 kHz, in time with the picture
    level: Array  # [T] dB of full scale, frame by frame
    spans: list[Span]
    quality: dict[str, float]


def prepare_sound(
    samples: Tensor, landmarks: Tensor, confidence: Tensor, fps: float, predict: PredictArticulation | None
) -> Sound:
    """Prepare the sound [n] -1..1 at 16 kHz of a clip of 25 frames/s with landmarks [T, 478, 3] px, confidence [T].

    The samples given are changed: an hour of sound is held once.
    predict: articulation from sound; without it the offset between sound and picture is not searched.
    """
    rms = float(torch.linalg.vector_norm(samples)) / max(1, len(samples)) ** 0.5
    if rms < SILENT_RMS:
        return Sound(samples, np.full(len(landmarks), SILENCE_DB), [], {"sound_rms": 0.0})
    curves, seen = lip_curves(landmarks).double().numpy(), confidence.numpy() > 0.3
    quality = {"sound_rms": rms}
    clipped = find_clipped(samples)
    if predict is not None and seen.sum() >= LEAST_FRAMES:
        offset = find_offset(predict(samples).numpy(), curves, seen)
        quality["lip_sync"] = offset.strength
        if offset.strength >= SURE and offset.agreed and abs(offset.frames) >= LEAST_OFFSET:
            samples = delay(samples, offset.frames, fps)
            quality["sound_moved_frames"] = float(offset.frames)
    level = _per_frame(measure_level(samples), len(landmarks))
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
    return Sound(samples.mul_(gain), (level + gain_db).double().numpy(), spans, quality)


def _per_frame(level: Tensor, count: int) -> Tensor:
    missing = max(0, count - len(level))
    return torch.nn.functional.pad(level, (0, missing), value=SILENCE_DB)[:count]


def find_offset(articulation: Array, curves: Array, seen: Array) -> Offset:
    """Offset of articulation [t, 5], predicted from sound, and lip curves [T, 3], over frames seen [T] bool.

    It is where the predicted opening and width correlate best with the lips', and where a regression of the lips on
    all of the articulation explains most, against offsets so large that only chance is left.
    """
    count = min(len(articulation), len(curves))
    if count < LEAST_FRAMES:
        return Offset(0, 0.0, False)
    lips = np.where(seen[:count, None], curves[:count], np.median(curves[:count][seen[:count]], axis=0))
    scores = [_score_offsets(_quick(articulation[:count], slow), _quick(lips, slow)) for slow in SLOW]
    near = [score[BEYOND - SEARCHED : BEYOND + SEARCHED + 1] for score in (*scores, np.mean(scores, axis=0))]
    first, second, both = (int(score.argmax()) - SEARCHED for score in near)
    return Offset(both + EARLY, float(near[2].max()), abs(first - second) <= 1)


def _quick(curves: Array, slow: int) -> Array:
    """Curves [T, D] less their moving mean, at unit variance."""
    quick = curves - uniform_filter1d(curves.astype(np.float64), 2 * slow + 1, axis=0, mode="reflect")
    return (quick - quick.mean(0)) / quick.std(0).clip(1e-9)


def _score_offsets(articulation: Array, lips: Array) -> Array:
    """Score [2 BEYOND + 1] of each offset, in standard deviations over chance."""
    pairs = [_score_lag(articulation, lips, lag) for lag in range(-BEYOND, BEYOND + 1)]
    correlation, explained = (_over_chance(np.array(values)) for values in zip(*pairs, strict=True))
    return correlation + explained


def _score_lag(articulation: Array, lips: Array, lag: int) -> tuple[float, float]:
    """Correlation of opening and width, and the share of the lips' variance that a ridge regression explains."""
    count = len(lips)
    early, late = articulation[max(0, -lag) : count - max(0, lag)], lips[max(0, lag) : count - max(0, -lag)]
    cross = early.T @ late / len(early)
    ridge = np.linalg.solve(early.T @ early / len(early) + SMOOTHING * np.eye(early.shape[1]), cross)
    return (cross[0, 0] + cross[0, 1]) / 2 + cross[1, 2], (ridge * cross).sum() / lips.shape[1]


def _over_chance(scores: Array) -> Array:
    far = np.abs(np.arange(-BEYOND, BEYOND + 1)) > SEARCHED + GUARD
    return (scores - scores[far].mean()) / max(float(scores[far].std()), 1e-9)


def delay(samples: Tensor, frames: int, fps: float) -> Tensor:
    """Sound [n] that comes some frames later (earlier, where negative), of the same length."""
    shift = round(frames / fps * SAMPLE_RATE)
    moved = torch.zeros_like(samples)
    if shift >= 0:
        moved[shift:] = samples[: len(samples) - shift]
    else:
        moved[:shift] = samples[-shift:]
    return moved


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
