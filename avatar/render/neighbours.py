"""What lies about pixels: means, extremes and carried values of pictures [C, H, W]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

COARSE = 4  # px: what varies slowly is found at a quarter of the size
FURTHER, LITTLE = 3, 1e-3  # times as far is looked for what is not near; its weight beside what is


def shrink(picture: Tensor, times: int = COARSE) -> Tensor:
    """A picture at a fraction of its size, rounded up: means of `times` x `times` pixels."""
    return functional.avg_pool2d(picture[None], times, ceil_mode=True, count_include_pad=False)[0]


def enlarge(picture: Tensor, size: int) -> Tensor:
    """The inverse of `shrink`, each value repeated, for square pictures of `size` px a side."""
    large = picture.repeat_interleave(COARSE, 1).repeat_interleave(COARSE, 2)
    return large[:, :size, :size].contiguous()


def grow(values: Tensor, reach: int) -> Tensor:
    """The largest value within a square of `reach` px to each side; several times as fast as pooling."""
    for axis in (1, 2):
        border = torch.full_like(values.narrow(axis, 0, 1), -torch.inf).repeat_interleave(reach, axis)
        values, width = torch.cat([border, values, border], axis), 1
        while width < 2 * reach + 1:
            step = min(width, 2 * reach + 1 - width)
            count = values.shape[axis] - step
            values, width = torch.maximum(values.narrow(axis, 0, count), values.narrow(axis, step, count)), width + step
    return values


def erode(values: Tensor, reach: int) -> Tensor:
    """The smallest value within a square of `reach` px to each side; what lies beyond the border does not count."""
    return -grow(-values, reach)


def mean_within(values: Tensor, reach: int) -> Tensor:
    """The mean within a square of `reach` px to each side, zeros beyond the border: by running sums, fast for any."""
    width = 2 * reach + 1
    for axis, padding in ((1, (0, 0, reach + 1, reach)), (2, (reach + 1, reach))):
        sums = functional.pad(values, padding).cumsum(axis)
        count = sums.shape[axis] - width
        values = (sums.narrow(axis, width, count) - sums.narrow(axis, 0, count)) / width
    return values


def carry(values: Tensor, weight: Tensor, reach: int) -> Tensor:
    """The mean within `reach` px by weight [1, H, W]; where there is no weight from further, and 0 from too far."""
    total, share = mean_within(values * weight, reach), mean_within(weight, reach)
    far, far_share = mean_within(values * weight, FURTHER * reach), mean_within(weight, FURTHER * reach)
    return (total + LITTLE * far) / (share + LITTLE * far_share).clamp_min(1e-6)
