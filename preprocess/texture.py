"""Pose from the skin's texture. Landmark detectors move the forehead when the mouth opens, so pose from landmarks nods
with the jaw; corners of the upper face followed between a frame and its keyframes do not.

Corners of a keyframe are points on the fitted mesh; every frame sees the corners of its nearest keyframes; all poses
are solved together with weak landmarks against drift and a weak smoothness prior (Gauss-Newton, Huber).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.linalg import solveh_banded

from avatar.core.landmarks import BROWS, LEFT_EYE_OUTLINE, RIGHT_EYE_OUTLINE, UPPER_FACE
from preprocess.flow import follow
from preprocess.rotations import Poses, exponential, logarithm, nearest_rotation

KEY_EVERY = 12  # frames
KEYS = 3  # keyframes that a frame is compared with
CORNERS = 120  # of a keyframe, at most
LEAST_CORNERS = 8
QUALITY, BLOCK = 0.003, 5
EYE_PX = 130.0  # distance of the outer eye corners that the lengths below are for
HALF = 0.5  # px: OpenCV counts from the middle of the first pixel, landmarks from its edge
SPACING, WINDOW, EYE_MARGIN = 4.0, 15.0, 9.0  # px
BACK_AND_FORTH = 0.4  # px, how exactly a corner must be found again on the way back
LEVELS = 1
STRAY = 10.0  # px from where the first pose expects it
ROUNDS = 3
CORNER_SD, HUBER = 0.5, 1.0  # px
DRIFT_SD = 0.8  # px of the landmarks, beside their own spread: the only tie to where the head is
CORRELATED = 20.0  # corners that err together count as one
SMOOTH_SD = (0.01, 0.01, 0.01, 0.05, 0.05, 0.2)  # rad and cm a frame^2
SUDDEN = 0.7  # standard deviations at which a change of speed counts half
WINDOW_FRAMES, SHARED = 3000, 100  # frames solved together, and those that two windows share
CHUNK = 2000  # frames whose equations are made at a time

Array = np.ndarray


@dataclass(frozen=True)
class Mesh:
    """The person's own rigid mesh, and the camera."""

    points: Array  # [478, 3] cm
    triangles: Array  # [F, 3]
    rigid: Array  # [R]
    focal: float
    size: int


@dataclass(frozen=True)
class Sightings:
    """Corners seen again: sorted by frame."""

    frame: Array  # [M]
    corner: Array  # [M] index into the corners
    pixel: Array  # [M, 2]
    key: Array  # [C] keyframe of each corner
    home: Array  # [C, 2] px in its keyframe
    triangle: Array  # [C] of the mesh


def refine_by_texture(
    read: Callable[[int], Array], landmarks: Array, weight: Array, joined: Array, mesh: Mesh, start: Poses
) -> Poses:
    """Refine poses by what read(frame) -> grey [S, S] uint8 shows.

    landmarks [T, 478, 2] px, weight [T] 0..1, joined [T - 1]: whether two neighbours belong to the same shot.
    Frames whose skin shows too little keep to the landmarks.
    """
    if len(landmarks) < 3:
        return start
    scale = _eye_distance(landmarks, weight) / EYE_PX
    spread = _landmark_spread(landmarks, weight, mesh, start)
    starts = range(0, max(1, len(landmarks) - SHARED), WINDOW_FRAMES)
    windows = [slice(first, first + WINDOW_FRAMES + SHARED) for first in starts]
    refined: Poses | None = None
    for frames in windows:

        def read_here(frame: int, first: int = frames.start) -> Array:
            return read(first + frame)

        part = landmarks[frames], weight[frames], joined[frames.start : frames.start + len(landmarks[frames]) - 1]
        poses = _refine_window(read_here, *part, mesh, start.at(frames), spread, scale)
        refined = poses if refined is None else _join(refined, poses)
    assert refined is not None
    return refined


def _refine_window(
    read: Callable[[int], Array],
    landmarks: Array,
    weight: Array,
    joined: Array,
    mesh: Mesh,
    poses: Poses,
    spread: Array,
    scale: float,
) -> Poses:
    seen = find_sightings(read, landmarks, weight, joined, mesh, poses, scale)
    for _ in range(ROUNDS):
        points = _lift(seen, mesh, poses)
        poses = _solve(seen, points, landmarks, weight, joined, mesh, poses, spread, scale)
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


def _eye_distance(landmarks: Array, weight: Array) -> float:
    eyes = np.linalg.norm(landmarks[:, 33] - landmarks[:, 263], axis=1)
    return float(np.median(eyes[weight > 0.3] if (weight > 0.3).any() else eyes).clip(20, 600))


def find_sightings(
    read: Callable[[int], Array],
    landmarks: Array,
    weight: Array,
    joined: Array,
    mesh: Mesh,
    poses: Poses,
    scale: float,
) -> Sightings:
    """Corners of keyframes, and where the frames near each keyframe see them."""
    keys = [frame for frame in range(0, len(landmarks), KEY_EVERY) if weight[frame] > 0.3]
    shot = np.concatenate([[0], np.cumsum(~joined)])
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(lambda key: _follow_key(read, key, shot, landmarks, weight, mesh, poses, scale), keys))
    first = np.cumsum([0, *(len(part[2]) for part in parts)])
    frame = np.concatenate([part[0] for part in parts] or [np.zeros(0, int)]).astype(int)
    corner = np.concatenate(
        [part[1][0] + start for part, start in zip(parts, first, strict=False)] or [np.zeros(0, int)]
    )
    pixel = np.concatenate([part[1][1] for part in parts] or [np.zeros((0, 2))])
    order = np.argsort(frame, kind="stable")
    return Sightings(
        frame=frame[order],
        corner=corner[order].astype(int),
        pixel=pixel[order].astype(np.float32),
        key=np.repeat(np.array(keys, int), [len(part[2]) for part in parts]),
        home=np.concatenate([part[2] for part in parts] or [np.zeros((0, 2))]),
        triangle=np.concatenate([part[3] for part in parts] or [np.zeros(0, int)]).astype(int),
    )


def _follow_key(
    read: Callable[[int], Array],
    key: int,
    shot: Array,
    landmarks: Array,
    weight: Array,
    mesh: Mesh,
    poses: Poses,
    scale: float,
) -> tuple[Array, tuple[Array, Array], Array, Array]:
    """One keyframe: frames, (corners, pixels) of the sightings; then pixels and triangles of the corners."""
    grey = read(key)
    home = _corners(grey, landmarks[key], scale)
    triangle = _triangles_under(home, mesh, poses, key)
    home, triangle = home[triangle >= 0], triangle[triangle >= 0]
    frames: list[Array] = []
    corners: list[Array] = []
    pixels: list[Array] = []
    if len(home) >= LEAST_CORNERS:
        points = _intersect(home, triangle, mesh, poses.rotation[key], poses.translation[key])
        for frame in _frames_of(key, len(landmarks)):
            if frame == key or shot[frame] != shot[key] or weight[frame] < 0.3:
                continue
            expected = _project(points, mesh, poses.rotation[frame], poses.translation[frame])
            good, found = _find_again(grey, read(frame), home, expected, scale)
            if len(good) >= LEAST_CORNERS:
                frames.append(np.full(len(good), frame))
                corners.append(good)
                pixels.append(found)
    none = np.zeros(0, int), np.zeros((0, 2))
    together = (np.concatenate(corners), np.concatenate(pixels)) if frames else none
    return np.concatenate(frames) if frames else none[0], together, home, triangle


def _frames_of(key: int, length: int) -> Iterator[int]:
    """Frames that have this keyframe among their nearest."""
    reach = KEY_EVERY * KEYS // 2
    return iter(range(max(0, key - reach), min(length, key + reach + 1)))


def _corners(grey: Array, landmarks: Array, scale: float) -> Array:
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


def _project(points: Array, mesh: Mesh, rotation: Array, translation: Array) -> Array:
    posed = points @ rotation.T + translation
    return mesh.focal * posed[:, :2] / posed[:, 2:] + mesh.size / 2


def _triangles_under(pixels: Array, mesh: Mesh, poses: Poses, frame: int) -> Array:
    """The mesh triangle, seen from the front, under each pixel [C]; -1 where there is none."""
    screen = _project(mesh.points, mesh, poses.rotation[frame], poses.translation[frame])
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
    rays = np.concatenate([(pixels - mesh.size / 2) / mesh.focal, np.ones((len(pixels), 1))], 1)
    origin = -np.einsum("...ji,...j->...i", rotation, translation)
    direction = np.einsum("...ji,...j->...i", np.broadcast_to(rotation, (len(pixels), 3, 3)), rays)
    a, b, c = (mesh.points[mesh.triangles[triangles, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    along = (normal * (a - origin)).sum(1) / _away_from_zero((normal * direction).sum(1))
    return origin + along[:, None] * direction


def _away_from_zero(value: Array) -> Array:
    return np.where(np.abs(value) < 1e-9, 1e-9, value)


def _lift(seen: Sightings, mesh: Mesh, poses: Poses) -> Array:
    """Corners as points of the head, by the current poses of their keyframes."""
    return _intersect(seen.home, seen.triangle, mesh, poses.rotation[seen.key], poses.translation[seen.key])


def _landmark_spread(landmarks: Array, weight: Array, mesh: Mesh, poses: Poses) -> Array:
    """Standard deviation [R] px of the rigid landmarks about where the poses put them."""
    chosen = np.flatnonzero(weight > 0.3)[:: max(1, len(weight) // 500)]
    posed = np.einsum("tij,rj->tri", poses.rotation[chosen], mesh.points[mesh.rigid]) + poses.translation[chosen, None]
    residual = landmarks[chosen][:, mesh.rigid] - (mesh.focal * posed[..., :2] / posed[..., 2:] + mesh.size / 2)
    return np.maximum(0.25, 1.48 / 1.18 * np.median(np.linalg.norm(residual, axis=-1), axis=0))


def _solve(
    seen: Sightings,
    points: Array,
    landmarks: Array,
    weight: Array,
    joined: Array,
    mesh: Mesh,
    poses: Poses,
    spread: Array,
    scale: float,
) -> Poses:
    """One Gauss-Newton step of all poses.

    A corner ties a frame to its keyframe: moving both alike changes nothing, so what counts is the difference of their
    steps. (The two see the head nearly alike; one Jacobian serves both.)
    """
    length = len(landmarks)
    normal, right = np.zeros((length, 6, 6)), np.zeros((length, 6))
    pairs: list[tuple[Array, Array, Array]] = []
    landmark_sd = np.sqrt(spread**2 + DRIFT_SD**2)
    for start in range(0, length, CHUNK):
        frames = np.arange(start, min(start + CHUNK, length))
        part = slice(*np.searchsorted(seen.frame, [frames[0], frames[-1] + 1]))
        frame, corner = seen.frame[part], seen.corner[part]
        key = seen.key[corner]
        owners, pull, force = _equations(frame, key, points[corner], seen.pixel[part], np.array(CORNER_SD),
                                         np.array(1.0), HUBER * scale, mesh, poses)  # fmt: skip
        for side, sign in ((0, 1.0), (1, -1.0)):
            np.add.at(normal, owners[:, side], pull)
            np.add.at(right, owners[:, side], sign * force)
        pairs.append((owners[:, 0], owners[:, 1], pull))
        rigid, count = np.tile(mesh.points[mesh.rigid], (len(frames), 1)), len(mesh.rigid)
        alone = np.repeat(frames, count)
        owners, pull, force = _equations(alone, alone, rigid, landmarks[frames][:, mesh.rigid].reshape(-1, 2),
                                         np.tile(landmark_sd, len(frames)),
                                         np.repeat(weight[frames] + 1e-3, count), 2.0, mesh, poses)  # fmt: skip
        normal[owners[:, 0]] += pull
        right[owners[:, 0]] += force
    ties = tuple(np.concatenate(part) for part in zip(*pairs, strict=True))
    step = _smooth_step(normal / CORRELATED, right / CORRELATED, ties, joined, poses)
    return Poses(exponential(step[:, :3]) @ poses.rotation, poses.translation + step[:, 3:])


def _equations(
    frame: Array,
    key: Array,
    points: Array,
    pixels: Array,
    deviation: Array,
    trust: Array,
    huber: float,
    mesh: Mesh,
    poses: Poses,
) -> tuple[Array, Array, Array]:
    """Points [M, 3] seen at pixels [M, 2] in frames [M], summed for each run of equal (frame, key).

    Returns: the pairs [G, 2], their normal matrices [G, 6, 6] and right sides [G, 6].
    """
    if len(frame) == 0:
        return np.zeros((0, 2), int), np.zeros((0, 6, 6)), np.zeros((0, 6))
    turned = np.einsum("mij,mj->mi", poses.rotation[frame], points)
    x, y, z = (turned + poses.translation[frame]).T
    u, v = x / z, y / z
    residual = pixels - (mesh.focal * np.stack([u, v], 1) + mesh.size / 2)
    robust = huber / np.maximum(np.linalg.norm(residual, axis=1), huber)
    strength = robust * trust / np.square(deviation)
    tx, ty, tz = turned.T
    zero, one = np.zeros_like(u), np.ones_like(u)
    slope = (mesh.focal / z)[:, None]
    # How the pixel moves when the head turns about x, y, z and shifts along them.
    rows = (
        np.stack([-u * ty, tz + u * tx, -ty, one, zero, -u], 1) * slope,
        np.stack([-tz - v * ty, v * tx, tx, zero, one, -v], 1) * slope,
    )
    first = np.flatnonzero(np.concatenate([[True], (frame[1:] != frame[:-1]) | (key[1:] != key[:-1])]))
    normal, right = np.zeros((len(first), 6, 6)), np.zeros((len(first), 6))
    for axis, row in enumerate(rows):
        weighted = row * strength[:, None]
        right += np.add.reduceat(weighted * residual[:, axis, None], first)
        for i in range(6):
            normal[:, i] += np.add.reduceat(weighted[:, i, None] * row, first)
    return np.stack([frame[first], key[first]], 1), normal, right


def _smooth_step(normal: Array, right: Array, ties: tuple[Array, ...], joined: Array, poses: Poses) -> Array:
    """Solve for all steps [T, 6], tied to those of the keyframes, with the poses' second differences held small."""
    length = len(normal)
    low, high = np.minimum(ties[0], ties[1]), np.maximum(ties[0], ties[1])
    reach = 6 * max(2, int((high - low).max(initial=0))) + 5
    band = np.zeros((reach + 1, 6 * length))  # upper form: band[reach - d, j] is the element d left of column j
    for i in range(6):
        for j in range(i, 6):
            band[reach - (j - i), j::6] += normal[:, i, j]
        for j in range(6):
            rows = reach - (6 * (high - low) + j - i)
            np.add.at(band, (rows, 6 * high + j), -ties[2][:, i, j] / CORRELATED)
    _add_smoothness(band, right, joined, poses)
    band[reach] += 1e-9
    return solveh_banded(band, right.reshape(-1), overwrite_ab=True).reshape(length, 6)


def _add_smoothness(band: Array, right: Array, joined: Array, poses: Poses) -> None:
    reach, length = len(band) - 1, len(right)
    turn = logarithm(poses.rotation[1:] @ poses.rotation[:-1].transpose(0, 2, 1))
    bend = np.diff(np.concatenate([turn, np.diff(poses.translation, axis=0)], 1), axis=0)  # [T - 2, 6]
    deviation = np.array(SMOOTH_SD)
    # A sudden move is one (Cauchy): shaking a head must not be ironed out.
    sudden = np.square(bend / deviation).reshape(-1, 2, 3).sum(2).repeat(3, axis=1)
    stiff = (joined[1:] & joined[:-1])[:, None] / np.square(deviation) / (1 + sudden / SUDDEN**2)
    shape = (1.0, -2.0, 1.0)
    for a in range(3):
        for b in range(a, 3):
            for i in range(6):
                columns = 6 * (np.arange(length - 2) + b) + i
                band[reach - 6 * (b - a), columns] += shape[a] * shape[b] * stiff[:, i]
        right[a : length - 2 + a] -= shape[a] * stiff * bend
