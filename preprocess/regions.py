"""What a person's pixels are: head, neck, torso, inside of the mouth and teeth, from a frame's matte and landmarks."""

from __future__ import annotations

import cv2
import numpy as np

from avatar.core.landmarks import CHIN, FOREHEAD, INNER_LIPS, JAW_CORNERS, JAWLINE, OUTER_LIPS

BACKGROUND, HEAD, NECK, TORSO, MOUTH, TEETH = range(6)
PERSON = 127  # of a matte
PALE, BRIGHT = 0.7, 0.6  # saturation and brightness of teeth, of the lips'
BELOW_JAW = 0.07  # face heights that the cut lies under the jaw
NECK_LENGTH, NECK_WIDTH = 0.2, 0.72  # face heights, jaw widths

Array = np.ndarray


def find_regions(landmarks: Array, matte: Array, picture: Array | None = None) -> Array:
    """Labels [S, S] uint8 of a frame with landmarks [478, 3] px and matte [S, S] uint8.

    Teeth have a label of their own where the picture [S, S, 3] uint8 RGB is given.

    The head ends along the current jaw, dropped a little; beside it at the height of the jaw's corners, so that ears
    are head and long hair below them is torso.
    """
    size = matte.shape[0]
    points = landmarks[:, :2]
    height = np.linalg.norm(points[CHIN] - points[FOREHEAD])
    jaw = points[list(JAWLINE)]
    jaw = jaw[np.argsort(jaw[:, 0])]
    column, row = np.arange(size) + 0.5, (np.arange(size) + 0.5)[:, None]
    cut = np.interp(column, jaw[:, 0], jaw[:, 1]) + BELOW_JAW * height
    beside = (column < jaw[0, 0]) | (column > jaw[-1, 0])
    cut = np.where(beside, points[list(JAW_CORNERS), 1].mean(), cut)
    middle, wide = (jaw[0, 0] + jaw[-1, 0]) / 2, jaw[-1, 0] - jaw[0, 0]
    person, above = matte > PERSON, row < cut
    neck = ~above & (row < cut + NECK_LENGTH * height) & (np.abs(column - middle) < NECK_WIDTH * wide / 2)
    labels = np.full((size, size), TORSO, np.uint8)
    labels[neck] = NECK
    labels[above] = HEAD
    mouth = np.zeros_like(labels)
    cv2.fillPoly(mouth, [np.rint(points[list(INNER_LIPS)]).astype(np.int32)], (1,))
    labels[mouth > 0] = MOUTH
    if picture is not None:
        labels[(mouth > 0) & _are_teeth(picture, points)] = TEETH
    labels[~person] = BACKGROUND
    return labels


def _are_teeth(picture: Array, points: Array) -> Array:
    """Pixels [S, S] bool that are as bright as lips, or nearly, and much paler."""
    lips = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(lips, [np.rint(points[list(OUTER_LIPS)]).astype(np.int32)], (1,))
    cv2.fillPoly(lips, [np.rint(points[list(INNER_LIPS)]).astype(np.int32)], (0,))
    value = picture.max(-1).astype(np.float32)
    saturation = 1 - picture.min(-1) / np.maximum(value, 1)
    if not lips.any():
        return np.zeros(picture.shape[:2], bool)
    usual, bright = np.median(saturation[lips > 0]), np.median(value[lips > 0])
    return (saturation < PALE * usual) & (value > BRIGHT * bright)


def is_head(labels: Array) -> Array:
    """Whether pixels of labels [S, S] are of the head, its mouth and teeth included [S, S] bool."""
    return np.isin(labels, (HEAD, MOUTH, TEETH))
