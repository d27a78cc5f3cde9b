"""How the camera moved: where the background of frames all over the clip lies in one of them.

A camera that moves moves everything, so that features which stay where they are, over enough of the picture, show that
it stands, whatever a screen or people behind do. Otherwise a similarity transform that enough features agree on is
looked for (RANSAC, Fischler and Bolles 1981): by points that are followed, then by descriptors (SIFT, Lowe 2004). What
lies nearer moves by parallax, and disagrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from avatar.core.take import STANDING_PX
from preprocess.flow import follow
from preprocess.take_folder import ReadFrame

CORNERS, DESCRIBED = 300, 800  # features looked for: points that are followed, points with descriptors
LEAST_AGREEING = 10  # features
AROUND_PERSON = 21  # px at 512 that belong to nobody
BORDER = 4  # px at 512: black edges and what was filled in do not move with the camera
BACK_AND_FORTH = 0.5  # px
PATCH_RADIUS = 5  # px, of what is compared about a feature, in its place and beside it
BESIDE = 3 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])  # px
BETTER = 1.5  # times the squared error beside a feature, of that in its place
STAYS = 1.0  # px at 512 that a feature of a standing camera moves at most
RANSAC_PX = 2.0  # at 512: parallax of a wall is less, that of a chair before it more
LEAST_SHARE = 0.35  # of the features that were found again
CELLS = 6  # a side, that features are counted in
LEAST_CELLS = 0.3  # share of the cells with features, that agreeing ones lie in: a caption or a screen has fewer
DISTINCT = 0.8  # of a descriptor's distance to the second best (Lowe 2004)
MOST_SCALE = 3.0  # of a zoom that is believed
SHARE = 0.9  # of the frames: a hand that knocks the tripod once is no moving camera
EXPLAINED = 0.9  # of the difference to the reference that a transform may leave: on a plain wall features are noise

Array = np.ndarray


@dataclass(frozen=True)
class CameraMotion:
    """Where the background of some frames lies in a reference frame."""

    transforms: dict[int, Array]  # frame -> [2, 3], px of the frame to px of the reference, as OpenCV counts them
    unknown: tuple[int, ...]  # frames whose background agrees on nothing
    px: float  # how far the background moves, in px of a picture 512 wide; 0 where nothing is known

    @property
    def stands(self) -> bool:
        """Whether the pictures can be taken as they are."""
        return self.px <= STANDING_PX


class _Reference(NamedTuple):
    grey: Array  # [S, S]
    free: Array  # [S, S] 255 on the background
    corners: Array  # [N, 2] px
    features: _Features


class _Features(NamedTuple):
    places: Array  # [N, 2] px
    descriptors: Array  # [N, 128]


class _Pairs(NamedTuple):
    """The same features in a frame and in the reference, px [N, 2]; of how many."""

    there: Array
    home: Array


def measure_camera(read: ReadFrame, read_matte: ReadFrame, frames: Array, middle: int) -> CameraMotion:
    """How the camera moved in frames [N] of one place, against the frame `middle` of it. read: grey."""
    if len(frames) < 2:
        return CameraMotion({}, (), 0.0)
    grey, free = read(middle), _background(read_matte(middle))
    reference = _Reference(grey, free, _corners(grey, free), _describe(grey, free))
    transforms, unknown, moves = dict[int, Array](), list[int](), list[float]()
    for frame in np.unique(frames).tolist():
        transform = _place(reference, read(frame), _background(read_matte(frame)))
        if transform is None:
            unknown.append(frame)
        else:
            transforms[frame] = transform
            moves.append(_shift(transform, grey.shape[0]))
    return CameraMotion(transforms, tuple(unknown), float(np.quantile(moves, SHARE)) if moves else 0.0)


def _corners(grey: Array, free: Array) -> Array:
    """Features to be followed [N, 2] px, as many in each cell: a screen's contrast must not take them all."""
    edges = np.linspace(0, len(grey), CELLS + 1).round().astype(int).tolist()
    corners = [np.zeros((0, 2), np.float32)]
    for top, bottom in pairwise(edges):
        for left, right in pairwise(edges):
            cell = (slice(top, bottom), slice(left, right))
            mask = np.ascontiguousarray(free[cell])
            found = cv2.goodFeaturesToTrack(grey[cell], CORNERS // CELLS**2, 0.01, 6, mask=mask, blockSize=5)
            if found is not None:
                corners.append(found[:, 0] + np.array([left, top], np.float32))
    return np.concatenate(corners)


def _place(reference: _Reference, now: Array, free: Array) -> Array | None:
    """The transform [2, 3] from a frame to the reference; None where the features do not agree on one."""
    unit = now.shape[0] / 512
    pairs = _followed(reference, now, free)
    staying = np.linalg.norm(pairs.there - pairs.home, axis=1) < STAYS * unit
    if _agree(staying, pairs.home, now.shape[0]):
        return np.eye(2, 3)
    transform = _fit(pairs, unit, now.shape[0])
    if transform is None:
        transform = _fit(_matched(reference.features, _describe(now, free)), unit, now.shape[0])
    return transform if transform is None or _explains(transform, reference, now, free) else np.eye(2, 3)


def _followed(reference: _Reference, now: Array, free: Array) -> _Pairs:
    home = reference.corners
    if len(home) < LEAST_AGREEING:
        return _Pairs(np.zeros((0, 2)), np.zeros((0, 2)))
    there, missed = follow(reference.grey, now, home, home, side=21, levels=4)
    inside = there.round().astype(int).clip(0, now.shape[0] - 1)
    good = (missed < BACK_AND_FORTH) & (free[inside[:, 1], inside[:, 0]] > 0)
    good &= _are_distinct(reference.grey, now, home, there)
    return _Pairs(there[good], home[good])


def _are_distinct(first: Array, now: Array, home: Array, there: Array) -> Array:
    """Which features [N] bool at home [N, 2] px are found there [N, 2] and not beside: noise is alike anywhere."""
    axis = np.arange(-PATCH_RADIUS, PATCH_RADIUS + 1)
    offsets = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)

    def patches(picture: Array, places: Array) -> Array:
        points = (places[:, None] + offsets).astype(np.float32)
        values = cv2.remap(picture, points[..., 0], points[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        values = values.astype(np.float32)
        return np.asarray(values - values.mean(1, keepdims=True))

    wanted = patches(first, home)
    errors = [np.square(patches(now, there + shift) - wanted).sum(1) for shift in (np.zeros(2), *BESIDE)]
    return np.asarray(np.min(errors[1:], axis=0) > BETTER * errors[0])


def _matched(first: _Features, now: _Features) -> _Pairs:
    if min(len(first.places), len(now.places)) < LEAST_AGREEING:
        return _Pairs(np.zeros((0, 2)), np.zeros((0, 2)))
    matches = cv2.BFMatcher(cv2.NORM_L2).knnMatch(now.descriptors, first.descriptors, k=2)
    good = [best for best, second in matches if best.distance < DISTINCT * second.distance]
    there, home = [match.queryIdx for match in good], [match.trainIdx for match in good]
    return _Pairs(now.places[there], first.places[home])


def _fit(pairs: _Pairs, unit: float, size: int) -> Array | None:
    if len(pairs.home) < LEAST_AGREEING:
        return None
    transform, inliers = cv2.estimateAffinePartial2D(pairs.there, pairs.home, ransacReprojThreshold=RANSAC_PX * unit)
    if transform is None or not _agree(inliers[:, 0] > 0, pairs.home, size):
        return None
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    return transform if 1 / MOST_SCALE < scale < MOST_SCALE else None


def _agree(agreeing: Array, home: Array, size: int) -> bool:
    """Whether enough of the features [N] bool at home [N, 2] px agree, over enough of the picture."""
    if agreeing.sum() < max(LEAST_AGREEING, LEAST_SHARE * len(home)):
        return False
    cells = (home * CELLS / size).astype(int).clip(0, CELLS - 1) @ np.array([1, CELLS])
    there, all_of_them = set(cells[agreeing].tolist()), set(cells.tolist())
    return len(there) >= max(3, LEAST_CELLS * len(all_of_them))


def _explains(transform: Array, reference: _Reference, now: Array, free: Array) -> bool:
    """Whether the frame is more like the reference when it is transformed than as it is, where both are background."""
    size = now.shape[::-1]
    moved, moved_free = (cv2.warpAffine(part, transform, size, borderValue=(0,)) for part in (now, free))
    shared = ((reference.free > 0) & (free > 0)).any() and ((reference.free > 0) & (moved_free == 255)).any()
    if not shared:
        return True
    before, after = (
        np.mean(np.abs(reference.grey.astype(np.int16) - grey)[(reference.free > 0) & (mask == 255)])
        for grey, mask in ((cv2.GaussianBlur(now, (3, 3), 0), free), (moved, moved_free))
    )
    return bool(after <= EXPLAINED * before)


def _describe(grey: Array, free: Array) -> _Features:
    # a blurred background has large blobs only, of little contrast
    sift = cv2.SIFT.create(DESCRIBED, contrastThreshold=0.01)
    found, descriptors = sift.detectAndCompute(grey, free)
    if descriptors is None:
        return _Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    return _Features(np.array([point.pt for point in found], np.float32), descriptors)


def _shift(transform: Array, size: int) -> float:
    """How far a transform moves the picture's middle part, in px at 512."""
    axis = np.linspace(0.2, 0.8, 3) * size
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    moved = points @ transform[:, :2].T + transform[:, 2]
    return float(np.linalg.norm(moved - points, axis=1).mean()) * 512 / size


def _background(matte: Array) -> Array:
    """255 away from the person and from the picture's edge."""
    size = matte.shape[0]
    side, edge = 2 * round(AROUND_PERSON * size / 512) + 1, max(1, round(BORDER * size / 512))
    free = 255 - cv2.dilate((matte > 25).astype(np.uint8) * 255, np.ones((side, side), np.uint8))
    free[:edge], free[-edge:], free[:, :edge], free[:, -edge:] = 0, 0, 0, 0
    return free
