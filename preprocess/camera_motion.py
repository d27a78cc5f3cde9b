"""Whether the camera stood still: how the background moves between a reference frame and frames all over the clip."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.flow import follow
from preprocess.take_folder import ReadFrame

FRAMES = 24  # compared with the reference
CORNERS, LEAST_CORNERS = 200, 12
AROUND_PERSON = 21  # px at 512 that belong to nobody
BACK_AND_FORTH = 0.5  # px
SHARE = 0.9  # of these frames: a hand that knocks the tripod once is no moving camera

Array = np.ndarray


def camera_motion(read: ReadFrame, read_matte: ReadFrame, frames: Array) -> float:
    """How far the background moves, in px of a picture 512 wide; 0 where it has too few corners.

    read: grey; frames: [N], those of one shot, in order.
    """
    if len(frames) < 2:
        return 0.0
    reference = int(frames[len(frames) // 2])
    first, hidden = read(reference), _person(read_matte(reference))
    corners = cv2.goodFeaturesToTrack(first, CORNERS, 0.01, 6, mask=255 - hidden, blockSize=5)
    if corners is None or len(corners) < LEAST_CORNERS:
        return 0.0
    home, moves = corners[:, 0], []
    for frame in np.unique(frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]).tolist():
        now, covered = read(frame), _person(read_matte(frame))
        there, missed = follow(first, now, home, home, side=21, levels=4)
        inside = there.round().astype(int).clip(0, first.shape[0] - 1)
        good = (missed < BACK_AND_FORTH) & (covered[inside[:, 1], inside[:, 0]] == 0)
        if good.sum() >= LEAST_CORNERS:
            moves.append(np.linalg.norm(np.median((there - home)[good], axis=0)))
    return float(np.quantile(moves, SHARE)) * 512 / first.shape[0] if moves else 0.0


def _person(matte: Array) -> Array:
    """255 on the person and near."""
    side = 2 * round(AROUND_PERSON * matte.shape[0] / 512) + 1
    return cv2.dilate((matte > 25).astype(np.uint8) * 255, np.ones((side, side), np.uint8))
