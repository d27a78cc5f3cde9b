"""Take and Track: one preprocessed clip, on disk and in memory."""

from __future__ import annotations

import json
import os
import wave
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from avatar.core.files import UserError, read_safetensors, stream_safetensors, whole
from avatar.core.geometry import Camera
from avatar.core.media_samples import SAMPLE_RATE
from avatar.core.motion_space import Motion, check_motion_values, scale_torso
from avatar.core.pictures import OWN_FORMATS, open_picture
from avatar.core.ranges import (
    DAMAGE,
    FPS,
    MOST_FRAMES,
    PLACE_PX,
    check_values,
    in_short,
    number,
    numbers,
    read_camera,
    shown,
    texts,
    whole_number,
)
from avatar.core.versions import Format, check_version, convert
from cuda_ext.shapes import check_shapes

STANDING_PX = 1.5  # at 512, that a background moves at most whose camera stands
PHOTOS = "photos"  # in a Take's source: how many photos it is made of
UNLIKE_PLATE = 14.0  # grey levels between the frames' backgrounds and the plate: they have nothing in common


@dataclass(frozen=True)
class Span:
    """Frames [start, stop) that training leaves out, and why."""

    start: int
    stop: int
    reason: str


@dataclass(frozen=True)
class Framing:
    """Frames [start, stop) of one crop, of a clip that cuts between several."""

    start: int
    stop: int
    crop: tuple[float, float, float]  # left, top, side in source px


@dataclass(frozen=True)
class Track:
    """What the tracker saw, frame by frame, in the pixels of the crop."""

    landmarks: Tensor  # [T, 478, 3] px
    rotation: Tensor  # [T, 3, 3] head -> camera
    translation: Tensor  # [T, 3] cm
    expression: Tensor  # [T, K] unit variance over the generic corpus
    eyes: Tensor  # [T, 4] lid openness left, right 0..1; gaze x, y -1..1
    torso: Tensor  # [T, 4] shift x, y px, log-scale, roll rad against the reference frame
    neutral: Tensor  # [478, 3] cm, head frame
    confidence: Tensor  # [T] 0..1
    fps: float

    def __post_init__(self) -> None:
        check_shapes(
            "Track",
            {
                "landmarks": (self.landmarks, "T 478 3"),
                "rotation": (self.rotation, "T 3 3"),
                "translation": (self.translation, "T 3"),
                "expression": (self.expression, "T K"),
                "eyes": (self.eyes, "T 4"),
                "torso": (self.torso, "T 4"),
                "neutral": (self.neutral, "478 3"),
                "confidence": (self.confidence, "T"),
            },
        )

    def __len__(self) -> int:
        return self.landmarks.shape[0]

    def motion(self) -> Motion:
        """The part of the track that drives a renderer."""
        return Motion(self.expression, self.eyes, self.rotation, self.translation, self.torso, self.fps)

    def __repr__(self) -> str:
        return f"Track({len(self)} frames at {self.fps:g} fps)"


@dataclass(frozen=True)
class Take:
    """One preprocessed clip. Frames stay on disk."""

    root: Path
    fps: float
    length: int  # T
    camera: Camera
    crop: tuple[float, float, float]  # left, top, side in source px; that of most frames
    train: range
    test: range
    excluded: tuple[Span, ...]
    source: dict[str, str]  # name, sha256, fps, consent, ...
    request: dict[str, str]  # what it was made with: face, size, start, end, select, ... ; empty where not known
    quality: dict[str, float]
    space_id: str = ""  # of the MotionSpace that it was tracked with; empty where not known
    framings: tuple[Framing, ...] = ()  # all of a clip that cuts between several
    scale: float = 1.0  # of pictures and pixels as they are read, against those on disk

    def training_frames(self) -> list[int]:
        """Frame indices that may be trained on: the train part less excluded spans."""
        excluded = {frame for span in self.excluded for frame in range(span.start, span.stop)}
        return [frame for frame in self.train if frame not in excluded]

    @property
    def photos(self) -> int:
        """How many photos it is made of, one a frame, the first the one that counts most; 0 for a clip."""
        return int(self.source.get(PHOTOS, 0))

    @property
    def background_stands(self) -> bool:
        """Whether the plate is what stands behind the person in all frames: camera, framing and background rest."""
        moved, unlike = (self.quality.get(name, 0.0) for name in ("camera_px", "plate_error"))
        return moved <= STANDING_PX and unlike <= UNLIKE_PLATE and not self.framings

    @property
    def first_source_frame(self) -> int:
        """How many frames of the source lie before the first, where only a part of it was used."""
        return round(float(self.request.get("start", 0)) * self.fps)

    @property
    def still_path(self) -> Path:
        """A whole frame of the source, where it is known."""
        return self.root / "frame.jpg"

    def frame_path(self, frame: int) -> Path:
        return self.root / "frames" / f"{frame:06d}.jpg"

    def matte_path(self, frame: int) -> Path:
        return self.root / "mattes" / f"{frame:06d}.png"


def split_frames(length: int, holdout: float) -> tuple[range, range]:
    """Contiguous split: the last `holdout` part (0..0.9) of the clip is for testing."""
    train = length - round(length * holdout)
    return range(train), range(train, length)


def write_take(take: Take, root: Path) -> None:
    """Write `take.json` into `root` (the frames, mattes, audio and track are written by whoever made them)."""
    content = {"format": FORMAT.version, "reader": FORMAT.since} | asdict(take)
    content |= {"train": len(take.train), "camera": asdict(take.camera)}
    for name in ("root", "test", "scale"):
        content.pop(name)
    with whole(root / "take.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1))


Content = dict[str, Any]
"""What stands in a take.json."""


def _from_1(content: Content) -> Content:
    """Version 1 kept a part of the request in `source`, and did not know its MotionSpace."""
    source = dict(content["source"])
    request = {"size": str(content["camera"]["size"]), "start": "0", "end": ""}
    if stretch := source.pop("stretch", ""):
        start, _, stop = stretch.partition(" ")
        request |= {"start": start, "end": stop}
    request["select"] = source.pop("select", "")
    request["landmarker"] = source.pop("landmarker", "")  # its name, where version 2 has a digest: another one to it
    return content | {"source": source, "request": request, "space_id": ""}


FORMAT = Format("take", 2, "0.2.0", "redo it with `avatar preprocess`", {1: _from_1})


def as_take(take: Take | Path | str) -> Take:
    """A Take that is given as one, or as the name of its folder. Raises: UserError, as `open_take`."""
    return open_take(take) if isinstance(take, (Path, str)) else take


def open_take(root: Path | str) -> Take:
    """Open a Take folder, of this or of the two versions before.

    Raises: UserError when it is none, incomplete, or of a version that cannot be read.
    """
    root = Path(root)
    index = root / "take.json"
    if not index.is_file():
        raise UserError(f"{root}: is not a take (no take.json); make one with `avatar preprocess`")
    _check_files(root)
    try:
        content = json.loads(index.read_text())
        version = whole_number(content["format"], "format", 0, 10**6)
        check_version(FORMAT, version, root, reader=shown(content.get("reader", "")))
        take = _assemble(root, convert(FORMAT, version, content))
    except DAMAGE as error:
        raise UserError(f"{index}: is damaged ({in_short(error)}); redo it with `avatar preprocess`") from error
    for name in ("track.safetensors", "background.png", "frames", "mattes"):
        if not (root / name).exists():
            raise UserError(f"{root}: is incomplete ({name} is missing); redo it with `avatar preprocess`")
    return take


def _assemble(root: Path, content: Content) -> Take:
    """Raises: ValueError and others for values that no Take has."""
    length = whole_number(content["length"], "length", 1, MOST_FRAMES)
    train = whole_number(content["train"], "train", 0, length)
    left, top, side = numbers(content["crop"], "crop", 3, PLACE_PX)
    for name, value in content["quality"].items():
        number(value, f"quality.{name}", -1e9, 1e9)
    number(float(content["request"].get("start", 0)), "request.start", 0, 1e7)
    whole_number(int(content["source"].get(PHOTOS, 0)), f"source.{PHOTOS}", 0, length)
    return Take(
        root=root,
        fps=number(content["fps"], "fps", *FPS),
        length=length,
        camera=read_camera(content["camera"]["focal"], content["camera"]["size"]),
        crop=(left, top, side),
        train=range(train),
        test=range(train, length),
        excluded=tuple(_read_span(span, length) for span in content["excluded"]),
        source=texts(content["source"], "source"),
        quality=content["quality"],
        request=texts(content["request"], "request"),
        space_id=texts({"space_id": content["space_id"]}, "content")["space_id"],
        framings=tuple(_read_framing(one, length) for one in content.get("framings", ())),
    )


def _read_span(values: dict[str, Any], length: int) -> Span:
    start, stop = (whole_number(values[name], f"excluded.{name}", 0, length) for name in ("start", "stop"))
    return Span(start, stop, str(values["reason"]))


def _read_framing(values: dict[str, Any], length: int) -> Framing:
    start, stop = (whole_number(values[name], f"framings.{name}", 0, length) for name in ("start", "stop"))
    left, top, side = numbers(values["crop"], "framings.crop", 3, PLACE_PX)
    return Framing(start, stop, (left, top, side))


def _check_files(root: Path) -> None:
    """Raise UserError for what is no plain file in a Take, and for links that lead out of it: to files of others."""
    inside = root.resolve()
    for folder in (root, root / "frames", root / "mattes"):
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
                    raise UserError(f"{entry.path}: is a link that leads out of the take; copy the file in its place")
                if not (entry.is_file() or entry.is_dir()):
                    raise UserError(f"{entry.path}: is no file; remove it, or redo the take with `avatar preprocess`")


def with_holdout(take: Take, holdout: float) -> Take:
    """The same take with another share of frames held out at its end."""
    train, test = split_frames(take.length, holdout)
    return replace(take, train=train, test=test)


def stored_size(take: Take) -> int:
    """Px a side of a Take's pictures on disk."""
    return round(take.camera.size / take.scale)


def with_size(take: Take, size: int) -> Take:
    """The same take, read as smaller pictures of `size` px a side. Raises: UserError when it has fewer pixels."""
    stored = stored_size(take)
    if size > stored:
        raise UserError(f"{take.root}: is {stored} px, fewer than the {size} px asked for; preprocess it larger")
    return replace(take, camera=take.camera.scaled(size), scale=size / stored)


def motion_in_camera(take: Take, camera: Camera) -> Motion:
    """A Take's own motion, for pictures of a camera; torso shifts are in px, so they scale with the picture.

    Raises: UserError when the Take was tracked with another focal length.
    """
    if abs(take.camera.focal / take.camera.size - camera.focal / camera.size) > 1e-3:
        raise UserError(f"{take.root}: was tracked with another focal length than the avatar; preprocess it again")
    motion = scale_torso(read_track(take).motion(), camera.size / take.camera.size)
    return replace(motion, space_id=take.space_id)


def read_frames(take: Take, frames: range | list[int]) -> Tensor:
    """Pictures [B, S, S, 3] uint8."""
    return torch.stack([_read_image(take.frame_path(frame), "RGB", take) for frame in frames])


def read_mattes(take: Take, frames: range | list[int]) -> Tensor:
    """Person mattes [B, S, S] uint8."""
    return torch.stack([_read_image(take.matte_path(frame), "L", take) for frame in frames])


def read_plate(take: Take) -> Tensor:
    """The background without the person [S, S, 3] uint8."""
    return _read_image(take.root / "background.png", "RGB", take)


def read_still(take: Take) -> Tensor | None:
    """A whole frame of the source [H, W, 3] uint8, its torso at rest; None where the source is not known."""
    return _read_image(take.still_path, "RGB") if take.still_path.is_file() else None


def read_audio(take: Take) -> Tensor:
    """The clip's sound [n] float32 -1..1 at 16 kHz. Raises: UserError when the take has none."""
    path = take.root / "audio.wav"
    if not path.is_file():
        raise UserError(f"{take.root}: has no audio; the lips cannot be learned from a silent clip")
    try:
        with path.open("rb") as raw, wave.open(raw) as file:
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, SAMPLE_RATE):
                raise ValueError(f"is not of one channel with 16 bits at {SAMPLE_RATE} Hz")
            there = path.stat().st_size // 2  # whatever its header says
            samples = np.frombuffer(file.readframes(min(file.getnframes(), there)), "<i2")
    except (wave.Error, *DAMAGE) as error:
        raise UserError(f"{path}: is damaged ({in_short(error)}); redo the take with `avatar preprocess`") from error
    return torch.from_numpy(samples.astype(np.float32) / 32768.0)


def save_track(track: Track, path: Path) -> None:
    """Write `track.safetensors`."""
    tensors = {f.name: getattr(track, f.name).float().contiguous() for f in fields(track) if f.name != "fps"}
    stream_safetensors(tensors, path, {"fps": str(track.fps)})


def read_track(take: Take) -> Track:
    """The track of a take. Raises: UserError when the file is damaged."""
    path = take.root / "track.safetensors"
    try:
        tensors, _ = read_safetensors(path)
        track = Track(**tensors, fps=take.fps)
        if len(track) < take.length:
            raise ValueError(f"is of {len(track)} frames, the take of {take.length}")
        check_motion_values(track.motion())
        check_values({"landmarks": track.landmarks, "neutral": track.neutral, "confidence": track.confidence}, PLACE_PX)
        torso = track.torso * torch.tensor([take.scale, take.scale, 1.0, 1.0])
        return replace(track, landmarks=track.landmarks * take.scale, torso=torso)
    except (SafetensorError, OSError, *DAMAGE) as error:
        raise UserError(f"{path}: is damaged ({in_short(error)}); redo the take with `avatar preprocess`") from error


def _read_image(path: Path, mode: str, take: Take | None = None) -> Tensor:
    """A picture, at the size that a take is read at."""
    try:
        with open_picture(path, OWN_FORMATS) as image:
            if take is not None and image.size != (stored := stored_size(take), stored):
                raise ValueError(f"has {image.width} x {image.height} pixels, the take {stored} x {stored}")
            picture = image.convert(mode)
            if take is not None and take.scale != 1:
                picture = picture.resize((take.camera.size, take.camera.size), Image.Resampling.BOX)
            return torch.from_numpy(np.array(picture))
    except ValueError as error:
        raise UserError(
            f"{path}: cannot be read ({in_short(error)}); redo the take with `avatar preprocess`"
        ) from error
