"""Figures of merit: plain functions of tensors, with unit and direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from avatar.core.eyes import count_blinks
from avatar.core.geometry import mean_rotation, to_vector
from avatar.core.motion_space import MotionSpace
from cuda_ext import ops

FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
             149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LEFT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
RIGHT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
RIGID = (10, 151, 9, 8, 168, 6, 197, 195, 5, 54, 284, 103, 332, 33, 263, 133, 362)
MESH_POINTS = 468
WIDER = 1.33  # of mouth and eyes, than their outlines


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
    """Regions of a frame by its landmarks [478, 3] px: whole, face (its outline), mouth and eyes (a third wider)."""
    points = landmarks[:, :2]
    left, right = (fill_polygon(_widen(points[list(eye)], WIDER), size) for eye in (LEFT_EYE, RIGHT_EYE))
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
    """Mean change of skin from frame to frame, 0..255, of pictures [T, S, S, 3] uint8 whose head is brought to rest.

    landmarks: [T, 478, 3] px of the person. Forehead, nose and cheeks are looked at; each frame is laid over the one
    before by the similarity that fits its rigid points best (Umeyama 1991).
    """
    changes, size = [], frames.shape[1]
    for before, after in zip(range(len(frames) - 1), range(1, len(frames)), strict=True):
        skin = _skin(landmarks[after, :, :2], size)
        if not skin.any():
            continue
        grid = _follow(landmarks[after, list(RIGID), :2], landmarks[before, list(RIGID), :2], size)
        moved = functional.grid_sample(frames[before].permute(2, 0, 1)[None].float(), grid, align_corners=False)[0]
        changes.append((frames[after].float() - moved.permute(1, 2, 0)).abs()[skin].mean())
    return float(torch.stack(changes).mean()) if changes else 0.0


def _skin(points: Tensor, size: int) -> Tensor:
    inner = fill_polygon(_widen(points[list(FACE_OVAL)], 0.85), size)
    for part in (LEFT_EYE, RIGHT_EYE, OUTER_LIPS):
        inner &= ~fill_polygon(_widen(points[list(part)], 1.8), size)
    return inner


def _follow(here: Tensor, there: Tensor, size: int) -> Tensor:
    """Where the pixels of a picture [1, S, S, 2] were in another, -1..1, by points [N, 2] px of both."""
    a, b = torch.view_as_complex(here.double().contiguous()), torch.view_as_complex(there.double().contiguous())
    turn = ((b - b.mean()) * (a - a.mean()).conj()).sum() / (a - a.mean()).abs().square().sum()
    axis = torch.arange(size, dtype=torch.float64) + 0.5
    pixels = torch.complex(axis.expand(size, size), axis[:, None].expand(size, size).contiguous())
    moved = torch.view_as_real(b.mean() + turn * (pixels - a.mean()))
    return (2 * moved / size - 1)[None].float()


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
    return 60 * fps * count_blinks(eyes) / max(1, len(eyes))


def head_motion_degrees(rotation: Tensor) -> float:
    """Root mean square angle of rotations [T, 3, 3] about their mean, in degrees."""
    return float(torch.rad2deg(to_vector(mean_rotation(rotation).T @ rotation).square().sum(1).mean().sqrt()))


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson correlation of two curves [T]; 0 when one is constant."""
    a, b = first.double() - first.double().mean(), second.double() - second.double().mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12))
