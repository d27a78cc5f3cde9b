"""Loudness normalization of speech, the same for the clip that a person is adapted to and for what drives them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

TARGET_DB = -23.0  # of full scale, mean over speech: broadcasters' level (EBU R 128), without its frequency weighting
MAX_PEAK, MAX_GAIN_DB = 0.98, 30.0  # no clipping; beyond such a gain there is more noise than speech
SPEECH_RANGE_DB = 25.0  # below the loud frames: pauses are quieter, weak consonants are not
FRAME = 640  # samples: 40 ms at 16 kHz
SILENCE_DB = -100.0  # of digital silence, whose logarithm is not finite
AT_ONCE = 1500 * FRAME  # samples: memory stays flat


def measure_level(samples: Tensor) -> Tensor:
    """Level [n / 640] in dB of full scale of each 40 ms of sound [n] at 16 kHz; an open end counts as silence."""
    return torch.cat([_measure(part) for part in samples.split(AT_ONCE)]) if len(samples) else samples


def _measure(samples: Tensor) -> Tensor:
    missing = -len(samples) % FRAME
    frames = torch.nn.functional.pad(samples, (0, missing)).reshape(-1, FRAME)
    return 10 * frames.square().mean(1).clamp_min(10 ** (SILENCE_DB / 10)).log10()


def is_spoken(level: Tensor) -> Tensor:
    """Frames [T] bool of a level [T] dB that hold speech: not much quieter than the loudest tenth."""
    return level > level.quantile(0.9) - SPEECH_RANGE_DB if len(level) else level > 0


def find_gain(level: Tensor, peak: float) -> float:
    """Factor that brings speech of level [T] dB and highest sample `peak` to -23 dB, without clipping."""
    spoken = level[is_spoken(level)]
    if len(spoken) == 0 or peak <= 0 or float(spoken.max()) <= SILENCE_DB:
        return 1.0
    mean = float((10 ** (spoken / 10)).mean().log10() * 10)
    return min(10 ** (min(TARGET_DB - mean, MAX_GAIN_DB) / 20), MAX_PEAK / peak)


def gain_of(chunks: Iterable[Tensor]) -> float:
    """As `find_gain`, of sound that comes in chunks [n] of any size."""
    levels, peak, rest = [torch.zeros(0)], 0.0, torch.zeros(0)
    for chunk in chunks:
        peak = max(peak, float(chunk.abs().max())) if len(chunk) else peak
        rest = torch.cat([rest, chunk])
        whole = len(rest) // FRAME * FRAME
        levels.append(measure_level(rest[:whole]))
        rest = rest[whole:]
    return find_gain(torch.cat([*levels, measure_level(rest)]), peak)
