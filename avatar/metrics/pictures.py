"""Pictures against the truth: regions, distances, flicker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from avatar.core.landmarks import (
    FACE_OVAL,
    LEFT_EYE_OUTLINE,
    MESH_POINTS,
    OUTER_LIPS,
    RIGHT_EYE_OUTLINE,
    RIGID_FEW,
)
from cuda_ext import ops

WIDER = 1.33  # mouth and eyes, than their outlines: with the skin that moves about them


@dataclass(frozen=True)
class Metric:
    """A comparison of a picture with the truth."""

    measure: Callable[[Tensor, Tensor, Tensor | None], float]
    unit: str
    better: str  # "higher" or "lower"


@dataclass(frozen=True)
class Score:
    """One figure of an evaluation: the mode of driving, the region of the picture, the metric and its value."""

    mode: str
    region: str
    metric: str
    value: float
    unit: str


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal to noise ratio in dB of pictures [S, S, 3] uint8, over mask [S, S] bool; 99 when equal."""
    error = (image.double() - truth.double()).square().mean(-1)
    mean = error[mask].mean() if mask is not None else error.mean()
    return min(99.0, float(10 * torch.log10(255.0**2 / mean.clamp_min(1e-12))))


def ssim(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Structural similarity (Wang et al. 2004, 11x11 Gaussian window) of pictures [S, S, 3] uint8; 1 when equal."""
    first, second = (picture.permute(2, 0, 1).float() / 255 for picture in (image, truth))
    weight = torch.ones_like(first[:1]) if mask is None else mask[None].float()
    return 1 - 2 * float(ops.photo_error(first, second, weight, ssim_weight=1.0))


METRICS: dict[str, Metric] = {
    "psnr": Metric(psnr, "dB", "higher"),
    "ssim": Metric(ssim, "", "higher"),
}


def fill_polygon(points: Tensor, size: int) -> Tensor:
    """Mask [S, S] bool of the inside of a polygon [n, 2] px."""
    canvas = Image.new("1", (size, size))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points], fill=1, outline=1)
    return torch.from_numpy(np.array(canvas))


def region_masks(landmarks: Tensor, size: int) -> dict[str, Tensor | None]:
    """Regions of a frame by its landmarks [478, 3] px: whole, face (its outline), mouth and eyes (a third wider)."""
    points = landmarks[:, :2]
    left, right = (
        fill_polygon(_widen(points[list(eye)], WIDER), size) for eye in (LEFT_EYE_OUTLINE, RIGHT_EYE_OUTLINE)
    )
    return {
        "whole": None,
        "face": fill_polygon(points[list(FACE_OVAL)], size),
        "mouth": fill_polygon(_widen(points[list(OUTER_LIPS)], WIDER), size),
        "eyes": left | right,
    }


def _widen(points: Tensor, times: float) -> Tensor:
    center = points.mean(0)
    return center + times * (points - center)


def flicker(frames: Tensor, landmarks: Tensor) -> float:
    """Mean change of the skin from frame to frame, in grey levels 0..255, of pictures [T, S, S, 3] uint8.

    landmarks: [T, 478, 3] px of the person. Measured on forehead, nose and cheeks, after each frame was aligned with
    the one before by the similarity transform of its rigid points; 0 where no frame shows skin.
    """
    changes, size = [], frames.shape[1]
    for before, after in zip(range(len(frames) - 1), range(1, len(frames)), strict=True):
        skin = _skin(landmarks[after, :, :2], size)
        if not skin.any():
            continue
        grid = align_pictures(landmarks[after, list(RIGID_FEW), :2], landmarks[before, list(RIGID_FEW), :2], size, size)
        moved = functional.grid_sample(frames[before].permute(2, 0, 1)[None].float(), grid, align_corners=False)[0]
        changes.append((frames[after].float() - moved.permute(1, 2, 0)).abs()[skin].mean())
    return float(torch.stack(changes).mean()) if changes else 0.0


def _skin(points: Tensor, size: int) -> Tensor:
    inner = fill_polygon(_widen(points[list(FACE_OVAL)], 0.85), size)
    for part in (LEFT_EYE_OUTLINE, RIGHT_EYE_OUTLINE, OUTER_LIPS):
        inner &= ~fill_polygon(_widen(points[list(part)], 1.8), size)
    return inner


def align_pictures(here: Tensor, there: Tensor, size: int, there_size: int) -> Tensor:
    """Where the pixels of a picture lie in another [1, S, S, 2], -1..1 for `grid_sample`, by points [N, 2] px of both.

    The similarity transform that fits the points best (Umeyama 1991). size, there_size: px a side of both pictures.
    """
    a, b = torch.view_as_complex(here.double().contiguous()), torch.view_as_complex(there.double().contiguous())
    turn = ((b - b.mean()) * (a - a.mean()).conj()).sum() / (a - a.mean()).abs().square().sum()
    axis = torch.arange(size, dtype=torch.float64) + 0.5
    pixels = torch.complex(axis.expand(size, size), axis[:, None].expand(size, size).contiguous())
    moved = torch.view_as_real(b.mean() + turn * (pixels - a.mean()))
    return (2 * moved / there_size - 1)[None].float()


def landmark_distance(found: Tensor, truth: Tensor) -> float:
    """Mean distance in px of the mesh landmarks of frames [T, 478, 3] px (LMD; Chen et al. 2018)."""
    return float((found[:, :MESH_POINTS, :2] - truth[:, :MESH_POINTS, :2]).norm(dim=-1).mean())
