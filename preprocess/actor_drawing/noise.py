"""Smooth random pictures that paint is made of."""

from __future__ import annotations

import cv2
import numpy as np

Array = np.ndarray


def smooth_noise(size: tuple[int, ...], cells: tuple[float, float], random: np.random.Generator) -> Array:
    """Noise [H, W] float32 of unit deviation whose cells are so many rows high and columns wide."""
    count = [max(2, round(side / cell) + 2) for side, cell in zip(size, cells, strict=True)]
    coarse = random.normal(0, 1, count).astype(np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(1.35)


def rough_noise(size: tuple[int, ...], cell: float, octaves: int, random: np.random.Generator) -> Array:
    """Noise [H, W] float32 of about unit deviation with detail of several sizes, each half as large and as strong."""
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        total += smooth_noise(size, (cell / 2**octave,) * 2, random) / np.float32(2**octave)
    return total / np.float32(1.15)


def blend(picture: Array, color: Array | tuple, share: Array) -> None:
    """Move a picture [H, W, C] float32 towards a colour, in place, by a share [H, W] of 0..1."""
    picture += (np.asarray(color, np.float32) - picture) * share[..., None].astype(np.float32)


def step(values: Array, low: float, high: float) -> Array:
    """0 below low, 1 above high, smooth between; low may be the larger one."""
    share = ((values - low) / (high - low)).clip(0, 1)
    return share * share * (3 - 2 * share)
