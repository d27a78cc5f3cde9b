"""Points followed from one picture to another and back (Lucas and Kanade 1981, pyramids after Bouguet)."""

from __future__ import annotations

import cv2
import numpy as np

Array = np.ndarray


def follow(first: Array, now: Array, home: Array, expected: Array, *, side: int, levels: int) -> tuple[Array, Array]:
    """Points [N, 2] px of one picture [S, S] uint8 found in another, looked for about where they are expected.

    side: of the compared windows, px, odd; levels: of the pyramid, above the picture itself. Pixels are counted as
    OpenCV does, from the middle of the first. Returns: where they are [N, 2], and by how many px they miss their home
    on the way back [N], infinite where they were lost.
    """
    low, high = _around(np.concatenate([home, expected]), 2 * side, first.shape[0])
    first, now = (np.ascontiguousarray(grey[low[1] : high[1], low[0] : high[0]]) for grey in (first, now))
    start, guess = (np.ascontiguousarray(points - low, np.float32).reshape(-1, 1, 2) for points in (home, expected))
    window, how = (side, side), cv2.OPTFLOW_USE_INITIAL_FLOW
    there, ok, _ = cv2.calcOpticalFlowPyrLK(first, now, start, guess, winSize=window, maxLevel=levels, flags=how)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(
        now, first, there, start.copy(), winSize=window, maxLevel=levels, flags=how
    )
    missed = np.linalg.norm((back - start)[:, 0], axis=1)
    return there[:, 0] + low, np.where((ok[:, 0] > 0) & (ok_back[:, 0] > 0), missed, np.inf)


def _around(points: Array, margin: int, size: int) -> tuple[Array, Array]:
    """Corners of the box around points: following within it costs a fraction of the whole picture."""
    low = np.clip(np.floor(points.min(0)).astype(int) - margin, 0, size - 2)
    return low, np.clip(np.ceil(points.max(0)).astype(int) + margin, low + 2, size)
