"""Data augmentation in the feature domain: another voice, microphone, room and channel, without synthesizing sound."""

from __future__ import annotations

import torch
from torch import Tensor

ENERGY_SCALE = 4  # log-mel bands and log energy are natural logarithms / 4 (`avatar.motion.features`)


def augment(features: Tensor, generator: torch.Generator) -> Tensor:
    """Log-mel features [t, 83] of one utterance, changed at random.

    Vocal tract length perturbation (Jaitly and Hinton 2013), spectral tilt, gain, additive noise, and a low-pass in one
    of five. 83: 80 bands, log energy, voicing, log pitch. The ranges were not tuned: they hold what voices and
    microphones differ by, and more.
    """
    bands = features.shape[1] - 3
    mel = features[:, :bands]

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=generator))

    # vocal tract length: the band axis stretched about its low end
    axis = (torch.arange(bands) * uniform(0.84, 1.18)).clamp(max=bands - 1)
    low = axis.floor().long()
    high = (low + 1).clamp(max=bands - 1)
    mel = mel[:, low] * (1 - (axis - low)) + mel[:, high] * (axis - low)
    x = torch.linspace(-1, 1, bands)
    tilt = uniform(-0.25, 0.25) * x + uniform(-0.15, 0.15) * torch.cos(torch.pi * x * uniform(1, 4))
    gain = uniform(-0.6, 0.4)
    mel = mel + tilt + gain
    noise = uniform(-2.8, -0.9) + uniform(-0.3, 0.3) * x + 0.1 * torch.randn(mel.shape, generator=generator)
    mel = torch.logaddexp(ENERGY_SCALE * mel, ENERGY_SCALE * noise) / ENERGY_SCALE
    if uniform(0, 1) < 0.2:
        mel[:, int(uniform(0.55, 0.9) * bands) :] = mel.min()
    rest = features[:, bands:].clone()
    floor = torch.tensor(ENERGY_SCALE * uniform(-2.8, -1.5))
    rest[:, 0] = torch.logaddexp(ENERGY_SCALE * (rest[:, 0] + gain), floor) / ENERGY_SCALE
    rest[:, 2] = torch.where(rest[:, 2] != 0, rest[:, 2] + uniform(-0.4, 0.4), rest[:, 2])
    return torch.cat([mel, rest], 1)
