"""A picture drawn at half the size, enlarged: bilinear, and what a small network adds to it.

Sub-pixel convolution (Shi et al. 2016). It has no discriminator and no features of the field, unlike GeneFace++'s.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from avatar.render.nerf.field import Values

HIDDEN_CHANNELS = 24  # few: they are convolved over the whole picture, on CPUs too
PICTURE_CHANNELS = 4  # red, green, blue, coverage
FACTOR = 2  # `NerfSettings.upscale`
LAST_UPSCALE = "upscale.2"
UPSCALE_SHAPES = {
    "upscale.0": (HIDDEN_CHANNELS, PICTURE_CHANNELS, 3, 3),
    "upscale.1": (HIDDEN_CHANNELS, HIDDEN_CHANNELS, 3, 3),
    LAST_UPSCALE: (PICTURE_CHANNELS * FACTOR**2, HIDDEN_CHANNELS, 3, 3),
}
"""Weights of the convolutions."""


def upscale(values: Values, picture: Tensor, size: int) -> Tensor:
    """Colour premultiplied and coverage [4, s, s] -> [4, S, S], where s is half of S, rounded up."""
    wide = functional.interpolate(picture[None], scale_factor=FACTOR, mode="bilinear", align_corners=False)
    hidden = picture[None]
    for index in range(2):
        hidden = functional.relu(functional.conv2d(hidden, values[f"upscale.{index}"], padding=1))
    added = functional.pixel_shuffle(functional.conv2d(hidden, values[LAST_UPSCALE], padding=1), FACTOR)
    large = wide + added
    if large.shape[-1] != size:
        large = functional.interpolate(large, (size, size), mode="bilinear", align_corners=False)
    return large[0].clamp(0, 1)
