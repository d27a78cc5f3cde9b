"""A frame between two that are nearly alike: each is moved towards it along the optical flow, then they are mixed."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.nv12 import chroma_of, luma_of

MOST_WIDE = 960  # px that flow is measured at: finer costs four times the time, and skin has no finer motion

Array = np.ndarray


def between(first: Array, second: Array, share: float) -> Array:
    """The frame, NV12 [3 H / 2, W], a share 0..1 of the way from one to another."""
    flow = measure_flow(luma_of(first), luma_of(second))
    result = np.empty_like(first)
    for plane, step in ((luma_of, 1), (chroma_of, 2)):
        height, width = plane(first).shape[:2]
        here = cv2.resize(flow, (width, height)) / step
        mixed = (1 - share) * _moved(plane(first), -share * here) + share * _moved(plane(second), (1 - share) * here)
        plane(result)[...] = np.rint(mixed).clip(0, 255)
    return result


def measure_flow(first: Array, second: Array) -> Array:
    """Where the pixels of a picture [H, W] uint8 are in another [h, w, 2], px of these, measured at MOST_WIDE at most.

    Dense inverse search (Kroeger et al. 2016).
    """
    height, width = first.shape
    scale = min(1.0, MOST_WIDE / width)
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    before, after = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (first, second))
    still = np.zeros((size[1], size[0], 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(before, after, still)
    return np.asarray(flow) * np.array([width / size[0], height / size[1]], np.float32)


def _moved(plane: Array, by: Array) -> Array:
    """A plane [H, W, ...] as it is found by [H, W, 2] px further on, float32."""
    rows, columns = np.mgrid[: plane.shape[0], : plane.shape[1]].astype(np.float32)
    moved = cv2.remap(plane, columns + by[..., 0], rows + by[..., 1], cv2.INTER_CUBIC, None, cv2.BORDER_REPLICATE)
    return moved.astype(np.float32)
