"""Draws the actor's pictures: wall, shoulders, head."""

from __future__ import annotations

import cv2
import numpy as np

from avatar.core.geometry import Camera, apply_torso, project, to_camera
from avatar.core.landmarks import JAWLINE, MESH_POINTS
from preprocess.actor_drawing.clothes import paint_body
from preprocess.actor_drawing.face import ActorFace
from preprocess.actor_drawing.head import make_head, make_long_hair
from preprocess.actor_drawing.looks import look_of
from preprocess.actor_drawing.loose_hairs import make_loose_hairs
from preprocess.actor_drawing.openings import draw_eyes, draw_lashes, draw_mouth
from preprocess.actor_drawing.raster import STUDIO, Light, Surface, draw
from preprocess.actor_drawing.skin import TEXTURE_SCALE, paint_head

Array = np.ndarray

OVERSAMPLE = 2
JAW_SHADOW, JAW_SHADOW_CM = 0.45, 1.5  # how dark, how far below and how soft


class Stage:
    """Draws one frame. Works at twice the size, then averages."""

    def __init__(
        self, face: ActorFace, camera: Camera, seed: int, *, before_black: bool = False, light: Light = STUDIO
    ) -> None:
        self._face, self._size, self._look, self._light = face, camera.size, look_of(seed), light
        self._camera = camera.scaled(OVERSAMPLE * camera.size)
        self._large = self._camera.size
        random = np.random.default_rng(seed + 1)
        wall = _paint_wall(self._large, random) * np.uint8(not before_black)
        self._empty = np.dstack([wall, np.zeros_like(wall[..., 0])])
        self._body = paint_body(self._large, self._look, random, light)
        self._head = make_head(face, self._look)
        texture = paint_head(self._head, self._look, TEXTURE_SCALE * camera.size, random)
        self._surface = _cover(self._head.triangles, self._head.places, texture)
        self._long_hair: tuple[Array, Array, Surface] | None = None
        if self._look.long:
            points, normals, triangles, places = make_long_hair(self._look)
            self._long_hair = points, normals, _cover(triangles, places, texture)
        self._hairs = make_loose_hairs(self._head, self._look, random)
        self.plate = cv2.resize(wall, (camera.size, camera.size), interpolation=cv2.INTER_AREA)

    def draw(self, shape: Array, rotation: Array, translation: Array, torso: Array, shut: float) -> tuple[Array, Array]:
        """Picture [S, S, 3] uint8 RGB and matte [S, S] uint8 of one frame."""
        canvas = self._empty.copy()
        posed = to_camera(shape, rotation, translation)
        points = self._head.move(shape[:MESH_POINTS] - self._face.rest[:MESH_POINTS])
        normals = (self._head.normals(points) @ rotation.T).astype(np.float32)
        points = to_camera(points, rotation, translation)
        self._draw_body(canvas, torso)
        self._shade_below(canvas, posed)
        self._hairs.draw(canvas, rotation, translation, self._camera)
        if self._long_hair:
            hair, hair_normals, surface = self._long_hair
            hair = to_camera(hair, rotation, translation)
            turned = (hair_normals @ rotation.T).astype(np.float32)
            draw(canvas, project(hair, self._camera), hair[:, 2], turned, surface, self._light)
        draw_eyes(canvas, posed, self._camera, shut, self._look)
        draw_mouth(canvas, posed, rotation, self._camera)
        draw(canvas, project(points, self._camera), points[:, 2], normals, self._surface, self._light)
        draw_lashes(canvas, posed, self._camera, shut, self._look)
        small = cv2.resize(canvas, (self._size, self._size), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(small[..., :3]), np.ascontiguousarray(small[..., 3])

    def _draw_body(self, canvas: Array, torso: Array) -> None:
        large = torso * [OVERSAMPLE, OVERSAMPLE, 1, 1]
        center = self._large / 2 - 0.5
        corners = np.array([[0.0, 0], [self._large, 0], [0, self._large]])
        moved = apply_torso(corners - center, large) + center
        matrix = cv2.getAffineTransform(corners.astype(np.float32), moved.astype(np.float32))
        body = cv2.warpAffine(self._body, matrix, (self._large, self._large), borderMode=cv2.BORDER_REPLICATE)
        top = int(body[..., 3].any(1).argmax())
        canvas, body = canvas[top:], body[top:]
        inside, edge = body[..., 3] == 255, (body[..., 3] > 0) & (body[..., 3] < 255)
        alpha = body[edge, 3:].astype(np.float32) / 255
        canvas[edge, :3] = np.rint(body[edge, :3] * alpha + canvas[edge, :3] * (1 - alpha)).astype(np.uint8)
        canvas[inside, :3] = body[inside, :3]
        canvas[..., 3] = np.maximum(canvas[..., 3], body[..., 3])

    def _shade_below(self, canvas: Array, posed: Array) -> None:
        """The head's soft shadow on neck and clothes."""
        jaw = project(posed[list(JAWLINE)], self._camera)
        scale = self._camera.focal / posed[JAWLINE[0], 2] * JAW_SHADOW_CM
        top = int(jaw[:, 1].min())
        bottom = min(self._large, int(jaw[:, 1].max() + 3 * scale))
        part, small = canvas[top:bottom], 8
        mask = np.zeros((len(part) // small + 1, self._large // small), np.uint8)
        cv2.fillPoly(
            mask,
            [np.rint((jaw + np.array([0, 0.8 * scale - top])) / small * 16).astype(np.int32)],
            (255,),
            cv2.LINE_AA,
            4,
        )
        shade = cv2.resize(
            cv2.GaussianBlur(mask, (0, 0), scale / small / 2), part.shape[1::-1], interpolation=cv2.INTER_LINEAR
        )
        person = part[..., 3] > 127
        factor = 1 - JAW_SHADOW / 255 * shade[person].astype(np.float32)
        part[person, :3] = (part[person, :3] * factor[:, None]).astype(np.uint8)


def _cover(triangles: Array, places: Array, texture: Array) -> Surface:
    """A surface of points at places 0..1 of a square texture."""
    return Surface(triangles, (places * len(texture) - 0.5).astype(np.float32), texture)


def _paint_wall(size: int, random: np.random.Generator) -> Array:
    """A softly lit wall with a few blurred shapes."""
    y, x = np.mgrid[0:size, 0:size] / size
    wall = np.stack([70 + 60 * x, 100 + 50 * (1 - y), 120 + 40 * (1 - x) * (1 - y)], -1)
    shapes = wall.copy()
    for _ in range(9):
        center = tuple(int(v) for v in random.uniform(0, size, 2))
        cv2.circle(shapes, center, int(random.uniform(0.04, 0.14) * size), random.uniform(60, 190, 3).tolist(), -1)
    shapes = cv2.GaussianBlur(shapes, (0, 0), size / 60)
    return (0.5 * wall + 0.5 * shapes).clip(0, 255).astype(np.uint8)
