"""The shoulders' own motion: a similarity transform of the picture per frame, against one reference frame, as
`avatar.core.geometry.apply_torso` has it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from avatar.core.geometry import apply_torso
from avatar.core.landmarks import CHIN, FOREHEAD
from avatar.core.take import Track
from preprocess.flow import follow
from preprocess.parallel import ahead
from preprocess.take_folder import ReadFrame

POINTS_MOST = 120
POINTS_LEAST = 12
BELOW_CHIN = 0.14  # of the face's height
WINDOW, LEVELS = 21, 1
BACK_AND_FORTH = 0.5  # px, how exactly a point must be found again on the way back
RANSAC_PX = 0.7
SMOOTHING = 0.8  # frames
READ_AHEAD = 8  # frames, by other threads

Array = np.ndarray


def with_torso(track: Track, frames: Array, read: ReadFrame, read_matte: ReadFrame) -> tuple[Track, int]:
    """The track with the torso's motion, and the reference frame: the one of `frames` [N] nearest to the median pose.

    read: grey.
    """
    turn = track.rotation[torch.from_numpy(frames)].flatten(1)
    reference = int(frames[int((turn - turn.median(0).values).square().sum(1).argmin())])
    torso = fit_torso(read, read_matte(reference), track.landmarks.numpy(), reference)
    return replace(track, torso=torch.from_numpy(torso).float()), reference


def fit_torso(read: ReadFrame, matte: Array, landmarks: Array, reference: int) -> Array:
    """Torso [T, 4] of grey frames, the reference frame's matte [S, S] uint8, and landmarks [T, 478, 3] px.

    Zeros where too little of the shoulders can be followed.
    """
    first = read(reference)
    points = _shoulder_points(first, matte, landmarks[reference])
    torso = np.zeros((len(landmarks), 4))
    if len(points) < POINTS_LEAST:
        return torso

    def go(order: range) -> None:
        last = np.zeros(4)
        for frame, now in zip(order, ahead(read, order, readers, READ_AHEAD), strict=True):
            found = _follow(first, now, points, last)
            last = last if found is None else found
            torso[frame] = last

    with ThreadPoolExecutor() as readers, ThreadPoolExecutor(2) as pool:
        list(pool.map(go, (range(reference + 1, len(landmarks)), range(reference - 1, -1, -1))))
    return gaussian_filter1d(torso, SMOOTHING, axis=0, mode="nearest")


def _shoulder_points(grey: Array, matte: Array, landmarks: Array) -> Array:
    height = np.linalg.norm(landmarks[CHIN, :2] - landmarks[FOREHEAD, :2])
    body = cv2.erode((matte > 200).astype(np.uint8) * 255, np.ones((9, 9), np.uint8))
    body[: max(0, int(landmarks[CHIN, 1] + BELOW_CHIN * height))] = 0
    if not body.any():
        return np.zeros((0, 2), np.float32)
    found = cv2.goodFeaturesToTrack(grey, POINTS_MOST, 0.002, 5, mask=body, blockSize=5)
    return np.zeros((0, 2), np.float32) if found is None else found[:, 0]


def _follow(first: Array, now: Array, points: Array, last: Array) -> Array | None:
    center = first.shape[0] / 2
    expected = apply_torso((points - center).astype(np.float64), last) + center
    moved, missed = follow(first, now, points, expected, side=WINDOW, levels=LEVELS)
    good = missed < BACK_AND_FORTH
    if good.sum() < POINTS_LEAST:
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(
        points[good] - center, moved[good] - center, ransacReprojThreshold=RANSAC_PX
    )
    if matrix is None or inliers.sum() < POINTS_LEAST:
        return None
    scale = 0.5 * np.log(matrix[0, 0] ** 2 + matrix[1, 0] ** 2)
    return np.array([matrix[0, 2], matrix[1, 2], scale, np.arctan2(matrix[1, 0], matrix[0, 0])])
