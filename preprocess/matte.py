"""Person matte and background plate."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import torch

from preprocess.networks.selfie import PersonMask

BAND_PX = 8  # at 512: how far from the raw edge the refined one may lie
GUIDE_RADIUS = 8
GUIDE_EPSILON = (0.01 * 255) ** 2
LEAST_VARIANCE = 1e-4  # of a mask, which is 0..1: where it is even, nothing explains it
HIDDEN_DILATE = 15  # px at 512 around the person that count as person for the plate
NEAR_DILATE = 6  # where there is one view alone: about what mattes are wrong by
LEAST_VIEWS = 3
STRETCH = (0.15, 0.85)  # of the raw mask, whose ends never quite reach 0 and 1

Array = np.ndarray


def matte_of_picture(picture: Array) -> Array:
    """Matte [H, W] uint8 of the person in a single picture [H, W, 3] uint8 RGB of any shape."""
    height, width = picture.shape[:2]
    scale = 512 / max(height, width)  # about the size of the network's input
    even = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
    small = np.ascontiguousarray(cv2.resize(picture, even, interpolation=cv2.INTER_AREA))
    mask = PersonMask(torch.device("cpu"))(torch.from_numpy(small)[None])[0].numpy()
    matte = refine_matte(small, mask)
    return cv2.resize(matte, (width, height), interpolation=cv2.INTER_LINEAR)


def refine_matte(frame: Array, mask: Array) -> Array:
    """Matte [S, S] uint8 of a frame [S, S, 3] uint8 RGB: its soft mask [S / 2, S / 2] sharpened in a narrow band.

    A guided filter (He et al. 2013) whose coefficients are found at half size (He and Sun 2015), as far as it explains
    the mask there: a jacket before a wall of its shade would be smeared along what hangs on the wall.
    """
    size = frame.shape[0]
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    low, high = STRETCH
    stretched = np.clip(mask * (1 / (high - low)) - low / (high - low), 0, 1)
    slope, offset, explained = _guide(grey, stretched, round(GUIDE_RADIUS * size / 512) or 1)
    hard = (mask > 0.5).astype(np.uint8)
    kernel = np.ones((2 * round(BAND_PX * size / 1024) + 1,) * 2, np.uint8)
    band = cv2.blur((cv2.dilate(hard, kernel) - cv2.erode(hard, kernel)).astype(np.float32), (3, 3))
    band = band * explained
    # inside the band slope * grey + offset, elsewhere the mask: one line in grey, so that only two maps must grow
    slope, offset = slope * band, stretched + band * (offset - stretched)
    large = (frame.shape[1], frame.shape[0])
    slope, offset = (cv2.resize(value, large, interpolation=cv2.INTER_LINEAR) for value in (slope, offset))
    alpha = cv2.add(cv2.multiply(slope, grey, dtype=cv2.CV_32F), offset)
    return np.rint(255 * alpha.clip(0, 1)).astype(np.uint8)


def _guide(grey: Array, mask: Array, radius: int) -> tuple[Array, Array, Array]:
    """Slope and offset by which the mask [H, W] follows the picture locally, at the mask's size, and how well 0..1.

    How well: the share of the mask's variance, squared, since what explains half of it draws smears.
    """
    guide = cv2.resize(grey, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)
    window = (radius // 2 * 2 + 1,) * 2
    mean_guide, mean_mask = cv2.blur(guide, window), cv2.blur(mask, window)
    covariance = cv2.blur(guide * mask, window) - mean_guide * mean_mask
    variance = cv2.blur(guide * guide, window) - mean_guide * mean_guide + GUIDE_EPSILON
    slope = covariance / variance
    share = slope * covariance / (cv2.blur(mask * mask, window) - mean_mask * mean_mask + LEAST_VARIANCE)
    explained = np.square(share.clip(0, 1))
    return cv2.blur(slope, window), cv2.blur(mean_mask - slope * mean_guide, window), cv2.blur(explained, window)


def median_of_three(before: Array, now: Array, after: Array) -> Array:
    """Temporal median of mattes: takes out single-frame flicker and delays nothing."""
    return np.maximum(np.minimum(before, now), np.minimum(np.maximum(before, now), after))


def make_plate(pictures: Iterable[tuple[Array, Array]], size: int) -> tuple[Array, float]:
    """Background [S, S, 3] uint8 from (frame, matte) pairs, and the share of it that was ever seen.

    Median of what is far from the person; a smooth fill where nothing was seen.
    """
    views, hidden = [], []
    for frame, matte in pictures:
        views.append(frame)
        hidden.append(hide_person(matte))
    plate = np.zeros((size, size, 3), np.float32)
    seen = np.zeros((size, size), bool)
    for start in range(0, size, 64):  # in strips, so that memory stays small
        rows = slice(start, start + 64)
        cover = np.stack([mask[rows] for mask in hidden])
        strip = np.stack([view[rows] for view in views])
        strip[cover] = 255  # sorts behind what was seen
        count = (~cover).sum(0)
        middle = np.maximum(count - 1, 0) // 2
        ordered = np.sort(strip, axis=0)
        plate[rows] = np.take_along_axis(ordered, middle[None, ..., None], 0)[0]
        seen[rows] = count >= min(LEAST_VIEWS, len(views))
    return np.rint(fill_smooth(plate, seen)).clip(0, 255).astype(np.uint8), float(seen.mean())


def fill_behind(picture: Array, matte: Array) -> tuple[Array, float]:
    """The background [S, S, 3] uint8 of a single picture and matte, as `make_plate`, from nearer to the person.

    No other view shows what is beside them, and what is filled in shows as soon as they move.
    """
    seen = ~hide_person(matte, NEAR_DILATE)
    return np.rint(fill_smooth(picture.astype(np.float32), seen)).clip(0, 255).astype(np.uint8), float(seen.mean())


def hide_person(matte: Array, pixels: float = HIDDEN_DILATE) -> Array:
    """Pixels [S, S] bool of the person and so near (px at 512), from a matte [S, S] uint8."""
    kernel = np.ones((2 * round(pixels * matte.shape[0] / 512) + 1,) * 2, np.uint8)
    return cv2.dilate((matte > 25).astype(np.uint8), kernel).astype(bool)


def fill_smooth(image: Array, known: Array) -> Array:
    """Fill unknown pixels [H, W] of an image by push-pull over a pyramid: smooth, no streaks."""
    if known.all() or min(known.shape) <= 2:
        return image if known.any() else np.full_like(image, 128)
    weight = known.astype(np.float32)
    half = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
    small_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    small = cv2.resize(image * weight[..., None], half, interpolation=cv2.INTER_AREA)
    small = fill_smooth(small / np.maximum(small_weight, 1e-6)[..., None], small_weight > 0)
    large = cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.where(known[..., None], image, large)
