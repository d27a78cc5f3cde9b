"""The whole head as one mesh: the face, the skull that goes on from its outline, and ears."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_matrix

from avatar.core.landmarks import FACE_OVAL, MESH_POINTS
from preprocess.actor_drawing.face import ActorFace
from preprocess.actor_drawing.looks import Look

Array = np.ndarray

CENTER = np.array([0.0, 1.5, 6.5])  # cm: the skull is seen from here in every direction without overlap
UP, DOWN, SIDE, BACK = 10.9, 7.6, 7.5, 7.5  # cm from there to the skull
RINGS = 9
HAIRLINE_CM = 1.3  # over which hair rises from the skin to its full height
FOLLOWED = 0.3  # rad from the face's outline at which the skull moves 1 / e as far as the outline does
EAR = np.array([7.25, 1.7, 7.3])  # cm, the middle of the right side's
EAR_HEIGHT, EAR_WIDTH, EAR_TURN = 3.15, 1.85, np.deg2rad(34)  # half the height and width; how far it stands off
LONG_CENTER, LONG_HAIR = np.array([0.0, 0.8, 8.2]), (8.6, 11.2, 4.5)  # cm
LONG_RINGS, LONG_SIDES = 24, 40
HIDDEN = 5.5, 5.0  # cm: from the middle and down, what the head always hides
EAR_RINGS, EAR_SIDES = 9, 28


@dataclass(frozen=True)
class Head:
    """How the mesh of a head follows the face, and what covers it."""

    follow: csr_matrix  # [V, 468] weights of the face's points' displacements
    rest: Array  # [V, 3] cm
    triangles: Array  # [F, 3]
    sums: csr_matrix  # [V, F] adds the triangles around a point
    hair: Array  # [V] share of hair, 0..1
    places: Array  # [V, 2] in the texture, 0..1

    def move(self, displacement: Array) -> Array:
        """Points [V, 3] for displacements [468, 3] of the face from its rest."""
        return self.rest + self.follow @ displacement

    def normals(self, points: Array) -> Array:
        """Unit normals [V, 3]."""
        corners = points[self.triangles]
        total = self.sums @ np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-9)


def make_head(face: ActorFace, look: Look) -> Head:
    """The head around a face, with ears and the volume of the look's hair."""
    points, triangles, follow = _join_skull(face)
    points, follow, triangles = _refine(points, follow, triangles)
    hair = (hair_depth(points, look) / HAIRLINE_CM).clip(0, 1)
    hair[:MESH_POINTS] = 0
    outward = _unit(points - CENTER)
    top = (-outward[:, 1]).clip(0, 1)
    lift = hair * (look.hair_cm * (0.75 + 0.5 * top))
    places = texture_places(points)
    points = points + lift[:, None] * outward
    for side in (-1, 1) if look.ears else ():
        ear, ear_triangles = _ear(side)
        triangles = np.concatenate([triangles, ear_triangles + len(points)])
        points = np.concatenate([points, ear])
        places = np.concatenate([places, ear_places(side, ear)])
    ears = len(points) - len(hair)
    follow = csr_matrix(np.concatenate([follow, np.zeros((ears, MESH_POINTS))]))
    rows = triangles.ravel()
    sums = csr_matrix(
        (np.ones(len(rows)), (rows, np.repeat(np.arange(len(triangles)), 3))), (len(points), len(triangles))
    )
    return Head(follow, points, triangles, sums, np.concatenate([hair, np.zeros(ears)]), places)


def make_long_hair(look: Look) -> tuple[Array, Array, Array, Array]:
    """Hair that hangs behind the face down to the chin: points [V, 3] cm, normals, triangles, places in the texture."""
    down = np.linspace(-1, 1, LONG_RINGS)[:, None]
    around = np.linspace(0, np.pi, LONG_SIDES)[None]  # the half towards the face, from one side to the other
    out = np.where(down < 0, np.sqrt(1 - np.square(down)), (1 - down.clip(0, 1) ** 6) ** (1 / 3))
    waves = 1 + 0.02 * np.sin(5 * around + 2 * down) + 0.012 * np.sin(13 * around)
    radius = np.array(LONG_HAIR) * waves[..., None]
    unit = np.stack([out * np.cos(around), down * np.ones_like(around), -out * np.sin(around)], -1)
    points = (unit * radius + LONG_CENTER).reshape(-1, 3)
    index = np.arange(LONG_RINGS * LONG_SIDES).reshape(LONG_RINGS, LONG_SIDES)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    corners = points[triangles]
    hidden = (np.abs(corners[..., 0]) < HIDDEN[0]).all(1) & (corners[..., 1] < HIDDEN[1]).all(1)
    triangles = triangles[~hidden]
    normals = _unit(unit / np.array(LONG_HAIR)).reshape(-1, 3)
    flat = np.stack([0.9 * points[:, 0], -4 + 0.35 * points[:, 1], np.full(len(points), 8.0)], 1)
    return points, normals, triangles, texture_places(flat)


def texture_places(points: Array) -> Array:
    """Where points [N, 3] of a head lie in its texture, 0..1: from the middle by their angle from straight ahead."""
    direction = _unit(points - [CENTER[0], 2.5, CENTER[2]])
    angle = np.arccos(-direction[:, 2].clip(-1, 1)) / np.pi
    across = direction[:, :2] / np.linalg.norm(direction[:, :2], axis=1, keepdims=True).clip(1e-9)
    return 0.5 + 0.49 * angle[:, None] * across


def ear_places(side: int, points: Array) -> Array:
    """Where points of an ear lie in the texture: in the lower corners, which the head leaves free."""
    x = 0.07 + 0.014 * (points[:, 2] - EAR[2])
    return np.stack([x if side < 0 else 1 - x, 0.92 + 0.014 * (points[:, 1] - EAR[1])], 1)


def hair_depth(points: Array, look: Look) -> Array:
    """How far inside the hairline points [N, 3] of a head lie, cm upwards; negative on bare skin."""
    around = np.arctan2(np.abs(points[:, 0]), CENTER[2] - points[:, 2])
    angle, height = np.array(look.hairline).T
    waves = 0.10 * np.sin(7 * around * np.sign(points[:, 0]) + 1.3)
    return np.interp(around, angle, height) + waves - points[:, 1]


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-9)


def _skull_radius(direction: Array) -> Array:
    """Distance [N] from CENTER to the skull in directions [N, 3]."""
    axes = np.stack(
        [np.full(len(direction), SIDE), np.where(direction[:, 1] < 0, UP, DOWN), np.full(len(direction), BACK)], 1
    )
    return 1 / np.linalg.norm(direction / axes, axis=1)


def _join_skull(face: ActorFace) -> tuple[Array, Array, Array]:
    """Rings of points from the outline of the face backwards: points, triangles, follow [V, 468].

    The back of the head, which no picture shows, stays open.
    """
    outline = list(FACE_OVAL)
    start = face.rest[outline] - CENTER
    away, direction = np.linalg.norm(start, axis=1), _unit(start)
    first = np.arccos(-direction[:, 2])
    across = _unit(direction[:, :2])
    points, follow = [face.rest[:MESH_POINTS]], [np.eye(MESH_POINTS)]
    gone = away - _skull_radius(direction)
    for ring in range(1, RINGS):
        turned = (np.pi - first) * (ring / RINGS) ** 1.25
        angle = first + turned
        there = np.concatenate([np.sin(angle)[:, None] * across, -np.cos(angle)[:, None]], 1)
        points.append(CENTER + there * (_skull_radius(there) + gone * np.exp(-np.square(turned / 0.55)))[:, None])
        weights = np.zeros((len(outline), MESH_POINTS))
        weights[np.arange(len(outline)), outline] = np.exp(-turned / FOLLOWED)
        follow.append(weights)
    rows = [
        np.array(outline),
        *(MESH_POINTS + len(outline) * ring + np.arange(len(outline)) for ring in range(RINGS - 1)),
    ]
    triangles = [face.triangles]
    for inner, outer in pairwise(rows):
        a, b, c, d = inner, np.roll(inner, -1), outer, np.roll(outer, -1)
        triangles += [np.stack([a, b, c], 1), np.stack([b, d, c], 1)]
    return np.concatenate(points), np.concatenate(triangles), np.concatenate(follow)


def _refine(points: Array, follow: Array, triangles: Array) -> tuple[Array, Array, Array]:
    """Each triangle into four, on a smooth surface through the old points (butterfly scheme, Dyn et al. 1990)."""
    sides = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    edges = np.concatenate([triangles[:, [a, b]] for a, b, _ in sides])
    opposite = np.concatenate([triangles[:, c] for _, _, c in sides])
    unique, index = np.unique(np.sort(edges, 1), axis=0, return_inverse=True)
    index = index.reshape(-1)
    across: dict[tuple[int, int], list[int]] = {}
    for (a, b), c in zip(np.sort(edges, 1).tolist(), opposite.tolist(), strict=True):
        across.setdefault((a, b), []).append(c)
    weights = np.zeros((len(unique), len(points)))
    for row, (a, b) in enumerate(unique.tolist()):
        weights[row, [a, b]] += 0.5
        beside = across[a, b]
        if len(beside) < 2:
            continue
        wings = [other for c in beside for edge in ((a, c), (b, c)) for other in across[min(edge), max(edge)]]
        wings = [wing for wing in wings if wing not in (a, b)]
        if len(wings) == 4:
            weights[row, beside] += 0.125
            np.subtract.at(weights[row], wings, 0.0625)
    middle = index.reshape(3, -1).T + len(points)
    (a, b, c), (ab, bc, ca) = triangles.T, middle.T
    corners = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    fine = np.concatenate([np.stack(corner, 1) for corner in corners])
    return np.concatenate([points, weights @ points]), np.concatenate([follow, weights @ follow]), fine


def _ear(side: int) -> tuple[Array, Array]:
    """An ear: a shell with a rim, a fold inside it, a hollow and a lobe. Points [V, 3] cm and triangles."""
    share = np.linspace(0, 1, EAR_RINGS)[:, None]
    around = np.linspace(0, 2 * np.pi, EAR_SIDES, endpoint=False)[None]
    up, back = np.cos(around), np.sin(around)
    narrow = 1 - 0.32 * (0.5 - 0.5 * up) - 0.12 * np.exp(-np.square((up + 0.45) / 0.2)) * (back > 0)
    height = share * up * EAR_HEIGHT
    width = share * back * EAR_WIDTH * narrow
    lobe = (0.5 - 0.5 * up) ** 3
    relief = 0.42 * np.exp(-np.square((share - 0.84) / 0.11)) * (1 - 0.75 * lobe) * (0.35 + 0.65 * (back > -0.5))
    relief += 0.2 * np.exp(-np.square((share - 0.58) / 0.1)) * (back > -0.2) * (1 - lobe)
    relief -= 0.55 * np.exp(-np.square(share / 0.36))
    relief -= 0.35 * np.square(share) * (share > 0.95)
    out, behind = np.array([np.cos(EAR_TURN), 0, -np.sin(EAR_TURN)]), np.array([np.sin(EAR_TURN), 0, np.cos(EAR_TURN)])
    points = EAR + height[..., None] * [0, -1, 0.12] + width[..., None] * behind + relief[..., None] * out
    points = points.reshape(-1, 3) * [side, 1, 1]
    index = np.arange(EAR_RINGS * EAR_SIDES).reshape(EAR_RINGS, EAR_SIDES)
    right = np.roll(index, -1, 1)
    a, b, c, d = index[:-1].ravel(), right[:-1].ravel(), index[1:].ravel(), right[1:].ravel()
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    return points, triangles[:, ::-1] if side > 0 else triangles
