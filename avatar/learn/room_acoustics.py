"""Sound as other rooms and lines would have it; for making corpora."""

from __future__ import annotations

import numpy as np
import torch
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt
from torch import Tensor

from avatar.motion.features import SAMPLE_RATE

QUIETEST = 1e-4


def record(pcm: Tensor, draw: np.random.Generator) -> Tensor:
    """Sound [n] 16 kHz as a room and a line would have it, at some distance and level; a third stays as it is."""
    samples = pcm.numpy().astype(np.float64)
    if draw.random() < 1 / 3 or not len(samples):
        return pcm
    samples = _reverberate(samples, draw)
    if draw.random() < 0.6:
        samples = samples + _noise(len(samples), draw) * np.abs(samples).std() * 10 ** draw.uniform(-1.6, -0.4)
    if draw.random() < 0.3:
        samples = _telephone(samples)
    if draw.random() < 0.3:
        cutoff = draw.uniform(2500, 7000)
        samples = sosfilt(butter(4, cutoff, fs=SAMPLE_RATE, output="sos"), samples)
    samples = samples * 10 ** draw.uniform(-0.6, 0.1) / max(QUIETEST, np.abs(samples).max())
    return torch.from_numpy(np.clip(samples, -1, 1).astype(np.float32))


def _reverberate(samples: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A direct sound, then noise that dies away by 60 dB in .15 to .7 s (Polack's model of a room)."""
    seconds, level = draw.uniform(0.15, 0.7), 10 ** draw.uniform(-1.5, -0.3)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = draw.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    tail *= level / np.sqrt((tail**2).sum())
    tail[0] = 1
    return fftconvolve(samples, tail)[: len(samples)]


def _noise(count: int, draw: np.random.Generator) -> np.ndarray:
    """Noise of unit deviation whose spectrum falls by 0 to 6 dB an octave."""
    spectrum = np.fft.rfft(draw.standard_normal(count))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** draw.uniform(0, 1)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, count)
    return noise / max(1e-12, noise.std())


def _telephone(samples: np.ndarray) -> np.ndarray:
    """8 kHz and 8 bits of the mu-law (ITU-T G.711's curve)."""
    narrow = resample_poly(samples, 1, 2)
    peak = max(QUIETEST, np.abs(narrow).max())
    level = np.sign(narrow) * np.log1p(255 * np.abs(narrow) / peak) / np.log(256)
    level = np.round(level * 127) / 127
    narrow = np.sign(level) * (256 ** np.abs(level) - 1) / 255 * peak
    return resample_poly(narrow, 2, 1)[: len(samples)]
