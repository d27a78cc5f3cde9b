"""The synthetic actor's shape and paint: a mesh that can speak, blink and turn, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar.core.landmarks import (
    BETWEEN_LIP_OUTLINES,
    INNER_LIPS,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    LOWER_LIP,
    MESH_POINTS,
    OUTER_LIPS,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
    UPPER_LIP,
    WHOLE_LOWER_LIP,
)
from avatar.core.motion_space import MotionSpace

Array = np.ndarray

UPPER_LIDS, LOWER_LIDS = (LEFT_UPPER_LID, RIGHT_UPPER_LID), (LEFT_LOWER_LID, RIGHT_LOWER_LID)
MOST_OPEN_CM = 1.5
SKIN, LIPS, HAIR = np.array([214.0, 164, 138]), np.array([178.0, 92, 88]), np.array([62.0, 43, 33])


@dataclass(frozen=True)
class ActorFace:
    """Rest shape, fine triangles and their paint."""

    rest: Array  # [478, 3] cm, mouth closed
    coarse: Array  # [F, 3] triangles of the detector's mesh
    weights: Array  # [V, 468] fine points as weighted means of the mesh's
    fine: Array  # [G, 3] triangles of the fine points
    paint: Array  # [G, 3] RGB 0..255
    skull: Array  # [H, 3] cm: hair, ears, back of the head
    skull_normals: Array  # [H, 3]
    skull_triangles: Array  # [J, 3]
    skull_paint: Array  # [J, 3]


def make_face(space: MotionSpace, seed: int) -> ActorFace:
    """A face of its own for each seed: proportions, freckles, hair."""
    random = np.random.default_rng(seed)
    rest = space.template.double().numpy().copy()
    rest *= 1 + random.normal(0, 0.015, 3)
    gap = rest[LOWER_LIP, 1] - rest[UPPER_LIP, 1]
    rest[list(WHOLE_LOWER_LIP), 1] -= gap * 0.95
    coarse = _orient(rest, space.triangles.numpy())
    weights, fine = _subdivide(*_subdivide(np.eye(MESH_POINTS), coarse))
    return ActorFace(rest, coarse, weights, fine, _paint(rest, weights, fine, random), *_make_skull(random))


def _orient(points: Array, triangles: Array) -> Array:
    """Turn triangles so that their normals leave the face (it looks to -z; its middle lies behind it)."""
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = (normals * (corners.mean(1) - [0, 3.5, 9])).sum(1) > 0
    return np.where(outward[:, None], triangles, triangles[:, ::-1])


def smooth_normals(points: Array, triangles: Array) -> Array:
    """Unit normals [V, 3] of a mesh, averaged over the triangles around each point."""
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(points)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], normals)
    return total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-9)


def _subdivide(weights: Array, triangles: Array) -> tuple[Array, Array]:
    """Each triangle into four, by the middles of its edges."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    middle = index.reshape(3, -1).T + len(weights)
    a, b, c = triangles.T
    ab, bc, ca = middle.T
    corners = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    fine = np.concatenate([np.stack(corner, 1) for corner in corners])
    return np.concatenate([weights, weights[unique].mean(1)]), fine


def _paint(rest: Array, weights: Array, fine: Array, random: np.random.Generator) -> Array:
    centers = (weights @ rest[:MESH_POINTS])[fine].mean(1)
    noise = _noise(centers, random, 1.5) * 5 + random.normal(0, 2.0, len(centers))
    paint = SKIN + noise[:, None]
    for side in (-1, 1):
        blush = np.exp(-np.square((centers - [side * 4.2, 3.4, 0]) / [1.7, 1.5, 9]).sum(1))
        paint += blush[:, None] * [10, -14, -12]
    freckles = (random.random(len(centers)) < 0.035) & (np.abs(centers[:, 1] - 2.5) < 2.2)
    paint[freckles] *= 0.86
    on_lips = np.zeros(MESH_POINTS)
    on_lips[list({*INNER_LIPS, *BETWEEN_LIP_OUTLINES, *OUTER_LIPS, *WHOLE_LOWER_LIP})] = 1
    share = (weights @ on_lips)[fine].mean(1) > 0.92
    paint[share] = LIPS + noise[share, None] * 0.5
    return paint


def _noise(points: Array, random: np.random.Generator, scale: float) -> Array:
    """Smooth noise in space, about unit size: a few random plane waves."""
    waves = random.normal(0, scale, (12, 3))
    phases = random.uniform(0, 2 * np.pi, 12)
    return np.sin(points @ waves.T + phases).sum(1) / np.sqrt(6)


def _make_skull(random: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    hair = _sphere((0, -1.2, 6.2), (8.1, 8.9, 8.0), 44, 64)
    keep = _is_hair(hair[0][hair[1]].mean(1))
    strands = 14 * np.sin(9 * np.arctan2(*hair[0][hair[1]].mean(1)[:, [0, 2]].T) + random.uniform(0, 6))
    hair_paint = HAIR + (strands + random.normal(0, 7, len(strands)))[:, None]
    head = _sphere((0, 0.8, 6.0), (7.5, 9.4, 7.4), 24, 32)
    ears = [_sphere((side * 7.6, 1.2, 6.2), (0.9, 2.0, 1.4), 10, 12) for side in (-1, 1)]
    points, normals, triangles, paint = [], [], [], []
    parts = [(hair[0], hair[1][keep], hair_paint[keep]), (*head, np.tile(SKIN * 0.92, (len(head[1]), 1)))]
    parts += [(*ear, np.tile(SKIN * 0.95, (len(ear[1]), 1))) for ear in ears]
    start = 0
    for part_points, part_triangles, part_paint in parts:
        points.append(part_points)
        normals.append(smooth_normals(part_points, part_triangles))
        triangles.append(part_triangles + start)
        paint.append(part_paint)
        start += len(part_points)
    return np.concatenate(points), np.concatenate(normals), np.concatenate(triangles), np.concatenate(paint)


def _is_hair(centers: Array) -> Array:
    """Above a hairline that rises over the forehead and falls behind the ears."""
    x, y, z = centers.T
    return y < -5.2 + 0.06 * np.square(x) * (z > 1) + np.clip(z - 1.5, 0, 6) * 1.5


def _sphere(center: tuple, radii: tuple, rings: int, sides: int) -> tuple[Array, Array]:
    polar = np.linspace(0, np.pi, rings)[:, None]
    around = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None]
    unit = np.stack(
        [np.sin(polar) * np.cos(around), -np.cos(polar) * np.ones_like(around), np.sin(polar) * np.sin(around)], -1
    )
    index = np.arange(rings * sides).reshape(rings, sides)
    right = np.roll(index, -1, 1)
    a, b, c, d = index[:-1].ravel(), right[:-1].ravel(), index[1:].ravel(), right[1:].ravel()
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    points = unit.reshape(-1, 3) * radii + center
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = (normals * (corners.mean(1) - center)).sum(1) > 0
    return points, np.where(outward[:, None], triangles, triangles[:, ::-1])


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
