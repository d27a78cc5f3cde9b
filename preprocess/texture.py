"""Poses from the skin's texture. Landmark detectors move the forehead when the mouth opens, so poses from landmarks nod
with the jaw; corners of the upper face followed between a frame and its keyframes do not.

Corners of a keyframe are points on the fitted mesh; every frame is matched with the corners of its nearest keyframes;
all poses are solved together (`preprocess.pose_solver`).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from avatar.core.geometry import eye_distance, project, to_camera, to_rays
from avatar.core.landmarks import BROWS, LEFT_EYE_OUTLINE, RIGHT_EYE_OUTLINE, UPPER_FACE
from preprocess.flow import follow
from preprocess.pose_solver import LEAST_WEIGHT, CornerMatches, Landmarks, Mesh, measure_landmarks, refine_poses
from preprocess.rotations import Poses, nearest_rotation
from preprocess.take_folder import ReadFrame

KEY_EVERY = 12  # frames
KEYS = 3  # keyframes that a frame is matched with
CORNERS = 120  # of a keyframe, at most
LEAST_CORNERS = 8
QUALITY, BLOCK = 0.003, 5  # of Shi and Tomasi's corners: skin has weak ones
EYE_PX = 130.0  # distance of the outer eye corners that the lengths below are for
EYE_LIMITS_PX = (20.0, 600.0)
HALF = 0.5  # px: OpenCV counts from the middle of the first pixel, landmarks from its edge
SPACING, WINDOW, EYE_MARGIN = 4.0, 15.0, 9.0  # px
BACK_AND_FORTH = 0.4  # px, how exactly a corner must be found again on the way back
LEVELS = 1
STRAY = 10.0  # px from where the first pose expects it
ROUNDS = 3  # of solving; the corners are lifted anew in each
WINDOW_FRAMES, SHARED = 3000, 100  # frames solved together, and those that two windows share

Array = np.ndarray


@dataclass(frozen=True)
class Footage:
    """The pictures of a clip, and the landmarks in them."""

    read: ReadFrame  # grey
    landmarks: Array  # [T, 478, 2] px
    weight: Array  # [T] 0..1
    joined: Array  # [T - 1] bool: whether two neighbours belong to the same shot

    def __len__(self) -> int:
        return len(self.landmarks)

    def at(self, frames: slice) -> Footage:
        """The footage of some frames, counted anew."""
        landmarks = self.landmarks[frames]
        joined = self.joined[frames.start : frames.start + len(landmarks) - 1]
        return Footage(lambda frame: self.read(frames.start + frame), landmarks, self.weight[frames], joined)


class _KeyMatches(NamedTuple):
    """`CornerMatches` with the corners of one keyframe."""

    frame: Array
    corner: Array
    pixel: Array
    key: Array
    home: Array
    triangle: Array


NO_MATCHES = np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2), np.float32)  # frames, corners, pixels


def refine_by_texture(footage: Footage, mesh: Mesh, start: Poses) -> Poses:
    """Refine poses by what the pictures show. Frames whose skin shows too little keep to the landmarks."""
    if len(footage) < 3:
        return start
    scale = _typical_eye_distance(footage) / EYE_PX
    rigid = measure_landmarks(footage.landmarks, footage.weight, mesh, start)
    starts = range(0, max(1, len(footage) - SHARED), WINDOW_FRAMES)
    windows = [slice(first, first + WINDOW_FRAMES + SHARED) for first in starts]
    parts = (_refine_window(footage.at(one), rigid.at(one), mesh, start.at(one), scale) for one in windows)
    refined = next(parts)
    for part in parts:
        refined = _join(refined, part)
    return refined


def _refine_window(footage: Footage, rigid: Landmarks, mesh: Mesh, poses: Poses, scale: float) -> Poses:
    matches = match_corners(footage, mesh, poses, scale)
    for _ in range(ROUNDS):
        points = _lift(matches, mesh, poses)
        poses = refine_poses(matches, points, rigid, footage.joined, mesh, poses, scale)
    return poses


def _join(before: Poses, after: Poses) -> Poses:
    """Poses of two windows that share frames, faded into each other there."""
    shared = min(SHARED, len(before.rotation), len(after.rotation))
    share = np.linspace(0, 1, shared + 2)[1:-1]
    old, new = before.at(slice(len(before.rotation) - shared, None)), after.at(slice(0, shared))
    turn = nearest_rotation(old.rotation + share[:, None, None] * (new.rotation - old.rotation))
    shift = old.translation + share[:, None] * (new.translation - old.translation)
    rotation = np.concatenate([before.rotation[:-shared], turn, after.rotation[shared:]])
    return Poses(rotation, np.concatenate([before.translation[:-shared], shift, after.translation[shared:]]))


def _typical_eye_distance(footage: Footage) -> float:
    eyes, seen = eye_distance(footage.landmarks), footage.weight > LEAST_WEIGHT
    return float(np.median(eyes[seen] if seen.any() else eyes).clip(*EYE_LIMITS_PX))


def match_corners(footage: Footage, mesh: Mesh, poses: Poses, scale: float) -> CornerMatches:
    """Find corners of keyframes, and where the frames near each keyframe show them.

    scale: the face's size, of the usual one.
    """
    keys = [frame for frame in range(0, len(footage), KEY_EVERY) if footage.weight[frame] > LEAST_WEIGHT]
    shot = np.concatenate([[0], np.cumsum(~footage.joined)])
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(lambda key: _match_key(footage, key, shot, mesh, poses, scale), keys))
    parts.append(_KeyMatches(*NO_MATCHES, *NO_MATCHES[1:], NO_MATCHES[0]))  # for a clip without a keyframe
    first = np.cumsum([0, *(len(part.home) for part in parts[:-1])])
    frame, _, pixel, key, home, triangle = (np.concatenate(values) for values in zip(*parts, strict=True))
    corner = np.concatenate([part.corner + start for part, start in zip(parts, first, strict=True)])
    order = np.argsort(frame, kind="stable")
    return CornerMatches(frame[order], corner[order], pixel[order], key, home, triangle)


def _match_key(footage: Footage, key: int, shot: Array, mesh: Mesh, poses: Poses, scale: float) -> _KeyMatches:
    """Match one keyframe with the frames near it; shot: [T] number of each frame's."""
    grey = footage.read(key)
    home = _find_corners(grey, footage.landmarks[key], scale)
    triangle = _triangles_under(home, mesh, poses, key)
    home, triangle = home[triangle >= 0], triangle[triangle >= 0]
    found = [NO_MATCHES]
    if len(home) >= LEAST_CORNERS:
        points = _intersect(home, triangle, mesh, poses.rotation[key], poses.translation[key])
        for frame in _frames_of(key, len(footage)):
            if frame == key or shot[frame] != shot[key] or footage.weight[frame] < LEAST_WEIGHT:
                continue
            posed = to_camera(points, poses.rotation[frame], poses.translation[frame])
            good, pixels = _find_again(grey, footage.read(frame), home, project(posed, mesh.camera), scale)
            if len(good) >= LEAST_CORNERS:
                found.append((np.full(len(good), frame), good, pixels.astype(np.float32)))
    frames, corners, pixels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _KeyMatches(frames, corners, pixels, np.full(len(home), key), home, triangle)


def _frames_of(key: int, length: int) -> Iterator[int]:
    """Frames that have this keyframe among their nearest."""
    reach = KEY_EVERY * KEYS // 2
    return iter(range(max(0, key - reach), min(length, key + reach + 1)))


def _find_corners(grey: Array, landmarks: Array, scale: float) -> Array:
    """Corners [C, 2] px of the upper face, away from lids and brows."""
    mask = np.zeros_like(grey)
    hull = cv2.convexHull(landmarks[list(UPPER_FACE)].astype(np.int32))
    cv2.fillConvexPoly(mask, hull, (255,))
    margin = max(1, round(EYE_MARGIN * scale))
    for group in (LEFT_EYE_OUTLINE, RIGHT_EYE_OUTLINE, *BROWS):
        polygon = cv2.convexHull(landmarks[list(group)].astype(np.int32))
        cv2.fillConvexPoly(mask, polygon, (0,))
        cv2.polylines(mask, [polygon], True, (0,), 2 * margin)
    found = cv2.goodFeaturesToTrack(grey, CORNERS, QUALITY, SPACING * scale, mask=mask, blockSize=BLOCK)
    return np.zeros((0, 2), np.float32) if found is None else found[:, 0] + HALF


def _find_again(first: Array, second: Array, home: Array, expected: Array, scale: float) -> tuple[Array, Array]:
    """Corners found in another frame and back where they came from: their indices and pixels."""
    found, missed = follow(first, second, home - HALF, expected - HALF, side=int(WINDOW * scale) | 1, levels=LEVELS)
    found = found + HALF
    strayed = np.linalg.norm(found - expected, axis=1)
    good = (missed < BACK_AND_FORTH) & (strayed < STRAY * scale)
    return np.flatnonzero(good), found[good]


def _triangles_under(pixels: Array, mesh: Mesh, poses: Poses, frame: int) -> Array:
    """The mesh triangle, seen from the front, under each pixel [C]; -1 where there is none."""
    screen = project(to_camera(mesh.points, poses.rotation[frame], poses.translation[frame]), mesh.camera)
    a, b, c = (screen[mesh.triangles[:, i]] for i in range(3))
    edge1, edge2 = b - a, c - a
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]
    offset = pixels[:, None] - a[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = (offset[..., 0] * edge2[:, 1] - offset[..., 1] * edge2[:, 0]) / area
        v = (edge1[:, 0] * offset[..., 1] - edge1[:, 1] * offset[..., 0]) / area
    inside = (u >= 0) & (v >= 0) & (u + v <= 1)
    depth = (mesh.points @ poses.rotation[frame].T)[mesh.triangles, 2].mean(1)
    nearest = np.where(inside, depth, np.inf)
    best = nearest.argmin(1) if len(pixels) else np.zeros(0, int)
    return np.where(inside.any(1), best, -1)


def _intersect(pixels: Array, triangles: Array, mesh: Mesh, rotation: Array, translation: Array) -> Array:
    """Points [C, 3] cm of the head frame where rays through pixels meet the planes of triangles.

    rotation, translation: of the one frame, or one for each pixel.
    """
    rays = np.concatenate([to_rays(pixels, mesh.camera), np.ones((len(pixels), 1))], 1)
    origin = -np.einsum("...ji,...j->...i", rotation, translation)
    direction = np.einsum("...ji,...j->...i", np.broadcast_to(rotation, (len(pixels), 3, 3)), rays)
    a, b, c = (mesh.points[mesh.triangles[triangles, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    along = (normal * (a - origin)).sum(1) / _away_from_zero((normal * direction).sum(1))
    return origin + along[:, None] * direction


def _away_from_zero(value: Array) -> Array:
    return np.where(np.abs(value) < 1e-9, 1e-9, value)


def _lift(matches: CornerMatches, mesh: Mesh, poses: Poses) -> Array:
    """Corners as points [C, 3] cm of the head, by the current poses of their keyframes."""
    rotation, translation = poses.rotation[matches.key], poses.translation[matches.key]
    return _intersect(matches.home, matches.triangle, mesh, rotation, translation)
