"""Motion and MotionSpace: the shared language of speech, tracker and renderers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar.core.files import UserError, whole
from avatar.core.geometry import exponential, to_vector
from cuda_ext.shapes import check_shapes

FORMAT = "motion/1"


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
        )

    def to(self, device: torch.device) -> Motion:
        """The same on another device."""
        head = (self.expression.to(device), self.eyes.to(device), self.rotation.to(device))
        return Motion(*head, self.translation.to(device), self.torso.to(device), self.fps)

    def __repr__(self) -> str:
        return f"Motion({len(self)} frames at {self.fps:g} fps, {self.expression.shape[1]} modes)"


def concatenate(motions: list[Motion]) -> Motion:
    """Join stretches of motion in time; all must have the same frame rate."""
    names = ("expression", "eyes", "rotation", "translation", "torso")
    joined = {name: torch.cat([getattr(motion, name) for motion in motions]) for name in names}
    return Motion(**joined, fps=motions[0].fps)


def resample(motion: Motion, fps: float) -> Motion:
    """Motion at another frame rate: linear in expression, eyes, translation and torso, geodesic in rotation."""
    frames = max(1, round(len(motion) * fps / motion.fps))
    return _at(motion, torch.arange(frames) * (motion.fps / fps), fps)


def at_rate(motions: Iterable[Motion], fps: float) -> Iterator[Motion]:
    """A stream of motion at another frame rate; the same frames as `resample` of the whole."""
    held: Motion | None = None
    dropped = made = seen = 0
    for motion in motions:
        if motion.fps == fps:
            yield motion
            continue
        held = concatenate([held, motion]) if held is not None else motion
        seen += len(motion)
        ratio = motion.fps / fps
        ready = math.ceil((seen - 1) / ratio)  # frames that lie before the last one seen
        if ready > made:
            yield _at(held, torch.arange(made, ready) * ratio - dropped, fps)
            made = ready
            keep = min(int(made * ratio), seen - 1)
            held, dropped = held[slice(keep - dropped, None)], keep
    if held is not None and (total := max(1, round(seen * fps / held.fps))) > made:
        yield _at(held, torch.arange(made, total) * (held.fps / fps) - dropped, fps)


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
    return Motion(
        blend(motion.expression), blend(motion.eyes), rotation, blend(motion.translation), blend(motion.torso), fps
    )


def scale_torso(motion: Motion, scale: float) -> Motion:
    """The motion for a picture `scale` times the size: torso shifts are in px."""
    return replace(motion, torso=motion.torso * torch.tensor([scale, scale, 1.0, 1.0]))


def save_motion(motion: Motion, path: Path, space_id: str) -> None:
    """Write a `.motion` file (safetensors)."""
    names = ("expression", "eyes", "rotation", "translation", "torso")
    with whole(path) as temporary:
        save_file(
            {name: getattr(motion, name).contiguous() for name in names},
            temporary,
            {"format": FORMAT, "fps": str(motion.fps), "motion_space": space_id},
        )


def load_motion(path: Path) -> Motion:
    """Read a `.motion` file. Raises: UserError when it is not one, or of another version."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UserError(f"{path}: is not a {FORMAT} file; make it with `avatar motion`")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Motion(**tensors, fps=float(metadata["fps"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is not a readable motion file ({error})") from error
