"""Figures of merit: plain functions of tensors, with unit and direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from avatar.core.geometry import mean_rotation, to_vector
from avatar.core.motion_space import MotionSpace
from cuda_ext import ops

FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
             149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
MESH_POINTS = 468
SHUT = 0.5  # mean lid openness of a blink


@dataclass(frozen=True)
class Metric:
    """A comparison of a picture with the truth."""

    measure: Callable[[Tensor, Tensor, Tensor | None], float]
    unit: str
    better: str  # "higher" or "lower"


@dataclass(frozen=True)
class Score:
    """One figure: what was drawn how, where it was looked at, and what came out."""

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
    """Regions of a frame by its landmarks [478, 3] px: whole, face (its outline), mouth (outer lips, a third wider)."""
    points = landmarks[:, :2]
    lips = points[list(OUTER_LIPS)]
    center = lips.mean(0)
    return {
        "whole": None,
        "face": fill_polygon(points[list(FACE_OVAL)], size),
        "mouth": fill_polygon(center + 1.33 * (lips - center), size),
    }


def landmark_distance(found: Tensor, truth: Tensor) -> float:
    """Mean distance in px of the mesh landmarks of frames [T, 478, 3] (LMD)."""
    return float((found[:, :MESH_POINTS, :2] - truth[:, :MESH_POINTS, :2]).norm(dim=-1).mean())


def lip_vertex_error(expression: Tensor, truth: Tensor, space: MotionSpace) -> float:
    """Mean over frames of the largest distance of a lip vertex, in mm (LVE; Richard et al. 2021, MeshTalk, section 4).

    expression, truth: [T, K]; heads held still.
    """
    moved = torch.einsum("tk,klc->tlc", expression - truth, space.basis[:, space.lips])
    return 10 * float(moved.norm(dim=-1).amax(1).mean())


def lip_jerkiness(expression: Tensor, truth: Tensor, space: MotionSpace) -> float:
    """Mean acceleration of the lips in expressions [T, K], times that of the truth [N, K]: below 1 is smoother."""

    def acceleration(values: Tensor) -> Tensor:
        lips = torch.einsum("tk,klc->tlc", values, space.basis[:, space.lips])
        return lips.diff(n=2, dim=0).norm(dim=-1).mean()

    return float(acceleration(expression) / acceleration(truth).clamp_min(1e-9))


def blinks_per_minute(eyes: Tensor, fps: float) -> float:
    """How often the lids shut, of eyes [T, 4]."""
    shut = eyes[:, :2].mean(1) < SHUT
    return 60 * fps * float((shut[1:] & ~shut[:-1]).sum()) / max(1, len(eyes))


def head_motion_degrees(rotation: Tensor) -> float:
    """Root mean square angle of rotations [T, 3, 3] about their mean, in degrees."""
    return float(torch.rad2deg(to_vector(mean_rotation(rotation).T @ rotation).square().sum(1).mean().sqrt()))


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson correlation of two curves [T]; 0 when one is constant."""
    a, b = first.double() - first.double().mean(), second.double() - second.double().mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12))
