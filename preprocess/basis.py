"""Many clips -> the MotionSpace asset: a mean face and its modes of motion. Made without any other face model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avatar.core.landmarks import (
    CHIN,
    FOREHEAD,
    LEFT_EYE,
    LEFT_EYE_OUTLINE,
    LIPS,
    POINTS,
    RIGHT_EYE,
    RIGHT_EYE_OUTLINE,
    RIGID,
)
from avatar.core.motion_space import MotionSpace, load_space
from avatar.core.take import open_take, read_track
from preprocess.fit import (
    FOCAL_PER_SIZE,
    fit_modes,
    fit_poses,
    fixed_camera,
    measure_offsets,
    pick_neutral,
    point_importance,
)

EYE_DISTANCE_CM = 9.0  # between the outer eye corners of the mean adult face
FRAMES_PER_CLIP = 400
LID_MODES = 2

Array = np.ndarray


def fit_space(takes: Sequence[Path], *, modes: int = 32) -> MotionSpace:
    """MotionSpace from the landmarks of Takes: lid modes first, then PCA over all people, unit variance each."""
    clips = [(take.camera.size, read_track(take).landmarks.double().numpy()) for take in map(open_take, takes)]
    return space_from_landmarks(clips, modes=modes)


def space_from_landmarks(clips: Sequence[tuple[int, Array]], *, modes: int = 32) -> MotionSpace:
    """The same from (picture size, landmarks [T, 478, 3] px) of each clip."""
    clips = [(size, points[:: max(1, len(points) // FRAMES_PER_CLIP)]) for size, points in clips]
    template = mean_face(clips)
    draft = _assemble(template, np.zeros((modes, *template.shape)))
    offsets = np.concatenate([_clip_offsets(size, points, draft) for size, points in clips])
    return _assemble(template, _find_modes(offsets, modes))


@dataclass(frozen=True)
class LeftOut:
    """How well the modes of everybody else reconstruct one person."""

    name: str
    frames: int
    face_px: float  # rms over all points, in a picture 512 wide
    lips_px: float
    kept: float  # share of the variance


def leave_one_out(takes: Sequence[Path], *, modes: int = 32) -> list[LeftOut]:
    """Fit the modes without each person in turn and reconstruct that person's frames by them (ridge, as the tracker).

    Give one Take per person: of two, one would be reconstructed by modes of the other.
    """
    clips = [(take.camera, read_track(take)) for take in map(open_take, takes)]
    thinned = [
        (camera, track.landmarks.double().numpy()[:: max(1, len(track) // FRAMES_PER_CLIP)]) for camera, track in clips
    ]
    draft = _assemble(mean_face([(c.size, p) for c, p in thinned]), np.zeros((modes, POINTS, 3)))
    offsets = [_clip_offsets(camera.size, points, draft) for camera, points in thinned]
    left = []
    for index, path in enumerate(takes):
        basis = _find_modes(np.concatenate(offsets[:index] + offsets[index + 1 :]), modes)
        truth = offsets[index]
        error = truth - np.einsum("tk,kvc->tvc", fit_modes(truth, basis), basis)
        # px of a face at its usual distance: twice the picture's side of focal length
        scale = FOCAL_PER_SIZE * 512 / float(clips[index][1].translation[:, 2].median())
        rms = scale * np.sqrt(np.square(error[..., :2]).sum(-1).mean(0))
        kept = 1 - float(np.square(error).sum() / np.square(truth - truth.mean(0)).sum())
        face, lips = (float(np.sqrt(np.square(part).mean())) for part in (rms, rms[list(LIPS)]))
        left.append(LeftOut(path.stem, len(truth), face, lips, kept))
    return left


def mean_face(clips: Sequence[tuple[int, Array]]) -> Array:
    """Procrustes mean of the detector's own 3D points over all clips, upright, in cm."""
    faces = []
    for size, points in clips:
        centered = points - np.array([size / 2, size / 2, 0])
        faces += [_to_unit(face) for face in centered[:: max(1, len(points) // 40)]]
    mean = faces[0]
    for _ in range(4):
        mean = _to_unit(np.mean([_align(face, mean) for face in faces], axis=0))
    across = mean[RIGHT_EYE.outer] - mean[LEFT_EYE.outer]
    across /= np.linalg.norm(across)
    down = mean[CHIN] - mean[FOREHEAD]
    down -= across * (down @ across)
    down /= np.linalg.norm(down)
    upright = mean @ np.stack([across, down, np.cross(across, down)], 1)
    upright = (upright + upright[_mirror_order(upright)] * np.array([-1, 1, 1])) / 2
    return upright - upright[list(RIGID)].mean(0)


def _mirror_order(face: Array) -> Array:
    """For each point the one on the other side of the face."""
    mirrored = face * np.array([-1, 1, 1])
    return np.linalg.norm(face[:, None] - mirrored[None], axis=-1).argmin(0)


def _to_unit(face: Array) -> Array:
    centered = face - face[list(RIGID)].mean(0)
    return centered * EYE_DISTANCE_CM / np.linalg.norm(centered[LEFT_EYE.outer] - centered[RIGHT_EYE.outer])


def _align(face: Array, target: Array) -> Array:
    """Rotate a centred face onto another by their rigid points (Kabsch)."""
    ids = list(RIGID)
    u, _, v = np.linalg.svd(face[ids].T @ target[ids])
    u[:, 2] *= np.sign(np.linalg.det(u @ v))
    return face @ u @ v


def _clip_offsets(size: int, points: Array, space: MotionSpace) -> Array:
    seen = points.any(axis=(1, 2))
    pixels, weight = points[seen], np.ones(int(seen.sum()))
    camera = fixed_camera(size)
    poses, identity = fit_poses(pixels[..., :2], weight, space, camera)
    offsets = measure_offsets(pixels[..., :2], poses, identity, camera)
    rest = np.median(offsets[pick_neutral(pixels, weight)], axis=0)
    return np.clip(offsets - rest, -3, 3)


def _find_modes(offsets: Array, modes: int) -> Array:
    """Lid modes, then principal components of what they leave; [K, 478, 3] cm per standard deviation."""
    importance = np.repeat(point_importance(), 3)
    rows = offsets.reshape(len(offsets), -1) * importance
    found = []
    for outline, eye in ((LEFT_EYE_OUTLINE, LEFT_EYE), (RIGHT_EYE_OUTLINE, RIGHT_EYE)):
        gap = offsets[:, eye.lower, 1] - offsets[:, eye.upper, 1]
        gap = (gap - gap.mean()) / gap.std()
        mode = np.zeros((offsets.shape[1], 3))
        mode[list(outline)] = (gap[:, None] * rows).mean(0).reshape(-1, 3)[list(outline)]
        found.append(mode.reshape(-1))
        direction = found[-1] / np.linalg.norm(found[-1])
        rows = rows - np.outer(rows @ direction, direction)
    _, values, vectors = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    rest = modes - LID_MODES
    found += list(vectors[:rest] * (values[:rest] / np.sqrt(len(rows)))[:, None])
    return (np.stack(found) / importance).reshape(modes, -1, 3)


def _assemble(template: Array, basis: Array) -> MotionSpace:
    return MotionSpace(
        id="",
        template=torch.from_numpy(template).float(),
        basis=torch.from_numpy(basis).float(),
        triangles=load_space().triangles,
        lips=torch.tensor(LIPS),
        rigid=torch.tensor(RIGID),
    )
