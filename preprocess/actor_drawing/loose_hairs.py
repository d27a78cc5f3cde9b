"""Single hairs that stand off the edge of the hair."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from avatar.core.geometry import Camera, project, to_camera
from preprocess.actor_drawing.head import CENTER, Head
from preprocess.actor_drawing.looks import Look

Array = np.ndarray

HAIRS, KNOTS, SHIFT = 900, 5, 4
EDGE = 0.4  # hairs are drawn where the outward direction turns away from the camera by so little (cosine)


@dataclass(frozen=True)
class LooseHairs:
    """Hairs on a head."""

    points: Array  # [N, K, 3] cm, from the root on
    outward: Array  # [N, 3] unit vectors
    colors: Array  # [N] 0..255, of each hair times the look's colour
    color: tuple[float, float, float]

    def draw(self, canvas: Array, rotation: Array, translation: Array, camera: Camera) -> None:
        """Draw those at the outline into a canvas [S, S, 4] uint8; before the head, which hides their roots."""
        seen = np.abs(self.outward @ rotation[2]) < EDGE
        posed = to_camera(self.points[seen].reshape(-1, 3), rotation, translation)
        pixels = np.rint((project(posed, camera) - 0.5) * (1 << SHIFT)).astype(np.int32).reshape(-1, KNOTS, 2)
        for tone in np.unique(self.colors):
            color = (*(tone * np.array(self.color)).clip(0, 255).tolist(), 255)
            cv2.polylines(canvas, list(pixels[self.colors[seen] == tone]), False, color, 1, cv2.LINE_AA, SHIFT)


def make_loose_hairs(head: Head, look: Look, random: np.random.Generator) -> LooseHairs:
    """Hairs from random triangles of the hair, which lie back and rise a little; curled where the look's are."""
    share = head.hair[head.triangles].min(1)
    chosen = random.choice(np.flatnonzero(share > 0.6), HAIRS)
    weights = random.dirichlet((1, 1, 1), HAIRS)
    roots = (head.rest[head.triangles[chosen]] * weights[..., None]).sum(1)
    outward = roots - CENTER
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    along = np.array([0, 0.25, 1.0]) + random.normal(0, 0.45, (HAIRS, 3))
    along -= (along * outward).sum(1, keepdims=True) * outward
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    aside = np.cross(along, outward)
    length = random.uniform(0.4, 1.0, (HAIRS, 1, 1)) * (0.55 if look.curls > 0.5 else 1.0)
    share_along = np.linspace(0, 1, KNOTS)[None, :, None]
    rise = random.uniform(0.1, 0.5, (HAIRS, 1, 1)) * (share_along - 0.55 * share_along**2)
    curl = (0.05 + 0.25 * look.curls) * np.sin(4 * share_along + random.uniform(0, 6, (HAIRS, 1, 1))) * share_along
    points = roots[:, None] + length * (
        share_along * along[:, None] + rise * outward[:, None] + curl * (aside + 0.5 * outward)[:, None]
    )
    return LooseHairs(points, outward, random.choice([0.55, 0.8, 1.1], HAIRS), look.hair)
