"""One mesh, and pose and expression of each photo, fitted to few pictures of a person.

In a clip the neutral face is what frames have in common. One picture does not say whether a mouth is wide by nature or
by a smile: priors decide. Expressions have the MotionSpace's variances; how people's faces differ is a smooth,
symmetric field over the face (a Gaussian process). It cannot part lips or lids, whose edges lie together: that is left
to the expression.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial import cKDTree
from torch import Tensor

from avatar.core.geometry import Camera
from avatar.core.landmarks import LOWER_LIP, UPPER_LIP
from avatar.core.motion_space import MotionSpace
from avatar.core.take import Track
from preprocess.fit import (
    HUBER_PX,
    first_poses,
    fit_identity,
    fixed_camera,
    measure_eyes,
    measure_offsets,
    refine_poses,
    to_rays,
)
from preprocess.rotations import Poses

FPS = 25.0  # of the avatar; photos have no times
PERSON_CM, PERSON_REACH_CM = 0.35, 2.5  # deviation of people's faces from the template; how far it is alike
NOISE_CM = 0.06  # of a landmark: 1 px in a face of 250
SHUT_CM = 0.03  # gap of the landmarks of lips that touch
MOST_EXPRESSION = 4.0  # deviations; beyond, it is no face of this space
LOOSE = 0.1  # ridge that hardly holds modes back
ALTERNATIONS = 3

Array = np.ndarray


def fit_photos(landmarks: Tensor, space: MotionSpace, size: int) -> tuple[Track, Camera, float]:
    """Fit landmarks [N, 478, 3] px of N photos of `size` px a side, the torso at rest in each.

    Expression is counted as in clips: at 0 the person's lips are shut.
    Returns: the track, its camera, and how unlike a human face it is: rms cm that no mode explains.
    """
    pixels, camera, template = landmarks.numpy(), fixed_camera(size), space.template.double().numpy()
    basis = space.basis.double().numpy()
    poses = _fit_poses(pixels, template, space.rigid.numpy(), camera)
    offsets = measure_offsets(pixels[..., :2], poses, template, camera)
    expression = _explain(offsets, basis, template)
    person = offsets - np.einsum("nk,kvc->nvc", expression, basis)
    neutral = template + person.mean(0)
    rest = shut_lips(neutral, expression[0], basis)
    track = Track(
        landmarks=landmarks,
        rotation=torch.from_numpy(poses.rotation).float(),
        translation=torch.from_numpy(poses.translation).float(),
        expression=torch.from_numpy(expression - rest).float(),
        eyes=torch.from_numpy(measure_eyes(pixels)).float(),
        torso=torch.zeros(len(pixels), 4),
        neutral=torch.from_numpy(neutral + np.einsum("k,kvc->vc", rest, basis)).float(),
        confidence=torch.ones(len(pixels)),
        fps=FPS,
    )
    return track, camera, _unlike(offsets, basis)


def _unlike(offsets: Array, basis: Array) -> float:
    """What modes of any strength leave of offsets [N, 478, 3]: rms cm. People's features lie nearer to each other."""
    rows, values = basis.reshape(len(basis), -1), offsets.reshape(len(offsets), -1)
    modes = np.linalg.solve(rows @ rows.T + LOOSE * np.eye(len(rows)), rows @ values.T)
    return float(np.sqrt(np.square(values - modes.T @ rows).mean() * 3))


def shut_lips(mesh: Array, expression: Array, basis: Array) -> Array:
    """The expression [K] with lips shut, of a mesh [478, 3] cm: the likeliest change that closes the gap."""
    reading = basis[:, LOWER_LIP, 1] - basis[:, UPPER_LIP, 1]
    gap = mesh[LOWER_LIP, 1] - mesh[UPPER_LIP, 1] + expression @ reading
    return np.asarray(expression - max(0.0, gap - SHUT_CM) * reading / np.square(reading).sum())


def _fit_poses(pixels: Array, template: Array, rigid: Array, camera: Camera) -> Poses:
    """Poses [N], with an identity alike on both sides of the face: else it would take in how the head is turned."""
    rays = to_rays(pixels[:, rigid, :2].astype(np.float64), camera)
    poses, identity, other = first_poses(rays, template, rigid), template, mirror_points(template)
    for _ in range(ALTERNATIONS):
        poses = refine_poses(rays, identity[rigid], poses, HUBER_PX / camera.focal)
        found = fit_identity(pixels, np.ones(len(pixels)), template, poses, camera) - template
        identity = template + (found + found[other] * np.array([-1.0, 1.0, 1.0])) / 2
    return poses


def mirror_points(template: Array) -> Array:
    """Which point [478] of the template [478, 3] lies opposite to each."""
    middle = template[:, 0].mean()
    opposite = template * np.array([-1.0, 1.0, 1.0]) + np.array([2 * middle, 0, 0])
    return np.asarray(cKDTree(template).query(opposite)[1])


def _explain(offsets: Array, basis: Array, template: Array) -> Array:
    """The likeliest expressions [N, K] for offsets [N, 478, 3] cm from the template.

    offset = person + expression @ basis + noise; all Gaussian, the person shared by the photos. Eliminating the person
    leaves a linear system in the expressions.
    """
    count, points, modes = len(offsets), offsets.shape[1], len(basis)
    shared = _person_covariance(template)
    covariance = np.tile(shared, (count, count)) + NOISE_CM**2 * np.eye(count * points)
    factor = cho_factor(covariance)
    columns = np.zeros((count * points, count * modes, 3))
    for photo in range(count):
        columns[photo * points : (photo + 1) * points, photo * modes : (photo + 1) * modes] = basis.transpose(1, 0, 2)
    values = offsets.reshape(count * points, 3)
    normal, right = np.eye(count * modes), np.zeros(count * modes)
    for axis in range(3):
        solved = cho_solve(factor, columns[..., axis])
        normal += columns[..., axis].T @ solved
        right += solved.T @ values[:, axis]
    expression = np.linalg.solve(normal, right).clip(-MOST_EXPRESSION, MOST_EXPRESSION)
    return np.asarray(expression.reshape(count, modes))


def _person_covariance(template: Array) -> Array:
    """[478, 478] cm^2 of how people's faces differ from the template, in each axis."""
    apart = np.square(template[:, None] - template[None]).sum(-1)
    return PERSON_CM**2 * np.exp(-0.5 * apart / PERSON_REACH_CM**2)
