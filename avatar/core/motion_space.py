"""Motion and MotionSpace: the shared language of speech, tracker and renderers."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar.core.files import UserError, check_readable, open_tensors, whole
from avatar.core.geometry import exponential, to_vector
from avatar.core.ranges import DAMAGE, FPS, MOST_FRAMES, PLACE_PX, check_rotations, check_values, in_short, number
from avatar.core.versions import Format, check_version, parse_tag
from cuda_ext.shapes import check_shapes

FORMAT = Format("motion", 1, "0.1.0", "make it again with `avatar motion`", {})
MOTION_NAMES = ("expression", "eyes", "rotation", "translation", "torso")
MOST_MOTION = {"expression": 1000.0, "eyes": 100.0, "rotation": 1.1, "translation": 10_000.0, "torso": PLACE_PX}
"""Largest values of what a tracker or a model makes of a person, with ample room: deviations, 1, 1, cm, px."""
MOST_LOG_SCALE = 5.0  # of the torso: 150 times as large


@dataclass(frozen=True)
class MotionSpace:
    """Canonical mesh and expression basis, in the head frame (cm; x right, y down, face looks to -z)."""

    id: str
    template: Tensor  # [478, 3] cm
    basis: Tensor  # [K, 478, 3] cm per unit
    triangles: Tensor  # [F, 3] int64
    lips: Tensor  # [L] int64
    rigid: Tensor  # [R] int64

    @property
    def modes(self) -> int:
        return self.basis.shape[0]

    def __repr__(self) -> str:
        return f"MotionSpace({self.id}, {self.modes} modes)"


def load_space(path: Path | None = None) -> MotionSpace:
    """Load a MotionSpace from a safetensors file; by default the one in the package."""
    source = path or Path(str(files("avatar") / "assets" / "motion_space.safetensors"))
    tensors = load_file(source)
    digest = hashlib.sha256()
    for name in ("template", "basis", "triangles"):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return MotionSpace(
        id=digest.hexdigest()[:16],
        template=tensors["template"].float(),
        basis=tensors["basis"].float(),
        triangles=tensors["triangles"].long(),
        lips=tensors["lips"].long(),
        rigid=tensors["rigid"].long(),
    )


def save_space(space: MotionSpace, path: Path) -> None:
    """Write a MotionSpace as safetensors."""
    tensors = {name: getattr(space, name) for name in ("template", "basis", "triangles", "lips", "rigid")}
    with whole(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)


@dataclass(frozen=True)
class Motion:
    """What a renderer is driven with, frame by frame."""

    expression: Tensor  # [T, K] unit variance over the generic corpus
    eyes: Tensor  # [T, 4] lid openness left, right 0..1; gaze x, y -1..1
    rotation: Tensor  # [T, 3, 3] head -> camera
    translation: Tensor  # [T, 3] cm
    torso: Tensor  # [T, 4] shift x, y px, log-scale, roll rad against the reference frame
    fps: float
    space_id: str = ""  # of the MotionSpace that expression is a vector of; empty where it is not known

    def __post_init__(self) -> None:
        check_shapes(
            "Motion",
            {
                "expression": (self.expression, "T K"),
                "eyes": (self.eyes, "T 4"),
                "rotation": (self.rotation, "T 3 3"),
                "translation": (self.translation, "T 3"),
                "torso": (self.torso, "T 4"),
            },
        )

    def __len__(self) -> int:
        return self.expression.shape[0]

    def __getitem__(self, frames: slice | Tensor) -> Motion:
        return Motion(
            self.expression[frames],
            self.eyes[frames],
            self.rotation[frames],
            self.translation[frames],
            self.torso[frames],
            self.fps,
            self.space_id,
        )

    def to(self, device: torch.device) -> Motion:
        """The same on another device."""
        head = (self.expression.to(device), self.eyes.to(device), self.rotation.to(device))
        return Motion(*head, self.translation.to(device), self.torso.to(device), self.fps, self.space_id)

    def __repr__(self) -> str:
        return f"Motion({len(self)} frames at {self.fps:g} fps, {self.expression.shape[1]} modes)"


def concatenate(motions: list[Motion]) -> Motion:
    """Join stretches of motion in time; all must have the same frame rate."""
    joined = {name: torch.cat([getattr(motion, name) for motion in motions]) for name in MOTION_NAMES}
    return Motion(**joined, fps=motions[0].fps, space_id=motions[0].space_id)


def resample(motion: Motion, fps: float) -> Motion:
    """Motion at another frame rate: linear in expression, eyes, translation and torso, geodesic in rotation."""
    frames = max(1, round(len(motion) * fps / motion.fps))
    return _at(motion, _positions(0, frames, motion.fps / fps), fps)


def interpolate(first: Motion, second: Motion, share: Tensor) -> Motion:
    """Motion a share [T] 0..1 of the way from one to another of as many frames, as by `resample`."""
    both = concatenate([first, second])
    pairs = torch.arange(len(both)).view(2, -1).T.flatten()
    return _at(both[pairs], 2 * torch.arange(len(first)) + share, first.fps)


class RateConverter:
    """A stream of motion at another frame rate; the same frames as `resample` of the whole."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._held: Motion | None = None
        self._dropped = self._made = self._seen = 0

    def push(self, motion: Motion) -> Motion | None:
        """The frames that more motion completes; None for none."""
        if motion.fps == self._fps:
            return motion
        self._held = held = concatenate([self._held, motion]) if self._held is not None else motion
        self._seen += len(motion)
        ratio = motion.fps / self._fps
        ready = math.ceil((self._seen - 0.5) / ratio - 0.5)  # frames that lie before the last one seen
        if ready <= self._made:
            return None
        made = _at(held, _positions(self._made, ready, ratio) - self._dropped, self._fps)
        self._made = ready
        keep = min(int(_positions(self._made, self._made + 1, ratio)[0]), self._seen - 1)
        self._held, self._dropped = held[slice(keep - self._dropped, None)], keep
        return made

    def finish(self) -> Motion | None:
        """The frames still open at the end; None for none."""
        held, self._held = self._held, None
        if held is None or (total := max(1, round(self._seen * self._fps / held.fps))) <= self._made:
            return None
        return _at(held, _positions(self._made, total, held.fps / self._fps) - self._dropped, self._fps)


def _positions(start: int, stop: int, ratio: float) -> Tensor:
    """Where frames [start, stop) of another rate lie among the first rate's: at the middle of the time they are shown.

    So films of all rates are in time with their sound; aligned at their beginnings, faster ones would run before it.
    """
    return ((torch.arange(start, stop) + 0.5) * ratio - 0.5).clamp_min(0)


def _at(motion: Motion, position: Tensor, fps: float) -> Motion:
    """Motion at positions [N] between its frames."""
    position = position.clamp(max=len(motion) - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=len(motion) - 1)
    weight = (position - low)[:, None]

    def blend(values: Tensor) -> Tensor:
        return values[low] * (1 - weight) + values[high] * weight

    step = to_vector(motion.rotation[low].mT @ motion.rotation[high])
    rotation = motion.rotation[low] @ exponential(step * weight)
    eyes, translation, torso = blend(motion.eyes), blend(motion.translation), blend(motion.torso)
    return Motion(blend(motion.expression), eyes, rotation, translation, torso, fps, motion.space_id)


def scale_torso(motion: Motion, scale: float) -> Motion:
    """The motion for a picture `scale` times the size: torso shifts are in px."""
    return replace(motion, torso=motion.torso * motion.torso.new_tensor([scale, scale, 1.0, 1.0]))


def save_motion(motion: Motion, path: Path, space_id: str) -> None:
    """Write a `.motion` file (safetensors)."""
    note = {"format": FORMAT.tag, "reader": FORMAT.since, "fps": str(motion.fps), "motion_space": space_id}
    with whole(path) as temporary:
        save_file({name: getattr(motion, name).contiguous() for name in MOTION_NAMES}, temporary, note)


def as_motion(motion: Motion | Path | str) -> Motion:
    """A motion that is given as one, or as the name of its file. Raises: UserError, as `load_motion`."""
    return load_motion(motion) if isinstance(motion, (Path, str)) else motion


def load_motion(path: Path | str) -> Motion:
    """Read a `.motion` file. Raises: UserError when it is not one, damaged, or of another version."""
    path = Path(path)
    check_readable(path, "motion file")
    try:
        with open_tensors(path) as file:
            metadata = file.metadata() or {}
            version = parse_tag(FORMAT, metadata.get("format"))
            if version is None:
                raise UserError(f"{path}: is not a motion file; make one with `avatar motion`")
            check_version(FORMAT, version, path, reader=metadata.get("reader", ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        fps = number(float(metadata["fps"]), "fps", *FPS)
        return check_motion_values(Motion(**tensors, fps=fps, space_id=metadata.get("motion_space", "")))
    except (SafetensorError, OSError, *DAMAGE) as error:
        raise UserError(f"{path}: is not a readable motion file ({in_short(error)})") from error


def check_motion_values(motion: Motion) -> Motion:
    """The same motion. Raises: ValueError, naming the tensor, when it is empty, or no person can move like that."""
    if not 0 < len(motion) <= MOST_FRAMES:
        raise ValueError(f"holds {len(motion)} frames, expected 1 to {MOST_FRAMES}")
    tensors = {name: getattr(motion, name) for name in MOTION_NAMES}
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise ValueError(f"{name} is {tensor.dtype}, expected torch.float32")
    for name, most in MOST_MOTION.items():
        check_values({name: tensors[name]}, most)
    check_values({"torso's log-scale": motion.torso[:, 2]}, MOST_LOG_SCALE)
    check_rotations(motion.rotation, "rotation")
    return motion
