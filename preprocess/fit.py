"""Landmarks of a whole clip -> one neutral mesh, and pose, expression and eyes of every frame. No face model is needed.

The focal length cannot be observed in talking-head clips, so it is fixed at twice the picture's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from avatar.core.geometry import Camera, project, to_camera, to_rays
from avatar.core.landmarks import (
    EYE_CORNERS,
    IRISES,
    LEFT_EYE,
    LEFT_EYE_OUTLINE,
    LIPS,
    LOWER_LIP,
    MESH_POINTS,
    POINTS,
    RIGHT_EYE,
    RIGHT_EYE_OUTLINE,
    UPPER_LIP,
    Eye,
)
from avatar.core.motion_space import MotionSpace
from avatar.core.take import Track
from preprocess.parallel import map_chunks
from preprocess.rotations import Poses, exponential, nearest_rotation
from preprocess.take_folder import ReadFrame
from preprocess.texture import Footage, Mesh, refine_by_texture

FOCAL_PER_SIZE = 2.0
NEUTRAL_FRAMES = 1000  # that the neutral is the median of
ALTERNATIONS = 2  # of poses and identity
ITERATIONS = 5  # of Gauss-Newton, which starts within a few degrees
HUBER_PX = 2.0  # residuals of landmarks from which they count as outliers
IDENTITY_PRIOR_CM = (0.35, 0.35, 0.12)  # depth can hardly be seen in a talking head, so the prior is tighter there
EFFECTIVE_FRAMES = 50.0  # frames of one clip are correlated
SMOOTHING = 1.0  # frames; of the pose only: filtering lips or lids would lose closures
RIDGE = 0.02  # of the mean square of a mode: keeps modes that look alike from growing against each other
BLINK = 0.6  # of the usual lid ratio, and below: a blink
BLINK_FRAMES = 50
SHUT_LIDS = (0.04, 0.16)  # lid ratios that a shut eye may have
CLOSED_LID = 0.09  # lid gap over eye width of a shut eye

Array = np.ndarray


@dataclass(frozen=True)
class Texture:
    """The pictures that poses are refined on."""

    read: ReadFrame  # grey
    joined: Array  # [T - 1] bool: whether a frame and the next belong to the same shot


def fit_track(
    landmarks: Tensor,
    confidence: Tensor,
    space: MotionSpace,
    *,
    size: int,
    fps: float,
    texture: Texture | None = None,
) -> tuple[Track, Camera]:
    """Fit a clip with landmarks [T, 478, 3] px of pictures of `size` px a side, and confidence [T] 0..1.

    texture: poses are refined on it; without it they are smoothed over time.
    Returns: the track (torso at rest) and its camera.
    """
    pixels, camera = landmarks.numpy(), fixed_camera(size)
    weight = confidence.double().numpy()
    poses, identity = fit_poses(pixels, weight, space, camera)
    if texture is None:
        poses = smooth_poses(poses)
    else:
        mesh = Mesh(identity[:MESH_POINTS], space.triangles.numpy(), space.rigid.numpy(), camera)
        poses = refine_by_texture(Footage(texture.read, pixels[..., :2], weight, texture.joined), mesh, poses)
        identity = fit_identity(pixels, weight, space.template.double().numpy(), poses, camera)
    return _track(landmarks, confidence, space, poses, identity, camera, fps), camera


def fixed_camera(size: int) -> Camera:
    """The camera that all clips are taken to be filmed with, for pictures of `size` px a side."""
    return Camera(FOCAL_PER_SIZE * size, size)


def fit_to_poses(
    landmarks: Tensor, confidence: Tensor, space: MotionSpace, poses: Poses, camera: Camera, *, fps: float
) -> Track:
    """As `fit_track` with the poses of another tracker."""
    template, weight = space.template.double().numpy(), confidence.double().numpy()
    identity = fit_identity(landmarks.numpy(), weight, template, poses, camera)
    return _track(landmarks, confidence, space, poses, identity, camera, fps)


def _track(
    landmarks: Tensor,
    confidence: Tensor,
    space: MotionSpace,
    poses: Poses,
    identity: Array,
    camera: Camera,
    fps: float,
) -> Track:
    pixels, basis = landmarks.numpy(), space.basis.double().numpy()

    def offsets(frames: slice | Array) -> Array:
        return measure_offsets(pixels[frames, :, :2], poses.at(frames), identity, camera)

    neutral = pick_neutral(pixels, confidence.numpy())
    rest = np.median(offsets(neutral[:: -(-len(neutral) // NEUTRAL_FRAMES)]), axis=0)
    expression = map_chunks(lambda part: fit_modes(offsets(part) - rest, basis), len(pixels))
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


def fit_poses(pixels: Array, weight: Array, space: MotionSpace, camera: Camera) -> tuple[Poses, Array]:
    """Fit poses and one identity in turn, to landmarks [T, 478, 2..3] px of weight [T] 0..1.

    Returns: the poses, and the person's mean mesh [478, 3] cm in the head frame.
    """
    rigid = space.rigid.numpy()
    template = space.template.double().numpy()
    identity = template.copy()
    rays = to_rays(pixels[:, rigid, :2].astype(np.float64), camera)
    poses = first_poses(rays, template, rigid)
    for _ in range(ALTERNATIONS):
        work = partial(_refine_part, rays, identity[rigid], poses, HUBER_PX / camera.focal)
        parts = map_chunks(work, len(pixels))
        poses = Poses(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("rotation", "translation"))
        )
        identity = fit_identity(pixels, weight, template, poses, camera)
    return poses, identity


def smooth_poses(poses: Poses) -> Poses:
    """A Gaussian over time, where there is no texture to refine poses on."""
    if len(poses.rotation) <= 3:
        return poses
    translation = gaussian_filter1d(poses.translation, SMOOTHING, axis=0, mode="nearest")
    return Poses(nearest_rotation(gaussian_filter1d(poses.rotation, SMOOTHING, axis=0, mode="nearest")), translation)


def first_poses(rays: Array, template: Array, rigid: Array) -> Poses:
    """Frontal heads at the right distance and place, where Gauss-Newton converges from.

    rays: [T, R, 2] of the rigid landmarks [R], see `to_rays`; template: [478, 3] cm.
    """
    left, right = EYE_CORNERS
    across = rays[:, int(np.flatnonzero(rigid == right)[0])] - rays[:, int(np.flatnonzero(rigid == left)[0])]
    depth = np.linalg.norm(template[left] - template[right]) / np.linalg.norm(across, axis=1).clip(1e-4)
    translation = np.concatenate([rays.mean(1) * depth[:, None], depth[:, None]], 1)
    roll = np.arctan2(across[:, 1], across[:, 0])
    zero, one = np.zeros_like(roll), np.ones_like(roll)
    cos, sin = np.cos(roll), np.sin(roll)
    rotation = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).reshape(-1, 3, 3)
    return Poses(rotation, translation - np.einsum("tij,j->ti", rotation, template[rigid].mean(0)))


def _refine_part(rays: Array, points: Array, poses: Poses, huber: float, part: slice) -> Poses:
    return refine_poses(rays[part], points, poses.at(part), huber)


def refine_poses(rays: Array, points: Array, poses: Poses, huber: float) -> Poses:
    """Gauss-Newton on all frames at once, with Huber weights; rays [T, R, 2], points [R, 3] cm, huber as the rays."""
    rotation, translation = poses.rotation, poses.translation
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
    return Poses(rotation, translation)


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


def fit_identity(pixels: Array, weight: Array, template: Array, poses: Poses, camera: Camera) -> Array:
    """A person's mean mesh [478, 3] cm: linear least squares per point, with a prior at the template [478, 3] cm.

    pixels: landmarks [T, 478, 2..3] px, weight: [T] 0..1.
    """

    def equations(part: slice) -> tuple[Array, Array]:
        normal, right = np.zeros((POINTS, 3, 3)), np.zeros((POINTS, 3))
        rays = to_rays(pixels[part, :, :2].astype(np.float64), camera)
        rotation, translation = poses.rotation[part], poses.translation[part]
        for axis in range(2):
            row = rotation[:, None, axis] - rays[..., axis, None] * rotation[:, None, 2]  # [T, V, 3]
            value = rays[..., axis] * translation[:, None, 2] - translation[:, None, axis]
            heavy = (row * weight[part, None, None]).transpose(1, 2, 0)  # [V, 3, T]
            normal += heavy @ row.transpose(1, 0, 2)
            right += (heavy @ value.T[..., None])[..., 0]
        return normal, right

    parts = map_chunks(equations, len(pixels))
    normal, right = (np.sum(sums, axis=0) for sums in zip(*parts, strict=True))
    depth = np.median(poses.translation[:, 2])
    # one pixel of noise, and as many independent frames as a clip really has
    strength = max(weight.sum(), 1) / EFFECTIVE_FRAMES * (depth / camera.focal) ** 2
    prior = np.diag(strength / np.square(IDENTITY_PRIOR_CM))
    return np.linalg.solve(normal + prior, (right + template @ prior)[..., None])[..., 0]


def measure_offsets(pixels: Array, poses: Poses, identity: Array, camera: Camera) -> Array:
    """How far landmarks [T, 478, 2] px lie from the posed identity [478, 3] cm, in the image plane.

    Returns: [T, 478, 3] cm, in the head frame.
    """
    posed = to_camera(identity, poses.rotation, poses.translation)
    shift = (pixels - project(posed, camera)) * posed[..., 2:] / camera.focal
    return shift @ poses.rotation[:, :2]


def fit_modes(offsets: Array, basis: Array) -> Array:
    """Coefficients [T, K] of a basis [K, 478, 3] for offsets [T, 478, 3] cm: ridge, with the weights below."""
    importance = point_importance()[:, None]
    rows = (basis * importance).reshape(len(basis), -1)
    target = (offsets * importance).reshape(len(offsets), -1)
    gram = rows @ rows.T
    ridge = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram + ridge, rows @ target.T).T


def point_importance() -> Array:
    """Weight [478] of each landmark in the expression fit: most on lips and lids, whose motion is small and matters.

    Irises have nearly none: gaze is measured by itself.
    """
    importance = np.ones(POINTS)
    importance[list(LIPS)] = 3
    importance[[*LEFT_EYE_OUTLINE, *RIGHT_EYE_OUTLINE]] = 4
    importance[list(IRISES)] = 0.1
    return importance


def pick_neutral(pixels: Array, weight: Array) -> Array:
    """Indices of frames with a nearly closed mouth and open eyes; landmarks [T, 478, 2..3] px, weight [T] 0..1."""
    gap = np.linalg.norm(pixels[:, UPPER_LIP, :2] - pixels[:, LOWER_LIP, :2], axis=1)
    lids = lid_ratio(pixels, LEFT_EYE) + lid_ratio(pixels, RIGHT_EYE)
    seen = weight > 0.3
    if not seen.any():
        return np.arange(len(pixels))
    good = seen & (gap <= np.quantile(gap[seen], 0.25)) & (lids >= np.quantile(lids[seen], 0.4))
    return np.flatnonzero(good if good.sum() >= 3 else seen)


def lid_ratio(pixels: Array, eye: Eye) -> Array:
    """Gap between the lids over the eye's width [T] (the eye aspect ratio), of landmarks [T, 478, 2..3] px."""
    return np.linalg.norm(pixels[:, eye.upper, :2] - pixels[:, eye.lower, :2], axis=1) / _eye_width(pixels, eye)


def _eye_width(pixels: Array, eye: Eye) -> Array:
    return np.linalg.norm(pixels[:, eye.outer, :2] - pixels[:, eye.inner, :2], axis=1).clip(1e-6)


def shut_lid(ratio: Array, usual: float) -> float:
    """This person's lid ratio when shut, from their blinks; the common one when they do not blink."""
    least = float(np.quantile(ratio, 0.01)) if len(ratio) >= BLINK_FRAMES else usual
    return float(np.clip(least, *SHUT_LIDS)) if least < BLINK * usual else CLOSED_LID


def measure_eyes(pixels: Array) -> Array:
    """Lid openness left, right (0 shut .. 1 this person's usual) and gaze x, y (-1..1), [T, 4].

    pixels: landmarks [T, 478, 2..3] px.
    """
    lids, gazes = [], []
    for eye in (LEFT_EYE, RIGHT_EYE):
        ratio = lid_ratio(pixels, eye)
        usual = max(float(np.median(ratio)), CLOSED_LID + 0.03)
        shut = shut_lid(ratio, usual)
        lids.append(((ratio - shut) / (usual - shut)).clip(0, 1.4))
        middle = (pixels[:, eye.outer, :2] + pixels[:, eye.inner, :2]) / 2
        gazes.append((pixels[:, eye.iris, :2] - middle) / _eye_width(pixels, eye)[:, None])
    gaze = (4 * np.mean(gazes, axis=0)).clip(-1, 1)
    return np.concatenate([np.stack(lids, 1), gaze], 1)
