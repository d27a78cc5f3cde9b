"""All poses of a clip solved together: corners of keyframes found again, weak landmarks, a weak prior of smoothness.

Gauss-Newton with Huber weights on a banded system (bundle adjustment with the points held on the mesh).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import solveh_banded

from avatar.core.geometry import Camera, project, to_camera
from preprocess.parallel import map_chunks
from preprocess.rotations import Poses, exponential, logarithm

CORNER_SD, CORNER_HUBER = 0.5, 1.0  # px at the usual size of a face
LANDMARK_HUBER = 2.0  # px
DRIFT_SD = 0.8  # px of the landmarks, beside their own spread: the only tie to where the head is
CORRELATED = 20.0  # corners that err together count as one
SMOOTH_SD = (0.01, 0.01, 0.01, 0.05, 0.05, 0.2)  # rad and cm a frame^2
SUDDEN = 0.7  # standard deviations at which a change of speed counts half
LEAST_SD = 0.25  # px of a landmark: none is better
LEAST_WEIGHT = 0.3  # of a frame, below which its face was not seen
MEDIAN_TO_SD = 1.48 / 1.18  # of distances in a plane

Array = np.ndarray
_Sums = tuple[Array, Array, Array]
"""Pairs of frame and keyframe [G, 2], normal matrices [G, 6, 6], right sides [G, 6]."""


@dataclass(frozen=True)
class Mesh:
    """The person's own rigid mesh, and the camera."""

    points: Array  # [V, 3] cm
    triangles: Array  # [F, 3]
    rigid: Array  # [R]
    camera: Camera


@dataclass(frozen=True)
class CornerMatches:
    """Corners of keyframes, found again in other frames; sorted by frame."""

    frame: Array  # [M]
    corner: Array  # [M] index into the corners
    pixel: Array  # [M, 2]
    key: Array  # [C] keyframe of each corner
    home: Array  # [C, 2] px in its keyframe
    triangle: Array  # [C] of the mesh


@dataclass(frozen=True)
class Landmarks:
    """Rigid landmarks, which tie poses weakly to where the detector sees the head."""

    pixels: Array  # [T, R, 2]
    weight: Array  # [T] 0..1
    deviation: Array  # [R] px, standard, about where first poses put them

    def at(self, frames: slice) -> Landmarks:
        """The landmarks of some frames."""
        return Landmarks(self.pixels[frames], self.weight[frames], self.deviation)


def measure_landmarks(pixels: Array, weight: Array, mesh: Mesh, poses: Poses) -> Landmarks:
    """The rigid ones of landmarks [T, 478, 2] px, weight [T], and how they spread about where poses put them."""
    rigid = pixels[:, mesh.rigid]
    chosen = np.flatnonzero(weight > LEAST_WEIGHT)[:: max(1, len(weight) // 500)]
    posed = to_camera(mesh.points[mesh.rigid], poses.rotation[chosen], poses.translation[chosen])
    error = np.linalg.norm(rigid[chosen] - project(posed, mesh.camera), axis=-1)
    return Landmarks(rigid, weight, np.maximum(LEAST_SD, MEDIAN_TO_SD * np.median(error, axis=0)))


def refine_poses(
    matches: CornerMatches, points: Array, landmarks: Landmarks, joined: Array, mesh: Mesh, poses: Poses, scale: float
) -> Poses:
    """One Gauss-Newton step of all poses [T].

    points: [C, 3] cm, the corners in the head frame; joined: [T - 1], whether two neighbours belong to the same shot;
    scale: the face's size, of the usual one.

    A corner ties a frame to its keyframe: moving both alike changes nothing, so what counts is the difference of their
    steps. (The two see the head nearly alike; one Jacobian serves both.)
    """
    length = len(landmarks.pixels)
    normal, right = np.zeros((length, 6, 6)), np.zeros((length, 6))
    pairs: list[tuple[Array, Array, Array]] = []

    def equations(part: slice) -> tuple[_Sums, _Sums]:
        frames = np.arange(part.start, part.stop)
        corners = _sum_equations(_corner_residuals(matches, points, frames, scale), mesh.camera, poses)
        return corners, _sum_equations(_landmark_residuals(landmarks, mesh, frames), mesh.camera, poses)

    for (owners, pull, force), (frames, landmark_pull, landmark_force) in map_chunks(equations, length):
        for side, sign in ((0, 1.0), (1, -1.0)):
            np.add.at(normal, owners[:, side], pull)
            np.add.at(right, owners[:, side], sign * force)
        pairs.append((owners[:, 0], owners[:, 1], pull))
        normal[frames[:, 0]] += landmark_pull
        right[frames[:, 0]] += landmark_force
    ties = tuple(np.concatenate(part) for part in zip(*pairs, strict=True))
    step = _smooth_step(normal / CORRELATED, right / CORRELATED, ties, joined, poses)
    return Poses(exponential(step[:, :3]) @ poses.rotation, poses.translation + step[:, 3:])


class _Residuals(NamedTuple):
    """Points that should lie at pixels, sorted by frame and keyframe."""

    frame: Array  # [M]
    key: Array  # [M]
    points: Array  # [M, 3] cm, head frame
    pixels: Array  # [M, 2]
    deviation: Array  # [M] or [] px
    weight: Array  # [M] or []
    huber: float  # px


def _corner_residuals(matches: CornerMatches, points: Array, frames: Array, scale: float) -> _Residuals:
    part = slice(*np.searchsorted(matches.frame, [frames[0], frames[-1] + 1]))
    frame, corner = matches.frame[part], matches.corner[part]
    deviation, weight, huber = np.array(CORNER_SD), np.array(1.0), CORNER_HUBER * scale
    return _Residuals(frame, matches.key[corner], points[corner], matches.pixel[part], deviation, weight, huber)


def _landmark_residuals(landmarks: Landmarks, mesh: Mesh, frames: Array) -> _Residuals:
    count, pixels = len(mesh.rigid), landmarks.pixels[frames].reshape(-1, 2)
    frame, points = np.repeat(frames, count), np.tile(mesh.points[mesh.rigid], (len(frames), 1))
    deviation = np.tile(np.sqrt(landmarks.deviation**2 + DRIFT_SD**2), len(frames))
    weight = np.repeat(landmarks.weight[frames] + 1e-3, count)
    return _Residuals(frame, frame, points, pixels, deviation, weight, LANDMARK_HUBER)


def _sum_equations(residuals: _Residuals, camera: Camera, poses: Poses) -> _Sums:
    """Normal equations of residuals, summed for each run of equal (frame, key).

    Returns: the pairs [G, 2], their normal matrices [G, 6, 6] and right sides [G, 6].
    """
    frame, key = residuals.frame, residuals.key
    if len(frame) == 0:
        return np.zeros((0, 2), int), np.zeros((0, 6, 6)), np.zeros((0, 6))
    turned = np.einsum("mij,mj->mi", poses.rotation[frame], residuals.points)
    x, y, z = (turned + poses.translation[frame]).T
    u, v = x / z, y / z
    missed = residuals.pixels - (camera.focal * np.stack([u, v], 1) + camera.size / 2)
    robust = residuals.huber / np.maximum(np.linalg.norm(missed, axis=1), residuals.huber)
    strength = robust * residuals.weight / np.square(residuals.deviation)
    tx, ty, tz = turned.T
    zero, one = np.zeros_like(u), np.ones_like(u)
    slope = (camera.focal / z)[:, None]
    # How the pixel moves when the head turns about x, y, z and shifts along them.
    rows = (
        np.stack([-u * ty, tz + u * tx, -ty, one, zero, -u], 1) * slope,
        np.stack([-tz - v * ty, v * tx, tx, zero, one, -v], 1) * slope,
    )
    first = np.flatnonzero(np.concatenate([[True], (frame[1:] != frame[:-1]) | (key[1:] != key[:-1])]))
    normal, right = np.zeros((len(first), 6, 6)), np.zeros((len(first), 6))
    for axis, row in enumerate(rows):
        weighted = row * strength[:, None]
        right += np.add.reduceat(weighted * missed[:, axis, None], first)
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
    # Sudden moves are outliers of the prior (Cauchy): a head that is shaken must not be smoothed.
    sudden = np.square(bend / deviation).reshape(-1, 2, 3).sum(2).repeat(3, axis=1)
    stiff = (joined[1:] & joined[:-1])[:, None] / np.square(deviation) / (1 + sudden / SUDDEN**2)
    shape = (1.0, -2.0, 1.0)
    for a in range(3):
        for b in range(a, 3):
            for i in range(6):
                columns = 6 * (np.arange(length - 2) + b) + i
                band[reach - 6 * (b - a), columns] += shape[a] * shape[b] * stiff[:, i]
        right[a : length - 2 + a] -= shape[a] * stiff * bend
