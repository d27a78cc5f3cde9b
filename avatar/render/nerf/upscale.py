"""A picture drawn at half the size, enlarged: bilinear, and what a small network adds to it.

Sub-pixel convolution (Shi et al. 2016). It has no discriminator and no features of the field, unlike GeneFace++'s.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatar.render.nerf.field import Values

CHANNELS = 24
PICTURE = 4  # red, green, blue, coverage
FACTOR = 2


def begin_upscale(generator: torch.Generator) -> Values:
    """Fresh weights of three convolutions; the last is zero, so that at first nothing is added."""
    shapes = [(CHANNELS, PICTURE), (CHANNELS, CHANNELS), (PICTURE * FACTOR**2, CHANNELS)]
    values = {}
    for index, (after, before) in enumerate(shapes):
        weight = torch.randn(after, before, 3, 3, generator=generator) * (2 / (9 * before)) ** 0.5
        values[f"upscale.{index}"] = weight if index < len(shapes) - 1 else torch.zeros_like(weight)
    return values


def upscale(values: Values, picture: Tensor, size: int) -> Tensor:
    """Colour premultiplied and coverage [4, s, s] -> [4, S, S], where s is half of S, rounded up."""
    wide = functional.interpolate(picture[None], scale_factor=FACTOR, mode="bilinear", align_corners=False)
    hidden = picture[None]
    for index in range(2):
        hidden = functional.relu(functional.conv2d(hidden, values[f"upscale.{index}"], padding=1))
    added = functional.pixel_shuffle(functional.conv2d(hidden, values["upscale.2"], padding=1), FACTOR)
    large = wide + added
    if large.shape[-1] != size:
        large = functional.interpolate(large, (size, size), mode="bilinear", align_corners=False)
    return large[0].clamp(0, 1)
