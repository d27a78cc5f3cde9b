"""The synthetic actor: a procedural person who speaks, with exact truth. From a seed; nobody's likeness."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from avatar.core.articulation import Phone, articulate
from avatar.core.encode import write_video
from avatar.core.geometry import Camera, project, to_camera
from avatar.core.landmarks import LOWER_LIP, MESH_POINTS, UPPER_LIP
from avatar.core.media import read_speech, write_wav
from avatar.core.motion_space import load_space
from preprocess.actor_drawing.face import ActorFace, make_face, move_face
from preprocess.actor_drawing.raster import STUDIO, Light
from preprocess.actor_drawing.stage import Stage
from preprocess.fit import fixed_camera
from preprocess.rotations import exponential

DISTANCE_CM = 66.0
PAUSE_SECONDS = 0.6
ANGLES = np.deg2rad([4.0, 8.0, 3.0])  # pitch, yaw, roll, at most

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
    face, camera = make_face(load_space(), np.random.default_rng(seed)), fixed_camera(size)
    rotation, translation = head_motion(count, fps, random)
    torso = torso_motion(count, fps, size, random)
    shut = blinks(count, fps, random)
    articulation = articulate(phones, fps=fps, seconds=seconds).double().numpy()
    shapes = np.stack([move_face(face, articulation[frame], shut[frame]) for frame in range(count)])
    return _Scene(face, camera, shapes, rotation, translation, torso, shut, samples, phones)


def film_actor(
    out: Path, *, seconds: float = 10.0, seed: int = 0, size: int = 512, fps: float = 25.0, light: Light = STUDIO
) -> ActorTruth:
    """Film the actor speaking and write it as mp4 with sound; returns the truth."""
    scene = _direct(seconds, seed, size, fps)
    stage, shapes = Stage(scene.face, scene.camera, seed, light=light), scene.shapes
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
    frames: list[int],
    *,
    seconds: float = 10.0,
    seed: int = 0,
    size: int = 512,
    fps: float = 25.0,
    light: Light = STUDIO,
) -> Iterator[Array]:
    """The actor alone in frames of the film of the same arguments: [S, S, 4] uint8, colours premultiplied."""
    scene = _direct(seconds, seed, size, fps)
    stage = Stage(scene.face, scene.camera, seed, before_black=True, light=light)
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
