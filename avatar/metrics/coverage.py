"""Whether a person hides what is behind them, and ends where they should: over any background, not only their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

OPAQUE = 250  # of 255: coverage through which no eye sees the background
CORE = 1 / 64  # of the picture's side, inside the matte's edge: 8 px at 512, what mattes may be wrong by
BAND = 1 / 128  # of the picture's side, to both sides of the true edge: 4 px at 512
NEW_BACKGROUNDS = ((32, 160, 64), (235, 235, 235), (20, 20, 28))  # a green screen, a white page, the night


def person_core(matte: Tensor) -> Tensor:
    """What is surely inside the person [S, S] bool, of a matte [S, S] uint8: its edge and all beside it left out."""
    return _within(matte < 128, CORE) == 0


def coverage_inside(alpha: Tensor, matte: Tensor) -> tuple[float, float] | None:
    """Of the core of a person's matte [S, S] uint8: the share that is opaque, and the mean coverage 0..1.

    alpha: [S, S] uint8. None where the matte has no core.
    """
    inside = alpha[person_core(matte)]
    if len(inside) == 0:
        return None
    return float((inside >= OPAQUE).float().mean()), float(inside.float().mean() / 255)


def edge_psnr(drawn: Tensor, truth: Tensor) -> float | None:
    """PSNR in dB about the person's edge over three new backgrounds, of all of them the mean error; None without edge.

    drawn, truth: [S, S, 4] float premultiplied colours and coverage, 0..255; the band lies about the true edge.
    """
    matte = truth[..., 3]
    band = (_within(matte > 2, BAND) > 0) & (_within(matte < 253, BAND) > 0)
    if not band.any():
        return None
    errors = []
    for color in NEW_BACKGROUNDS:
        first, second = (_over(picture[band], torch.tensor(color).float()) for picture in (drawn, truth))
        errors.append(float((first - second).square().mean()))
    return 10 * math.log10(255**2 / max(1e-6, sum(errors) / len(errors)))


def premultiply(picture: Tensor) -> Tensor:
    """A picture [S, S, 4] 0..255 of straight colours and coverage, as `edge_psnr` compares it: float, premultiplied."""
    colors, alpha = picture.float().split([3, 1], -1)
    return torch.cat([colors * alpha / 255, alpha], -1)


def _over(premultiplied: Tensor, color: Tensor) -> Tensor:
    return premultiplied[..., :3] + (1 - premultiplied[..., 3:] / 255) * color


def _within(mask: Tensor, share: float) -> Tensor:
    """1 where a mask [S, S] bool is true within a share of the side, 0 elsewhere [S, S] float."""
    reach, values = max(1, round(share * len(mask))), mask.float()[None]
    for kernel, padding in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        values = functional.max_pool2d(values, kernel, 1, padding)
    return values[0]
