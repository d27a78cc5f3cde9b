"""The synthetic actor's face: a mesh of the detector's points that can speak and blink."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar.core.landmarks import (
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    LOWER_LIP,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
    UPPER_LIP,
    WHOLE_LOWER_LIP,
)
from avatar.core.motion_space import MotionSpace

Array = np.ndarray

UPPER_LIDS, LOWER_LIDS = (LEFT_UPPER_LID, RIGHT_UPPER_LID), (LEFT_LOWER_LID, RIGHT_LOWER_LID)
MOST_OPEN_CM = 1.5


@dataclass(frozen=True)
class ActorFace:
    """Rest shape and triangles."""

    rest: Array  # [478, 3] cm, mouth closed
    triangles: Array  # [F, 3] of the detector's mesh, without eyes and mouth; their normals leave the face


def make_face(space: MotionSpace, random: np.random.Generator) -> ActorFace:
    """The mean face in proportions of its own."""
    rest = space.template.double().numpy().copy()
    rest *= 1 + random.normal(0, 0.015, 3)
    gap = rest[LOWER_LIP, 1] - rest[UPPER_LIP, 1]
    rest[list(WHOLE_LOWER_LIP), 1] -= gap * 0.95
    return ActorFace(rest, _orient(rest, space.triangles.numpy()))


def _orient(points: Array, triangles: Array) -> Array:
    """Turn triangles so that their normals leave the face (it looks to -z; its middle lies behind it)."""
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = (normals * (corners.mean(1) - [0, 3.5, 9])).sum(1) > 0
    return np.where(outward[:, None], triangles, triangles[:, ::-1])


def move_face(face: ActorFace, articulation: Array, shut: float) -> Array:
    """The face [478, 3] cm with an articulation [5] (see avatar.core.articulation) and lids shut so far, 0..1."""
    opening, width, protrusion, to_teeth, closure = articulation
    points = face.rest.copy()
    mouth = (points[UPPER_LIP] + points[LOWER_LIP]) / 2
    near = np.exp(-np.square((points[:, :2] - mouth[:2]) / 3.4).sum(1))
    points[:, 0] += points[:, 0] * near * (0.32 * (width - 0.5) - 0.22 * protrusion)
    points[:, 2] -= near * 0.55 * protrusion
    drop = MOST_OPEN_CM * max(0.0, opening - 0.06) * (1 - 0.9 * closure)
    jaw = np.clip((points[:, 1] - mouth[1] - 0.9) / 1.2, 0, 1) * np.exp(-np.square(points[:, 0] / 6.5))
    jaw[list(WHOLE_LOWER_LIP)] = np.clip(1.15 - np.square(np.abs(face.rest[list(WHOLE_LOWER_LIP), 0]) / 3.3), 0.1, 1)
    points[:, 1] += jaw * drop
    points[:, 2] += jaw * drop * 0.25
    lower = list(WHOLE_LOWER_LIP)
    points[lower, 1] -= 0.12 * to_teeth
    points[lower, 2] += 0.2 * to_teeth
    for upper_lid, lower_lid in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        points[list(upper_lid)] += 0.97 * shut * (points[list(lower_lid)] - points[list(upper_lid)])
    return points
