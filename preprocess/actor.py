"""The synthetic actor: a procedural person who speaks, with exact truth. From a seed; nobody's likeness."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.sparse import csr_matrix

from avatar.core.articulation import Phone, articulate
from avatar.core.encode import write_video
from avatar.core.geometry import Camera, apply_torso, project, to_camera
from avatar.core.landmarks import (
    BROWS,
    INNER_LIPS,
    IRIS_CENTERS,
    LEFT_EYE_OUTLINE,
    LOWER_LIP,
    MESH_POINTS,
    RIGHT_EYE_OUTLINE,
    UPPER_LIP,
)
from avatar.core.media import read_speech, write_wav
from avatar.core.motion_space import load_space
from preprocess.actor_face import HAIR, SKIN, ActorFace, make_face, move_face, smooth_normals
from preprocess.fit import fixed_camera
from preprocess.rotations import exponential

OVERSAMPLE = 2
SHIFT = 4  # fractional bits of drawn corners
LIGHT = np.array([-0.35, -0.55, -0.76])
AMBIENT = 0.45
DISTANCE_CM = 66.0
PAUSE_SECONDS = 0.6
ANGLES = np.deg2rad([4.0, 8.0, 3.0])  # pitch, yaw, roll, at most
IRIS_CM = 0.62
DARKEST_TEETH, TEETH_IN_LIGHT_CM = 0.2, 1.2

Array = np.ndarray


@dataclass(frozen=True)
class ActorTruth:
    """What the film shows, exactly."""

    landmarks: Array  # [T, 468, 2] px
    rotation: Array  # [T, 3, 3] head -> camera
    translation: Array  # [T, 3] cm
    opening: Array  # [T] cm between the inner lips
    shut: Array  # [T] lids 0 open .. 1 shut
    torso: Array  # [T, 4], see avatar.core.geometry.apply_torso
    mattes: Array  # [T, S, S] uint8
    plate: Array  # [S, S, 3] uint8
    phones: list[Phone]
    focal: float  # px
    fps: float


@dataclass(frozen=True)
class _Scene:
    """What happens in a film: how the actor looks and moves."""

    face: ActorFace
    camera: Camera
    shapes: Array  # [T, 478, 3] cm
    rotation: Array  # [T, 3, 3]
    translation: Array  # [T, 3] cm
    torso: Array  # [T, 4]
    shut: Array  # [T]
    samples: torch.Tensor
    phones: list[Phone]

    def draw(self, stage: Stage, frame: int) -> tuple[Array, Array]:
        """Picture [S, S, 3] uint8 RGB and matte [S, S] uint8 of a frame."""
        return stage.draw(
            self.shapes[frame], self.rotation[frame], self.translation[frame], self.torso[frame], self.shut[frame]
        )


def _direct(seconds: float, seed: int, size: int, fps: float) -> _Scene:
    samples, phones = speech(seconds)
    count = round(seconds * fps)
    random = np.random.default_rng(seed)
    face, camera = make_face(load_space(), seed), fixed_camera(size)
    rotation, translation = head_motion(count, fps, random)
    torso = torso_motion(count, fps, size, random)
    shut = blinks(count, fps, random)
    articulation = articulate(phones, fps=fps, seconds=seconds).double().numpy()
    shapes = np.stack([move_face(face, articulation[frame], shut[frame]) for frame in range(count)])
    return _Scene(face, camera, shapes, rotation, translation, torso, shut, samples, phones)


def film_actor(out: Path, *, seconds: float = 10.0, seed: int = 0, size: int = 512, fps: float = 25.0) -> ActorTruth:
    """Film the actor speaking and write it as mp4 with sound; returns the truth."""
    scene = _direct(seconds, seed, size, fps)
    stage, shapes = Stage(scene.face, scene.camera, seed), scene.shapes
    pixels = project(to_camera(shapes, scene.rotation, scene.translation), scene.camera)
    mattes: list[Array] = []

    def frames() -> Iterator[Array]:
        for frame in range(len(shapes)):
            picture, matte = scene.draw(stage, frame)
            mattes.append(matte)
            yield picture

    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "speech.wav"
        write_wav(sound, scene.samples)
        write_video(frames(), out, fps=fps, sound=sound)
    return ActorTruth(
        landmarks=pixels[:, :MESH_POINTS],
        rotation=scene.rotation,
        translation=scene.translation,
        opening=np.linalg.norm(shapes[:, LOWER_LIP] - shapes[:, UPPER_LIP], axis=1),
        shut=scene.shut,
        torso=scene.torso,
        mattes=np.stack(mattes),
        plate=stage.plate,
        phones=scene.phones,
        focal=scene.camera.focal,
        fps=fps,
    )


def cut_out_actor(
    frames: list[int], *, seconds: float = 10.0, seed: int = 0, size: int = 512, fps: float = 25.0
) -> Iterator[Array]:
    """The actor alone in frames of the film of the same arguments: [S, S, 4] uint8, colours premultiplied."""
    scene = _direct(seconds, seed, size, fps)
    stage = Stage(scene.face, scene.camera, seed, before_black=True)
    for frame in frames:
        yield np.dstack(scene.draw(stage, frame))


def speech(seconds: float) -> tuple[torch.Tensor, list[Phone]]:
    """The package's recording, repeated with pauses to the wanted length, and its phones."""
    folder = Path(str(files("avatar") / "assets"))
    recording = torch.cat(list(read_speech(folder / "actor_speech.flac")))
    known = [Phone(*item) for item in json.loads((folder / "actor_speech.json").read_text())]
    recording = torch.cat([recording, torch.zeros(int(PAUSE_SECONDS * 16000))])
    length = len(recording) / 16000
    repeats = int(np.ceil(seconds / length))
    phones = [Phone(p.symbol, p.start + i * length, p.stop + i * length) for i in range(repeats) for p in known]
    samples = recording.repeat(repeats)[: round(seconds * 16000)]
    return samples, [phone for phone in phones if phone.start < seconds]


def head_motion(count: int, fps: float, random: np.random.Generator) -> tuple[Array, Array]:
    """A head that drifts and nods: rotation [T, 3, 3], translation [T, 3] cm."""
    rotation = exponential(ANGLES * _drift(count, fps, 3, random))
    translation = np.array([0.0, -1.2, DISTANCE_CM]) + np.array([1.0, 0.5, 0.8]) * _drift(count, fps, 3, random)
    return rotation, translation


def torso_motion(count: int, fps: float, size: int, random: np.random.Generator) -> Array:
    """Swaying and breathing shoulders [T, 4]."""
    sway = _drift(count, fps, 2, random)
    breath = np.sin(2 * np.pi * np.arange(count) / fps / 3.7)
    scale = size / 512
    columns = [4 * scale * sway[:, 0], scale * (1.5 * sway[:, 1] - 1.2 * breath), 0.002 * breath, 0.004 * sway[:, 0]]
    return np.stack(columns, 1)


def _drift(count: int, fps: float, width: int, random: np.random.Generator) -> Array:
    """Smooth random curves [T, width] within about -1..1."""
    time = np.arange(count)[:, None, None] / fps
    speed = random.uniform(0.05, 0.45, (1, width, 6))
    phase = random.uniform(0, 2 * np.pi, (1, width, 6))
    return np.tanh((np.sin(2 * np.pi * speed * time + phase) * [0.5, 0.4, 0.3, 0.2, 0.15, 0.1]).sum(2))


def blinks(count: int, fps: float, random: np.random.Generator) -> Array:
    """How far the lids are shut [T], a blink every three to four seconds."""
    time = np.arange(count) / fps
    shut = np.zeros(count)
    at = random.uniform(1.0, 2.0)
    while at < count / fps:
        shut = np.maximum(shut, np.clip(1.35 - np.square((time - at) / 0.08), 0, 1))
        at += random.uniform(3.0, 4.0)
    return shut


class Stage:
    """Draws one frame: wall, shoulders, head. Works at twice the size, then averages."""

    def __init__(self, face: ActorFace, camera: Camera, seed: int, *, before_black: bool = False) -> None:
        self._face, self._size = face, camera.size
        self._camera = camera.scaled(OVERSAMPLE * camera.size)
        self._large = self._camera.size
        self._weights = csr_matrix(face.weights)
        random = np.random.default_rng(seed + 1)
        wall = _paint_wall(self._large, random) * np.uint8(not before_black)
        self._empty = np.dstack([wall, np.zeros_like(wall[..., 0])])
        self._body = _paint_body(self._large, random)
        self.plate = cv2.resize(wall, (camera.size, camera.size), interpolation=cv2.INTER_AREA)

    def draw(self, shape: Array, rotation: Array, translation: Array, torso: Array, shut: float) -> tuple[Array, Array]:
        """Picture [S, S, 3] uint8 RGB and matte [S, S] uint8 of one frame."""
        canvas = self._empty.copy()
        self._draw_body(canvas, torso)
        skull = to_camera(self._face.skull, rotation, translation)
        posed = to_camera(shape, rotation, translation)
        face = self._face
        # between face and skull the inside of the skull shows, not the wall
        skin = face.skull_normals @ rotation.T, face.skull_triangles, face.skull_paint
        self._fill(canvas, skull, *skin, inside_out=True)
        self._fill(canvas, skull, *skin)
        self._draw_openings(canvas, posed, rotation, shut)
        normals = smooth_normals(posed[:MESH_POINTS], face.coarse)
        self._fill(canvas, self._weights @ posed[:MESH_POINTS], self._weights @ normals, face.fine, face.paint)
        self._draw_brows(canvas, posed)
        small = cv2.resize(canvas, (self._size, self._size), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(small[..., :3]), np.ascontiguousarray(small[..., 3])

    def _project(self, points: Array) -> Array:
        return project(points, self._camera) - 0.5  # OpenCV counts from the middle of the first pixel

    def _fill(
        self,
        canvas: Array,
        points: Array,
        normals: Array,
        triangles: Array,
        paint: Array,
        *,
        inside_out: bool = False,
    ) -> None:
        corners = points[triangles]
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        facing = ((flat * corners.mean(1)).sum(1) < 0) != inside_out
        light = AMBIENT + (1.12 - AMBIENT) * (normals[triangles].mean(1) @ LIGHT).clip(0, 1)
        colors = (paint * light[:, None]).clip(0, 255)
        order = np.argsort(-corners[..., 2].mean(1))
        order = order[facing[order]]
        pixels = np.rint(self._project(corners[order]) * (1 << SHIFT)).astype(np.int32)
        for triangle, color in zip(pixels, colors[order].tolist(), strict=True):
            cv2.fillConvexPoly(canvas, triangle, (*color, 255), cv2.LINE_8, SHIFT)

    def _draw_openings(self, canvas: Array, posed: Array, rotation: Array, shut: float) -> None:
        for eye, iris in zip((LEFT_EYE_OUTLINE, RIGHT_EYE_OUTLINE), IRIS_CENTERS, strict=True):
            outline = posed[list(eye)]
            self._polygon(canvas, outline, (236, 232, 228))
            center = posed[iris] if shut < 0.5 else outline.mean(0)
            for radius, color in ((IRIS_CM, (70, 104, 122)), (0.28, (18, 16, 16))):
                self._disc(canvas, center, radius, color)
        mouth = posed[list(INNER_LIPS)]
        self._polygon(canvas, mouth, (58, 22, 24))
        middle, across = posed[UPPER_LIP], rotation @ np.array([1.9, 0, 0])
        teeth = [middle - across, middle + across, middle + across * 0.9, middle - across * 0.9]
        down = rotation @ np.array([0, 0.42, 0])
        # The lips shade the teeth: through a narrow gap little light falls on them.
        light = min(1.0, DARKEST_TEETH + np.linalg.norm(posed[LOWER_LIP] - posed[UPPER_LIP]) / TEETH_IN_LIGHT_CM)
        white = tuple((light * np.array([232.0, 226, 214])).tolist())
        self._polygon(canvas, np.stack([teeth[0], teeth[1], teeth[2] + down, teeth[3] + down]), white)

    def _draw_brows(self, canvas: Array, posed: Array) -> None:
        for brow in BROWS:
            self._polygon(canvas, posed[list(brow)], tuple((HAIR * 1.25).tolist()))

    def _polygon(self, canvas: Array, points: Array, color: tuple) -> None:
        pixels = np.rint(self._project(points) * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(canvas, [pixels], (*color, 255), cv2.LINE_8, SHIFT)

    def _disc(self, canvas: Array, center: Array, radius: float, color: tuple) -> None:
        pixel = np.rint(self._project(center) * (1 << SHIFT)).astype(int)
        scale = self._camera.focal / center[2] * (1 << SHIFT)
        cv2.circle(canvas, tuple(pixel.tolist()), round(radius * scale), (*color, 255), -1, cv2.LINE_8, SHIFT)

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


def _paint_body(size: int, random: np.random.Generator) -> Array:
    """Neck, shoulders, a striped shirt with a collar: [size, size, 4], larger than the picture's bottom edge."""
    body = np.zeros((size, size, 4), np.uint8)

    def fill(points: list[tuple[float, float]], color: tuple) -> None:
        cv2.fillPoly(body, [np.rint(np.array(points) * size * 16).astype(np.int32)], (*color, 255), cv2.LINE_AA, 4)

    neck = tuple((SKIN * 0.78).tolist())
    shoulders = [(-0.1, 1.1), (-0.06, 0.93), (0.10, 0.86), (0.34, 0.79), (0.5, 0.77), (0.66, 0.79), (0.90, 0.86)]
    shoulders += [(1.06, 0.93), (1.1, 1.1)]
    fill(shoulders, (52, 74, 122))
    for stripe in range(-2, 26):
        x = stripe / 24
        inside = body[..., 3] > 0
        column = np.zeros((size, size), np.uint8)
        cv2.line(column, (int(x * size), 0), (int((x + 0.02) * size), size), (255,), max(1, size // 170), cv2.LINE_AA)
        body[(column > 90) & inside, :3] = (84, 108, 158)
    grain = random.normal(0, 3, (size, size, 1))
    body[..., :3] = np.where(body[..., 3:] > 0, body[..., :3] + grain, body[..., :3]).clip(0, 255).astype(np.uint8)
    fill([(0.385, 0.55), (0.615, 0.55), (0.615, 0.78), (0.5, 0.88), (0.385, 0.78)], neck)
    fill([(0.37, 0.755), (0.5, 0.885), (0.44, 0.95), (0.335, 0.80)], (226, 228, 232))
    fill([(0.63, 0.755), (0.5, 0.885), (0.56, 0.95), (0.665, 0.80)], (226, 228, 232))
    return body
