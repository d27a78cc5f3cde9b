"""Whether a mouth is seen, or a mask, a hand, a cup before it.

The patch about the lips is described by its gradients (histograms of their directions, Dalal and Triggs 2005) and by
its colours against this face's own skin; a logistic regression that was fitted to many people's mouths, free and
covered (avatar/assets/mouth_cover.md), tells both apart. No clip is compared with itself, so that a mask all through is
seen too.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
from safetensors.numpy import load_file
from scipy.ndimage import binary_closing, label, median_filter, minimum

from avatar.core.geometry import eye_distance
from avatar.core.landmarks import CHEEKBONES, EYE_CORNERS, GLABELLA, MOUTH_EXTREMES, NOSE_BASE, NOSE_BRIDGE, NOSE_RIDGE

PATCH = (16, 24, 3)
FINE = 3  # times the patch's size that it is sampled at
HALF_WIDTH = 0.42  # of the patch, in distances of the outer eye corners
ABOVE, BELOW = 0.62, 0.72  # of the lips' middle, in distances from the nose's bridge to its base
SKIN = (*CHEEKBONES, GLABELLA, NOSE_RIDGE)  # what a mask leaves free
SKIN_RADIUS = 0.05  # eye distances
CELL, DIRECTIONS = 4, 8  # px of the patch, of a turn
LEAST_GRADIENT = 0.5  # that histograms are scaled by: what is flat has none
DARKEST = 20.0  # grey levels of skin
LAB_SCALE, MOST_APART = (40.0, 20.0, 20.0), 2.0  # of colours, against the skin's
SURELY, PERHAPS = -2.0, 1.0  # log odds of a free mouth below which a span is covered; as far as which it reaches
ALIKE = 9  # frames that the median is taken over
MOUTH_IS_SEEN = 10.0  # log odds that stand for frames without a face
GAP = 60  # frames between two spans that are one: below a hand the lower lip shows for a moment
CHUNK = 2000  # frames

Array = np.ndarray


@dataclass(frozen=True)
class MouthClassifier:
    """Logistic regression on what `describe` returns."""

    mean: Array  # [D]
    scale: Array  # [D]
    weight: Array  # [D + 1], the last is the offset

    def __call__(self, patches: Array, skins: Array) -> Array:
        """Log odds [T] that patches [T, 16, 24, 3] and skins [T, 3] uint8 RGB show a mouth that nothing covers."""
        return self.odds(describe(patches, skins))

    def odds(self, features: Array) -> Array:
        """Log odds [T] of what `describe` returned, [T, D]."""
        return np.asarray((features - self.mean) / self.scale @ self.weight[:-1] + self.weight[-1])


@functools.cache
def load_classifier() -> MouthClassifier:
    """The packaged classifier."""
    return MouthClassifier(**load_file(str(files("avatar") / "assets" / "mouth_cover.safetensors")))


def sample_mouth(frame: Array, points: Array) -> Array:
    """The patch [16, 24, 3] uint8 about the lips, from frame [S, S, 3] uint8 and landmarks [478, 2..3] px."""
    places = points[:, :2].astype(np.float32)
    across = (places[EYE_CORNERS[1]] - places[EYE_CORNERS[0]]) * HALF_WIDTH
    up = places[NOSE_BRIDGE] - places[NOSE_BASE]
    middle = places[list(MOUTH_EXTREMES)].mean(0)
    corners = np.stack([middle - across + ABOVE * up, middle + across + ABOVE * up, middle - across - BELOW * up])
    height, width, _ = PATCH
    to = np.array([[0, 0], [width, 0], [0, height]], np.float32) * FINE
    warp = cv2.getAffineTransform(corners.astype(np.float32), to)
    fine = cv2.warpAffine(frame, warp, (width * FINE, height * FINE), borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def sample_skin(frame: Array, points: Array) -> Array:
    """The usual colour [3] uint8 of the upper face's skin, from frame [S, S, 3] uint8 and landmarks [478, 2..3] px."""
    size, radius = frame.shape[0], max(1, int(SKIN_RADIUS * eye_distance(points)))
    colors = []
    for point in SKIN:
        x, y = points[point, :2].astype(int).clip(radius, size - radius - 1)
        colors.append(frame[y - radius : y + radius + 1, x - radius : x + radius + 1].reshape(-1, 3).mean(0))
    return np.median(colors, axis=0).astype(np.uint8)


def describe(patches: Array, skins: Array) -> Array:
    """What a mouth differs in from what covers it, [T, D], of patches [T, 16, 24, 3] and skins [T, 3] uint8 RGB."""
    pixels, skin = patches.astype(np.float32), skins.astype(np.float32)
    grey = pixels.mean(-1) / np.maximum(skin.mean(-1), DARKEST)[:, None, None]
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    turn = np.arctan2(down, across) / (2 * np.pi) * DIRECTIONS % DIRECTIONS
    apart = np.abs(turn[..., None] - np.arange(DIRECTIONS))
    shares = (1 - np.minimum(apart, DIRECTIONS - apart)).clip(0) * np.hypot(across, down)[..., None]
    histograms = _cells(shares).sum((2, 4)).reshape(len(pixels), -1)
    strength = np.linalg.norm(histograms, axis=1, keepdims=True)
    colors = (_to_lab(pixels) - _to_lab(skin[:, None, None])) / np.array(LAB_SCALE, np.float32)
    means = _cells(colors).mean((2, 4)).clip(-MOST_APART, MOST_APART).reshape(len(pixels), -1)
    outlines = np.sqrt(histograms / (strength + LEAST_GRADIENT))
    return np.concatenate([outlines, means, np.abs(means), np.log(strength + LEAST_GRADIENT / 10)], 1)


def find_covered_mouths(patches: Array, skins: Array, seen: Array) -> Array:
    """Frames [T] bool whose mouth is covered for a while, of those seen [T] bool; patches and skins as `describe`."""
    classify, count = load_classifier(), len(patches)
    odds = np.concatenate([classify(patches[i : i + CHUNK], skins[i : i + CHUNK]) for i in range(0, count, CHUNK)])
    usual = median_filter(np.where(seen, odds, MOUTH_IS_SEEN), ALIKE, mode="nearest")
    spans, number = label(usual < PERHAPS)
    sure = minimum(usual, spans, np.arange(number + 1)) < SURELY
    sure[0] = False  # what lies between the spans
    joined = binary_closing(np.pad(sure[spans], GAP), np.ones(GAP))[GAP : GAP + count]
    return joined & seen


def _cells(values: Array) -> Array:
    """Values [T, 16, 24, C] by cells, [T, 4, 4, 6, 4, C]: sums over axes 2 and 4 are a cell's."""
    count, height, width, channels = values.shape
    return values.reshape(count, height // CELL, CELL, width // CELL, CELL, channels)


def _to_lab(colors: Array) -> Array:
    flat = np.ascontiguousarray(colors.reshape(1, -1, 3) / 255, np.float32)
    return cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).reshape(colors.shape)
