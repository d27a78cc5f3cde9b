"""How far the lips are open, by their colour. The detector takes narrow gaps for shut; teeth and dark between the lips
show that they are not.

A line of colours across the middle of the mouth is kept of every frame. A classifier of these colours is fitted to the
inside of the mouth in the clip's widest frames and to lips in all, then the inside is measured in every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from avatar.core.geometry import eye_distance
from avatar.core.landmarks import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_CORNER,
    LIP_BOTTOM,
    LIP_TOP,
    LOWER_LIP,
    RIGHT_CORNER,
    UPPER_LIP,
)

SAMPLES = 64
HALF_LENGTH, HALF_WIDTH, COLUMNS = 0.25, 0.03, 7  # of the line, in distances of the outer eye corners
LEAST_FRAMES, LEAST_OPEN = 50, 0.03  # gaps in eye distances, here and below
WIDE_SHARE, SHUT_SHARE, SEAM_SHARE = 0.2, 0.35, 0.05  # of the frames, that training samples are taken from
CORE, SEAM, LIP_FROM, LIP_TO = 0.8, 0.03, 0.025, 0.06  # where on the line training samples lie
REACH = 0.045  # beyond the detector's lips that the inside may reach
TRAINING_FRAMES = 400  # at most, so that an hour takes no longer than a minute
NEWTON_STEPS, RIDGE = 12, 1e-3  # of the logistic regression
OPEN = 0.04  # gap from which the detector is right
DISTRUST, FULL_TRUST, MOST_TRUST = 0.4, 0.8, 0.8  # correlations with the detector's gaps; share of the correction
WIDE, WIDE_TRUST = (0.08, 0.2), 0.4  # where the detector is good, colour counts less
CHUNK = 2000  # frames

Array = np.ndarray
HEIGHT = ((np.arange(SAMPLES) + 0.5) / SAMPLES * 2 - 1) * HALF_LENGTH  # of each sample, down from the lips' middle


@dataclass(frozen=True)
class InsideClassifier:
    """Logistic regression on colours: the inside of a mouth against lips."""

    mean: Array  # [9]
    scale: Array  # [9]
    weight: Array  # [10]

    def __call__(self, profiles: Array) -> Array:
        """Probability [..., 64] that samples [..., 64, 3] uint8 RGB lie inside the mouth."""
        score = ((_describe(profiles) - self.mean) / self.scale) @ self.weight[:-1] + self.weight[-1]
        return 1 / (1 + np.exp(-score.clip(-30, 30)))


def sample_profile(frame: Array, points: Array) -> Array:
    """Colours [64, 3] uint8 RGB along a line across the lips, from frame [S, S, 3] and landmarks [478, 2..3] px."""
    across = points[RIGHT_CORNER, :2] - points[LEFT_CORNER, :2]
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    down = np.array([-across[1], across[0]])
    eyes = eye_distance(points)
    middle = (points[UPPER_LIP, :2] + points[LOWER_LIP, :2]) / 2
    aside = np.linspace(-HALF_WIDTH, HALF_WIDTH, COLUMNS)[:, None, None]
    grid = (middle + eyes * (aside * across + HEIGHT[None, :, None] * down) - 0.5).astype(np.float32)
    colors = cv2.remap(frame, grid[..., 0], grid[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.rint(colors.mean(0)).astype(np.uint8)


def refine_lips(landmarks: Array, profiles: Array, weight: Array) -> Array:
    """Landmarks [T, 478, 3] px, changed in place: their inner lips stand as far apart as the picture shows.

    profiles [T, 64, 3] of `sample_profile`; weight [T] 0..1 confidence. A clip whose lips have the colour of what is
    between them, or that hardly opens them, keeps the detector's.
    """
    eyes = eye_distance(landmarks)
    gap = np.linalg.norm(landmarks[:, UPPER_LIP, :2] - landmarks[:, LOWER_LIP, :2], axis=1) / eyes
    outer = np.linalg.norm(landmarks[:, LIP_TOP, :2] - landmarks[:, LIP_BOTTOM, :2], axis=1) / eyes
    seen = np.flatnonzero(weight >= 1)
    if len(seen) < LEAST_FRAMES or np.quantile(gap[seen], 1 - WIDE_SHARE) < LEAST_OPEN:
        return landmarks
    shut = seen[gap[seen] <= np.quantile(gap[seen], SHUT_SHARE)]
    shut = shut[np.argsort(outer[shut])][: max(5, int(SEAM_SHARE * len(seen)))]
    inside = _fit_classifier(profiles, gap, seen, shut)
    measured, middle = _measure(inside, profiles, gap)
    wide = seen[gap[seen] >= np.quantile(gap[seen], 1 - WIDE_SHARE)]
    floor = np.median(measured[shut])
    measured = (measured - floor).clip(0) * gap[wide].mean() / max(measured[wide].mean() - floor, 1e-3)
    trust = _trust(gap[seen], measured[seen]) * np.interp(gap, WIDE, (1, WIDE_TRUST)) * (weight >= 1)
    return _spread(landmarks, trust * (measured - gap) * eyes, trust * middle * eyes)


def _describe(profiles: Array) -> Array:
    lightness, a, b = np.moveaxis(_to_lab(profiles), -1, 0)
    terms = (lightness, a, b, lightness * lightness, a * a, b * b, lightness * a, lightness * b, a * b)
    return np.stack(terms, -1)


def _to_lab(profiles: Array) -> Array:
    flat = profiles.reshape(-1, SAMPLES, 3).astype(np.float32) / 255
    return (cv2.cvtColor(flat, cv2.COLOR_RGB2LAB) / np.array([100, 60, 60], np.float32)).reshape(profiles.shape)


def _fit_classifier(profiles: Array, gap: Array, seen: Array, shut: Array) -> InsideClassifier:
    """Fit it to places that are sure: within wide mouths, lips beside the gap, the seam of shut lips."""
    order = seen[np.argsort(-gap[seen])]
    wide = _thin(order[: int(np.ceil(WIDE_SHARE * len(seen)))])
    some = _thin(seen)
    within = np.abs(HEIGHT) < CORE * gap[wide, None] / 2
    beside = np.abs(np.abs(HEIGHT) - gap[some, None] / 2 - (LIP_FROM + LIP_TO) / 2) < (LIP_TO - LIP_FROM) / 2
    seam = np.tile(np.abs(HEIGHT) < SEAM, (len(shut), 1))
    groups = [_describe(profiles[frames])[mask] for frames, mask in ((wide, within), (some, beside), (shut, seam))]
    features = np.concatenate(groups)
    mean, scale = features.mean(0), features.std(0).clip(1e-4)
    rows = np.concatenate([(features - mean) / scale, np.ones((len(features), 1))], 1)
    truth = np.repeat([1.0, 0.0, 0.0], [len(group) for group in groups])
    share = np.repeat([1.0, 0.5, 0.5], [len(group) for group in groups])
    share /= np.repeat([max(len(group), 1) for group in groups], [len(group) for group in groups])
    weight = np.zeros(rows.shape[1])
    for _ in range(NEWTON_STEPS):
        guess = 1 / (1 + np.exp(-(rows @ weight).clip(-30, 30)))
        curve = guess * (1 - guess) * share + 1e-9
        normal = rows.T @ (rows * curve[:, None]) + RIDGE * np.eye(len(weight))
        weight = weight + np.linalg.solve(normal, rows.T @ ((truth - guess) * share) - RIDGE * weight)
    return InsideClassifier(mean, scale, weight)


def _thin(frames: Array) -> Array:
    return frames[:: -(-len(frames) // TRAINING_FRAMES)]


def _measure(inside: InsideClassifier, profiles: Array, gap: Array) -> tuple[Array, Array]:
    """Length of the inside [T] and where its middle is [T], in distances of the outer eye corners."""
    lengths, middles = [], []
    for start in range(0, len(profiles), CHUNK):
        part = slice(start, start + CHUNK)
        shares = inside(profiles[part]) * (np.abs(HEIGHT) < gap[part, None] / 2 + REACH)
        lengths.append(shares.sum(1) * 2 * HALF_LENGTH / SAMPLES)
        middles.append((shares * HEIGHT).sum(1) / np.maximum(shares.sum(1), 1.0))
    return np.concatenate(lengths), np.concatenate(middles)


def _trust(gap: Array, measured: Array) -> float:
    """0..0.8: how well colour and detector agree where the lips are open to both."""
    wide = gap > OPEN
    if wide.sum() < 10 or measured[wide].std() < 1e-6:
        return 0.0
    agreement = float(np.corrcoef(gap[wide], measured[wide])[0, 1])
    return MOST_TRUST * float(np.clip((agreement - DISTRUST) / (FULL_TRUST - DISTRUST), 0, 1))


def _spread(landmarks: Array, more: Array, lower: Array) -> Array:
    """Move the inner lips apart by `more` [T] px in the middle, nothing in the corners, and both down by `lower`."""
    left, right = landmarks[:, LEFT_CORNER, :2].copy(), landmarks[:, RIGHT_CORNER, :2]
    across = right - left
    length = np.linalg.norm(across, axis=1, keepdims=True).clip(1e-6)
    across = across / length
    down = np.stack([-across[:, 1], across[:, 0]], 1)
    for row, sign in ((INNER_UPPER_LIP, -0.5), (INNER_LOWER_LIP, 0.5)):
        points = landmarks[:, list(row), :2]
        along = ((points - left[:, None]) * across[:, None]).sum(-1) / length * 2 - 1
        bulge = (1 - along**2).clip(0, 1)
        shift = (sign * more + lower * (more > 0))[:, None] * bulge
        landmarks[:, list(row), :2] = points + shift[..., None] * down[:, None]
    return landmarks
