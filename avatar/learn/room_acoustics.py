"""Simulated recording conditions for synthesized speech: reverberation, noise, telephone, band limit, level."""

from __future__ import annotations

import numpy as np
import torch
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt
from torch import Tensor

from avatar.motion.features import SAMPLE_RATE

MIN_PEAK = 1e-4  # of full scale: silence is not amplified


def simulate_recording(pcm: Tensor, rng: np.random.Generator) -> Tensor:
    """Sound [n] at 16 kHz as recorded in a room, over a channel, at some level -1..1; one in three stays as it is.

    Probabilities and ranges were not tuned: they reach from a studio to a bad telephone.
    """
    samples = pcm.numpy().astype(np.float64)
    if rng.random() < 1 / 3 or not len(samples):
        return pcm
    samples = _reverberate(samples, rng)
    if rng.random() < 0.6:
        samples = samples + _noise(len(samples), rng) * np.abs(samples).std() * 10 ** rng.uniform(-1.6, -0.4)
    if rng.random() < 0.3:
        samples = _telephone(samples)
    if rng.random() < 0.3:
        cutoff = rng.uniform(2500, 7000)
        samples = sosfilt(butter(4, cutoff, fs=SAMPLE_RATE, output="sos"), samples)
    samples = samples * 10 ** rng.uniform(-0.6, 0.1) / max(MIN_PEAK, np.abs(samples).max())
    return torch.from_numpy(np.clip(samples, -1, 1).astype(np.float32))


def _reverberate(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convolve with a direct sound and noise that decays by 60 dB in .15 to .7 s (Polack 1988, late reverberation)."""
    seconds, level = rng.uniform(0.15, 0.7), 10 ** rng.uniform(-1.5, -0.3)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    tail *= level / np.sqrt((tail**2).sum())
    tail[0] = 1
    return fftconvolve(samples, tail)[: len(samples)]


def _noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit deviation whose spectrum falls by 0 to 6 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** rng.uniform(0, 1)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, count)
    return noise / max(1e-12, noise.std())


def _telephone(samples: np.ndarray) -> np.ndarray:
    """8 kHz and 8 bits of the mu-law (ITU-T G.711's curve)."""
    narrow = resample_poly(samples, 1, 2)
    peak = max(MIN_PEAK, np.abs(narrow).max())
    level = np.sign(narrow) * np.log1p(255 * np.abs(narrow) / peak) / np.log(256)
    level = np.round(level * 127) / 127
    narrow = np.sign(level) * (256 ** np.abs(level) - 1) / 255 * peak
    return resample_poly(narrow, 2, 1)[: len(samples)]
