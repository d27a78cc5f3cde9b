"""The same words by another voice, in another room, through another line: made of features, in a moment."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.motion.encoder import STRIDE


def augment(features: Tensor, generator: torch.Generator) -> Tensor:
    """Another voice, microphone and room, made in the feature domain [t, 83]: warp, tilt, gain, noise, band limit."""
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
    shape = uniform(-0.25, 0.25) * x + uniform(-0.15, 0.15) * torch.cos(torch.pi * x * uniform(1, 4))
    gain = uniform(-0.6, 0.4)
    mel = mel + shape + gain
    noise = uniform(-2.8, -0.9) + uniform(-0.3, 0.3) * x + 0.1 * torch.randn(mel.shape, generator=generator)
    mel = torch.logaddexp(4 * mel, 4 * noise) / 4
    if uniform(0, 1) < 0.2:
        mel[:, int(uniform(0.55, 0.9) * bands) :] = mel.min()
    rest = features[:, bands:].clone()
    rest[:, 0] = torch.logaddexp(4 * (rest[:, 0] + gain), torch.tensor(4 * uniform(-2.8, -1.5))) / 4
    rest[:, 2] = torch.where(rest[:, 2] != 0, rest[:, 2] + uniform(-0.4, 0.4), rest[:, 2])
    return torch.cat([mel, rest], 1)


def augmented_crop(features: Tensor, start: int, count: int, share: float, generator: torch.Generator) -> Tensor:
    """Features [D, 4 count] of the motion frames from `start` on, distorted in a `share` of all cases."""
    window = features[start * STRIDE : (start + count) * STRIDE].float()
    heard = augment(window, generator) if torch.rand(1, generator=generator) < share else window
    return heard.T
