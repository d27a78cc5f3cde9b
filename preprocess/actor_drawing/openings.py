"""What shows through the openings of the face: eyeballs, teeth and tongue; and the lashes before them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from avatar.core.geometry import Camera, project
from avatar.core.landmarks import (
    INNER_LIPS,
    IRIS_CENTERS,
    LEFT_EYE,
    LEFT_EYE_OUTLINE,
    LEFT_UPPER_LID,
    LOWER_LIP,
    RIGHT_EYE,
    RIGHT_EYE_OUTLINE,
    RIGHT_UPPER_LID,
    UPPER_LIP,
)
from preprocess.actor_drawing.looks import Look
from preprocess.actor_drawing.noise import step

Array = np.ndarray

SHIFT = 4
IRIS_CM, PUPIL_CM, EYE_CM = 0.62, 0.28, 1.55
SCLERA = np.array([236.0, 231, 227], np.float32)
LASHES, LASH_CM = 24, 0.36
DARKEST_TEETH, TEETH_IN_LIGHT_CM = 0.2, 1.2
TEETH = ((0.0, 0.44), (0.80, 0.42), (1.38, 0.40), (1.9, 0.32))  # cm: where each begins, from the middle; how long it is
LOWER_TEETH = (0.0, 0.5, 1.0, 1.45)


def draw_eyes(canvas: Array, posed: Array, camera: Camera, shut: float, look: Look) -> None:
    """Both eyeballs, into a canvas [S, S, 4] uint8. posed [478, 3] cm of the camera."""
    for eye, iris in zip((LEFT_EYE_OUTLINE, RIGHT_EYE_OUTLINE), IRIS_CENTERS, strict=True):
        outline = posed[list(eye)]
        center = posed[iris] if shut < 0.5 else outline.mean(0)
        _draw_eye(canvas, project(outline, camera), project(center, camera), camera.focal / center[2], look)


def _draw_eye(canvas: Array, outline: Array, iris: Array, scale: float, look: Look) -> None:
    margin = 0.12 * scale
    left, top = np.floor(outline.min(0) - margin).astype(int).clip(0)
    right, bottom = np.ceil(outline.max(0) + margin).astype(int)
    part = canvas[top:bottom, left:right]
    y, x = np.mgrid[top : top + len(part), left : left + part.shape[1]].astype(np.float32) + 0.5
    middle = outline.mean(0)
    off = np.hypot(x - middle[0], y - middle[1]) / (EYE_CM * scale)
    ball = SCLERA * (1 - 0.42 * np.square(off))[..., None]
    inner = outline[8]
    corner = np.exp(-np.square(np.hypot(x - inner[0], y - inner[1]) / (0.34 * scale)))[..., None]
    ball += (np.array([206, 138, 128], np.float32) - ball) * 0.8 * corner
    across, down = (x - iris[0]) / (IRIS_CM * scale), (y - iris[1]) / (IRIS_CM * scale)
    away, angle = np.hypot(across, down), np.arctan2(down, across)
    fibers = 0.82 + 0.14 * np.sin(19 * angle + 2.2 * np.sin(5 * angle)) + 0.10 * np.sin(43 * angle + 1.0)
    tone = fibers * (0.72 + 0.5 * step(down + 0.25 * across, -0.4, 0.9)) * (1 - 0.62 * step(away, 0.74, 1.0))
    warm = np.array(look.iris, np.float32) * (
        1 + 0.35 * step(away, 0.72, 0.46)[..., None] * np.array([0.5, 0.25, -0.2], np.float32)
    )
    ball += (warm * tone[..., None] - ball) * step(away, 1.04, 0.96)[..., None]
    ball *= 1 - 0.93 * step(away, PUPIL_CM / IRIS_CM + 0.05, PUPIL_CM / IRIS_CM - 0.03)[..., None]
    lid = np.interp(x[0], *_ascending(outline[:9]))
    shadow = np.exp(-((y - lid) / (0.20 * scale)).clip(0, None))
    ball *= 1 - 0.52 * shadow[..., None]
    glint = 235 * step(np.hypot(across + 0.30, (down + 0.36) * 0.9), 0.21, 0.10)
    glint += 60 * np.exp(-(np.square((across - 0.34) / 0.2) + np.square((down - 0.42) / 0.13)))
    part[..., :3] = (ball + glint[..., None]).clip(0, 255)
    part[..., 3] = 255


def _ascending(points: Array) -> tuple[Array, Array]:
    order = np.argsort(points[:, 0])
    return points[order, 0], points[order, 1]


def draw_lashes(canvas: Array, posed: Array, camera: Camera, shut: float, look: Look) -> None:
    """Lashes of the upper lids: bent up from an open lid, down from a shut one."""
    color = tuple((np.array(look.hair) * 0.45).tolist())
    for eye, lid in ((LEFT_EYE, LEFT_UPPER_LID), (RIGHT_EYE, RIGHT_UPPER_LID)):
        edge = project(posed[[eye.outer, *lid, eye.inner]], camera)
        scale = camera.focal / posed[eye.upper, 2]
        share = np.linspace(0.02, 0.86, LASHES)
        knots = np.linspace(0, 1, len(edge))
        roots = np.stack([np.interp(share, knots, edge[:, k]) for k in (0, 1)], 1)
        outwards = np.sign(edge[0, 0] - edge[-1, 0])
        spread = (0.75 - 1.3 * share) * outwards
        length = LASH_CM * scale * (1 - 0.55 * share) * (0.85 + 0.15 * np.cos(9 * np.arange(LASHES)))
        rise = 1.7 * shut - 0.75
        middle = roots + np.stack([0.45 * spread, np.full(LASHES, 0.18 + 0.3 * rise)], 1) * length[:, None]
        tips = roots + np.stack([spread, np.full(LASHES, rise)], 1) * length[:, None]
        lines = np.rint((np.stack([roots, middle, tips], 1) - 0.5) * (1 << SHIFT)).astype(np.int32)
        cv2.polylines(canvas, list(lines), False, (*color, 255), 1, cv2.LINE_AA, SHIFT)


def draw_mouth(canvas: Array, posed: Array, rotation: Array, camera: Camera) -> None:
    """The cavity behind the lips with tongue and teeth; what reaches beyond them the face covers."""
    upper, lower = posed[UPPER_LIP], posed[LOWER_LIP]
    gap = float(np.linalg.norm(lower - upper))
    # The lips shade the teeth: through a narrow gap little light falls on them.
    lit = min(1.0, DARKEST_TEETH + gap / TEETH_IN_LIGHT_CM)

    def fill(points: Array, color: Array | tuple) -> None:
        pixels = np.rint((project(points, camera) - 0.5) * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(canvas, [pixels], (*np.asarray(color, float).tolist(), 255), cv2.LINE_AA, SHIFT)

    def at(base: Array, offsets: Array) -> Array:
        return base + np.asarray(offsets) @ rotation.T

    inner = posed[list(INNER_LIPS)]
    fill(inner + (inner - inner.mean(0)) * 0.06, (54, 20, 22))
    around = np.linspace(0, 2 * np.pi, 24)
    if gap > 0.3:
        for size, tone in ((1.0, 0.62), (0.82, 0.78), (0.5, 0.88)):
            oval = np.stack([1.35 * size * np.cos(around), 0.42 * size * np.sin(around) - 0.12, np.full(24, 0.2)], 1)
            fill(at(lower, oval), np.array([190, 96, 96]) * tone * lit)
        for side in (-1, 1):
            for left, right in pairwise(LOWER_TEETH):
                _tooth(fill, lambda offsets: at(lower, offsets), (side * left, side * right), -0.30 + 0.12, 0.6 * lit)
    for side in (-1, 1):
        for (left, long), (right, _) in pairwise(TEETH):
            _tooth(fill, lambda offsets: at(upper, offsets), (side * left, side * right), long, lit)


def _tooth(
    fill: Callable[[Array, Array], None],
    at: Callable[[Array], Array],
    edges: tuple[float, float],
    long: float,
    lit: float,
) -> None:
    """A tooth from edge to edge, cm from the middle, and so long, down from the lip or, if negative, up from it."""
    left, right = sorted(edges)
    wide = right - left
    x = np.array([left, right, right, right - 0.12 * wide, left + 0.12 * wide, left])
    y = np.array([-0.1 * np.sign(long), -0.1 * np.sign(long), 0.8 * long, long, long, 0.8 * long])
    bow = 0.13 * np.square(x)
    middle = abs(left + right) / 2
    color = np.array([234.0, 228, 216]) * lit * (1 - 0.17 * middle)
    offsets = np.stack([x * 0.985, y, bow], 1)
    fill(at(offsets), color * [0.80, 0.76, 0.74])
    offsets[:, 0] += 0.028 * (offsets[:, 0].mean() - offsets[:, 0]) / (wide / 2)
    fill(at(offsets), color)
