"""Landmarks of a whole clip -> one neutral, and pose, expression and eyes per frame. No face model is needed.

The focal length cannot be observed in talking-head clips, so it is fixed at twice the picture's side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from avatar.core.landmarks import (
    IRISES,
    LEFT_EYE,
    LEFT_EYE_OUTLINE,
    LIPS,
    LOWER_LIP,
    POINTS,
    RIGHT_EYE,
    RIGHT_EYE_OUTLINE,
    UPPER_LIP,
)
from avatar.core.motion_space import MotionSpace
from avatar.core.take import Track
from preprocess.rotations import Poses, exponential, nearest_rotation
from preprocess.texture import Mesh, refine_by_texture

FOCAL_PER_SIZE = 2.0
CHUNK = 2000  # frames
NEUTRAL_FRAMES = 1000  # that the neutral is the median of
ALTERNATIONS = 2
ITERATIONS = 5
HUBER_PX = 2.0
IDENTITY_PRIOR_CM = (0.35, 0.35, 0.12)  # depth can hardly be seen in a talking head; the generic face knows better
EFFECTIVE_FRAMES = 50.0  # frames of one clip are correlated
SMOOTHING = 1.0  # frames; of the pose only: filtering lips or lids would lose closures
RIDGE = 0.02
MESH_POINTS = 468  # without the irises
BLINK = 0.6  # of the usual lid ratio, and below: a blink
BLINK_FRAMES = 50
SHUT_LIDS = (0.04, 0.16)  # lid ratios that a shut eye may have
CLOSED_LID = 0.09  # lid gap over eye width of a shut eye

Array = np.ndarray


@dataclass(frozen=True)
class Texture:
    """The pictures that poses are refined on."""

    read: Callable[[int], Array]  # frame -> grey [S, S] uint8
    joined: Array  # [T - 1] bool: whether a frame and the next belong to the same shot


def fit_track(
    landmarks: Tensor,
    confidence: Tensor,
    space: MotionSpace,
    *,
    size: int,
    fps: float,
    texture: Texture | None = None,
) -> tuple[Track, float]:
    """Fit a clip. Landmarks [T, 478, 3] px, confidence [T] 0..1; poses are refined on the texture, where given.

    Returns: the track (torso at rest) and the focal length in px.
    """
    pixels, focal = landmarks.numpy(), FOCAL_PER_SIZE * size
    weight = confidence.double().numpy()
    rotation, translation, identity = fit_poses(pixels, weight, space, focal=focal, size=size)
    poses = Poses(rotation, translation)
    if texture is None:
        poses = smooth_poses(poses)
    else:
        mesh = Mesh(identity[:MESH_POINTS], space.triangles.numpy(), space.rigid.numpy(), focal, size)
        poses = refine_by_texture(texture.read, pixels[..., :2], weight, texture.joined, mesh, poses)
        identity = fit_identity(pixels, weight, space.template.double().numpy(), poses, focal, size)
    return _track(landmarks, confidence, space, poses, identity, focal=focal, size=size, fps=fps), focal


def fit_to_poses(
    landmarks: Tensor, confidence: Tensor, space: MotionSpace, poses: Poses, *, focal: float, size: int, fps: float
) -> Track:
    """As `fit_track` with poses that somebody else tracked."""
    template, weight = space.template.double().numpy(), confidence.double().numpy()
    identity = fit_identity(landmarks.numpy(), weight, template, poses, focal, size)
    return _track(landmarks, confidence, space, poses, identity, focal=focal, size=size, fps=fps)


def _track(
    landmarks: Tensor,
    confidence: Tensor,
    space: MotionSpace,
    poses: Poses,
    identity: Array,
    *,
    focal: float,
    size: int,
    fps: float,
) -> Track:
    pixels, basis = landmarks.numpy(), space.basis.double().numpy()

    def offsets(frames: slice | Array) -> Array:
        return measure_offsets(pixels[frames, :, :2], poses.at(frames), identity, focal=focal, size=size)

    neutral = pick_neutral(pixels, confidence.numpy())
    rest = np.median(offsets(neutral[:: -(-len(neutral) // NEUTRAL_FRAMES)]), axis=0)
    expression = [fit_modes(offsets(part) - rest, basis) for part in chunks(len(pixels))]
    return Track(
        landmarks=landmarks,
        rotation=torch.from_numpy(poses.rotation).float(),
        translation=torch.from_numpy(poses.translation).float(),
        expression=torch.from_numpy(np.concatenate(expression)).float(),
        eyes=torch.from_numpy(measure_eyes(pixels)).float(),
        torso=torch.zeros(len(pixels), 4),
        neutral=torch.from_numpy(identity + rest).float(),
        confidence=confidence.float(),
        fps=fps,
    )


def chunks(length: int) -> Iterator[slice]:
    """Slices of frames: all that is worked on at a time in double precision, so that memory stays small."""
    return (slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK))


def fit_poses(
    pixels: Array, weight: Array, space: MotionSpace, *, focal: float, size: int
) -> tuple[Array, Array, Array]:
    """Alternate pose per frame and one identity: rotation [T, 3, 3], translation [T, 3] cm, identity [478, 3] cm.

    pixels [T, 478, 2..3], weight [T].
    """
    rigid = space.rigid.numpy()
    template = space.template.double().numpy()
    identity = template.copy()
    rays = (pixels[:, rigid, :2].astype(np.float64) - size / 2) / focal
    rotation, translation = first_pose(rays, template, rigid)
    for _ in range(ALTERNATIONS):
        parts = [
            refine_poses(rays[part], identity[rigid], rotation[part], translation[part], HUBER_PX / focal)
            for part in chunks(len(pixels))
        ]
        rotation, translation = (np.concatenate(values) for values in zip(*parts, strict=True))
        identity = fit_identity(pixels, weight, template, Poses(rotation, translation), focal, size)
    return rotation, translation, identity


def smooth_poses(poses: Poses) -> Poses:
    """A Gaussian over time, where there is no texture to refine poses on."""
    if len(poses.rotation) <= 3:
        return poses
    translation = gaussian_filter1d(poses.translation, SMOOTHING, axis=0, mode="nearest")
    return Poses(nearest_rotation(gaussian_filter1d(poses.rotation, SMOOTHING, axis=0, mode="nearest")), translation)


def first_pose(rays: Array, template: Array, rigid: Array) -> tuple[Array, Array]:
    """Frontal heads at the right distance and place: a start that Gauss-Newton converges from; rays [T, R, 2]."""
    across = rays[:, int(np.flatnonzero(rigid == 263)[0])] - rays[:, int(np.flatnonzero(rigid == 33)[0])]
    depth = np.linalg.norm(template[33] - template[263]) / np.linalg.norm(across, axis=1).clip(1e-4)
    translation = np.concatenate([rays.mean(1) * depth[:, None], depth[:, None]], 1)
    roll = np.arctan2(across[:, 1], across[:, 0])
    zero, one = np.zeros_like(roll), np.ones_like(roll)
    cos, sin = np.cos(roll), np.sin(roll)
    rotation = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).reshape(-1, 3, 3)
    return rotation, translation - np.einsum("tij,j->ti", rotation, template[rigid].mean(0))


def refine_poses(rays: Array, points: Array, rotation: Array, translation: Array, huber: float) -> tuple[Array, Array]:
    """Gauss-Newton on all frames at once, Huber weights; rays [T, R, 2], points [R, 3]."""
    for _ in range(ITERATIONS):
        turned = np.einsum("tij,rj->tri", rotation, points)
        posed = turned + translation[:, None]
        depth = posed[..., 2]
        predicted = posed[..., :2] / depth[..., None]
        residual = rays - predicted
        robust = huber / np.maximum(np.linalg.norm(residual, axis=-1), huber)
        jacobian = _pose_jacobian(turned, predicted, depth)
        weighted = jacobian * robust[..., None, None]
        rows, columns = weighted.reshape(len(rays), -1, 6).swapaxes(1, 2), jacobian.reshape(len(rays), -1, 6)
        normal = rows @ columns + 1e-9 * np.eye(6)
        right = (rows @ residual.reshape(len(rays), -1, 1))[..., 0]
        step = np.linalg.solve(normal, right[..., None])[..., 0]
        rotation = exponential(step[:, :3]) @ rotation
        translation = translation + step[:, 3:]
    return rotation, translation


def _pose_jacobian(turned: Array, predicted: Array, depth: Array) -> Array:
    """Derivative of the projection by a left rotation and a shift: [T, R, 2, 6]."""
    x, y, z = turned[..., 0], turned[..., 1], turned[..., 2]
    zero, one = np.zeros_like(x), np.ones_like(x)
    # columns: how the point moves when turned about x, y, z and shifted along x, y, z
    motion = np.stack(
        [
            np.stack([zero, z, -y, one, zero, zero], -1),
            np.stack([-z, zero, x, zero, one, zero], -1),
            np.stack([y, -x, zero, zero, zero, one], -1),
        ],
        -2,
    )
    return (motion[..., :2, :] - predicted[..., None] * motion[..., 2:, :]) / depth[..., None, None]


def fit_identity(pixels: Array, weight: Array, template: Array, poses: Poses, focal: float, size: int) -> Array:
    """This person's mean mesh [478, 3]: linear least squares per point, with a prior at the template."""
    normal = np.zeros((POINTS, 3, 3))
    right = np.zeros((POINTS, 3))
    for part in chunks(len(pixels)):
        rays = (pixels[part, :, :2].astype(np.float64) - size / 2) / focal
        rotation, translation = poses.rotation[part], poses.translation[part]
        for axis in range(2):
            row = rotation[:, None, axis] - rays[..., axis, None] * rotation[:, None, 2]  # [T, V, 3]
            value = rays[..., axis] * translation[:, None, 2] - translation[:, None, axis]
            heavy = (row * weight[part, None, None]).transpose(1, 2, 0)  # [V, 3, T]
            normal += heavy @ row.transpose(1, 0, 2)
            right += (heavy @ value.T[..., None])[..., 0]
    depth = np.median(poses.translation[:, 2])
    # one pixel of noise, and as many independent frames as a clip really has
    strength = max(weight.sum(), 1) / EFFECTIVE_FRAMES * (depth / focal) ** 2
    prior = np.diag(strength / np.square(IDENTITY_PRIOR_CM))
    return np.linalg.solve(normal + prior, (right + template @ prior)[..., None])[..., 0]


def measure_offsets(pixels: Array, poses: Poses, identity: Array, *, focal: float, size: int) -> Array:
    """How far each landmark stands from the posed identity, in the head frame [T, 478, 3] cm, in the image plane."""
    posed = np.einsum("tij,vj->tvi", poses.rotation, identity, optimize=True) + poses.translation[:, None]
    residual = pixels - (focal * posed[..., :2] / posed[..., 2:] + size / 2)
    shift = residual * posed[..., 2:] / focal
    return shift @ poses.rotation[:, :2]


def fit_modes(offsets: Array, basis: Array) -> Array:
    """Coefficients [T, K] of a basis [K, 478, 3] for offsets [T, 478, 3] cm: ridge, lips and lids counting most."""
    importance = point_importance()[:, None]
    rows = (basis * importance).reshape(len(basis), -1)
    target = (offsets * importance).reshape(len(offsets), -1)
    gram = rows @ rows.T
    ridge = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram + ridge, rows @ target.T).T


def point_importance() -> Array:
    """Weight [478] of each landmark in the expression fit: lips 3, lids 4, irises nearly none (gaze is its own)."""
    importance = np.ones(POINTS)
    importance[list(LIPS)] = 3
    importance[[*LEFT_EYE_OUTLINE, *RIGHT_EYE_OUTLINE]] = 4
    importance[list(IRISES)] = 0.1
    return importance


def pick_neutral(pixels: Array, weight: Array) -> Array:
    """Indices of frames with a nearly closed mouth and open eyes."""
    gap = np.linalg.norm(pixels[:, UPPER_LIP, :2] - pixels[:, LOWER_LIP, :2], axis=1)
    lids = lid_ratio(pixels, LEFT_EYE) + lid_ratio(pixels, RIGHT_EYE)
    seen = weight > 0.3
    if not seen.any():
        return np.arange(len(pixels))
    good = seen & (gap <= np.quantile(gap[seen], 0.25)) & (lids >= np.quantile(lids[seen], 0.4))
    return np.flatnonzero(good if good.sum() >= 3 else seen)


def lid_ratio(pixels: Array, eye: tuple[int, ...]) -> Array:
    """Gap between the lids over the eye's width [T]."""
    outer, inner, upper, lower, _ = eye
    width = np.linalg.norm(pixels[:, outer, :2] - pixels[:, inner, :2], axis=1).clip(1e-6)
    return np.linalg.norm(pixels[:, upper, :2] - pixels[:, lower, :2], axis=1) / width


def shut_lid(ratio: Array, usual: float) -> float:
    """This person's lid ratio when shut, from their blinks; the common one when they do not blink."""
    least = float(np.quantile(ratio, 0.01)) if len(ratio) >= BLINK_FRAMES else usual
    return float(np.clip(least, *SHUT_LIDS)) if least < BLINK * usual else CLOSED_LID


def measure_eyes(pixels: Array) -> Array:
    """Lid openness left, right (0 shut .. 1 this person's usual) and gaze x, y (-1..1), [T, 4]."""
    lids, gazes = [], []
    for eye in (LEFT_EYE, RIGHT_EYE):
        ratio = lid_ratio(pixels, eye)
        usual = max(float(np.median(ratio)), CLOSED_LID + 0.03)
        shut = shut_lid(ratio, usual)
        lids.append(((ratio - shut) / (usual - shut)).clip(0, 1.4))
        outer, inner, _, _, iris = eye
        middle = (pixels[:, outer, :2] + pixels[:, inner, :2]) / 2
        width = np.linalg.norm(pixels[:, outer, :2] - pixels[:, inner, :2], axis=1).clip(1e-6)
        gazes.append((pixels[:, iris, :2] - middle) / width[:, None])
    gaze = (4 * np.mean(gazes, axis=0)).clip(-1, 1)
    return np.concatenate([np.stack(lids, 1), gaze], 1)
