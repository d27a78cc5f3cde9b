"""Landmarks of a whole clip -> one neutral, and pose, expression and eyes per frame. No face model is needed.

The focal length cannot be observed in talking-head clips, so it is fixed at twice the picture's side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from avatar.core.motion_space import MotionSpace
from avatar.core.take import Track
from preprocess.landmarks import IRISES, LEFT_EYE, LEFT_LID, LIPS, LOWER_LIP, POINTS, RIGHT_EYE, RIGHT_LID, UPPER_LIP
from preprocess.rotations import exponential, nearest_rotation
from preprocess.texture import Mesh, Poses, refine_by_texture

FOCAL_PER_SIZE = 2.0
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
    pixels = landmarks.double().numpy()
    focal = FOCAL_PER_SIZE * size
    weight = confidence.double().numpy()
    rotation, translation, identity = fit_poses(pixels[..., :2], weight, space, focal=focal, size=size)
    if texture is None:
        rotation, translation = smooth_poses(rotation, translation)
    else:
        mesh = Mesh(identity[:MESH_POINTS], space.triangles.numpy(), space.rigid.numpy(), focal, size)
        start = Poses(rotation, translation)
        poses = refine_by_texture(texture.read, pixels[..., :2], weight, texture.joined, mesh, start)
        rotation, translation = poses.rotation, poses.translation
        rays, template = (pixels[..., :2] - size / 2) / focal, space.template.double().numpy()
        identity = fit_identity(rays, weight, template, rotation, translation, focal)
    poses = Poses(rotation, translation)
    return _track(landmarks, confidence, space, poses, identity, focal=focal, size=size, fps=fps), focal


def fit_to_poses(
    landmarks: Tensor,
    confidence: Tensor,
    space: MotionSpace,
    rotation: Array,
    translation: Array,
    *,
    focal: float,
    size: int,
    fps: float,
) -> Track:
    """As `fit_track` with poses (rotation [T, 3, 3], translation [T, 3] cm) that somebody else tracked."""
    rays = (landmarks.double().numpy()[..., :2] - size / 2) / focal
    template, weight = space.template.double().numpy(), confidence.double().numpy()
    identity = fit_identity(rays, weight, template, rotation, translation, focal)
    return _track(landmarks, confidence, space, Poses(rotation, translation), identity, focal=focal, size=size, fps=fps)


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
    pixels, weight = landmarks.double().numpy(), confidence.double().numpy()
    rotation, translation = poses.rotation, poses.translation
    offsets = measure_offsets(pixels[..., :2], rotation, translation, identity, focal=focal, size=size)
    expression, neutral = fit_expression(pixels, offsets, weight, identity, space)
    eyes = measure_eyes(pixels)
    return Track(
        landmarks=landmarks,
        rotation=torch.from_numpy(rotation).float(),
        translation=torch.from_numpy(translation).float(),
        expression=torch.from_numpy(expression).float(),
        eyes=torch.from_numpy(eyes).float(),
        torso=torch.zeros(len(pixels), 4),
        neutral=torch.from_numpy(neutral).float(),
        confidence=confidence.float(),
        fps=fps,
    )


def fit_poses(
    pixels: Array, weight: Array, space: MotionSpace, *, focal: float, size: int
) -> tuple[Array, Array, Array]:
    """Alternate pose per frame and one identity: rotation [T, 3, 3], translation [T, 3] cm, identity [478, 3] cm."""
    rigid = space.rigid.numpy()
    template = space.template.double().numpy()
    rays = (pixels - size / 2) / focal
    identity = template.copy()
    rotation, translation = first_pose(rays, template, rigid)
    for _ in range(ALTERNATIONS):
        rotation, translation = refine_poses(rays[:, rigid], identity[rigid], rotation, translation, HUBER_PX / focal)
        identity = fit_identity(rays, weight, template, rotation, translation, focal)
    return rotation, translation, identity


def smooth_poses(rotation: Array, translation: Array) -> tuple[Array, Array]:
    """A Gaussian over time, where there is no texture to refine poses on."""
    if len(rotation) > 3:
        translation = gaussian_filter1d(translation, SMOOTHING, axis=0, mode="nearest")
        rotation = nearest_rotation(gaussian_filter1d(rotation, SMOOTHING, axis=0, mode="nearest"))
    return rotation, translation


def first_pose(rays: Array, template: Array, rigid: Array) -> tuple[Array, Array]:
    """Frontal heads at the right distance and place: a start that Gauss-Newton converges from."""
    width = np.linalg.norm(rays[:, 33] - rays[:, 263], axis=1).clip(1e-4)
    depth = np.linalg.norm(template[33] - template[263]) / width
    center = rays[:, rigid].mean(1)
    translation = np.concatenate([center * depth[:, None], depth[:, None]], 1)
    across = rays[:, 263] - rays[:, 33]
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
        normal = np.einsum("trci,trcj->tij", weighted, jacobian) + 1e-9 * np.eye(6)
        right = np.einsum("trci,trc->ti", weighted, residual)
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


def fit_identity(
    rays: Array, weight: Array, template: Array, rotation: Array, translation: Array, focal: float
) -> Array:
    """This person's mean mesh [478, 3]: linear least squares per point, with a prior at the template."""
    normal = np.zeros((POINTS, 3, 3))
    right = np.zeros((POINTS, 3))
    for axis in range(2):
        row = rotation[:, None, axis] - rays[..., axis, None] * rotation[:, None, 2]  # [T, V, 3]
        value = rays[..., axis] * translation[:, None, 2] - translation[:, None, axis]
        normal += np.einsum("t,tvi,tvj->vij", weight, row, row)
        right += np.einsum("t,tvi,tv->vi", weight, row, value)
    depth = np.median(translation[:, 2])
    # one pixel of noise, and as many independent frames as a clip really has
    strength = max(weight.sum(), 1) / EFFECTIVE_FRAMES * (depth / focal) ** 2
    prior = np.diag(strength / np.square(IDENTITY_PRIOR_CM))
    return np.linalg.solve(normal + prior, (right + template @ prior)[..., None])[..., 0]


def measure_offsets(
    pixels: Array, rotation: Array, translation: Array, identity: Array, *, focal: float, size: int
) -> Array:
    """How far each landmark stands from the posed identity, in the head frame [T, 478, 3] cm, in the image plane."""
    posed = np.einsum("tij,vj->tvi", rotation, identity) + translation[:, None]
    residual = pixels - (focal * posed[..., :2] / posed[..., 2:] + size / 2)
    shift = np.concatenate([residual * posed[..., 2:] / focal, np.zeros((*residual.shape[:2], 1))], -1)
    return np.einsum("tji,tvj->tvi", rotation, shift)


def fit_expression(
    pixels: Array, offsets: Array, weight: Array, identity: Array, space: MotionSpace
) -> tuple[Array, Array]:
    """Expression [T, K] by ridge onto the basis, and the neutral [478, 3]: nearly closed mouth, open eyes."""
    rest = np.median(offsets[pick_neutral(pixels, weight)], axis=0)
    return fit_modes(offsets - rest, space.basis.double().numpy()), identity + rest


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
    importance[[*LEFT_LID, *RIGHT_LID]] = 4
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
