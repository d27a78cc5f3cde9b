"""Avatar and Habits: the `.avatar` file. Data only; loading one cannot run code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from avatar.core.deflate import deflate, inflate
from avatar.core.files import UserError, check_readable, stream_safetensors
from avatar.core.geometry import Camera
from avatar.core.motion_space import Motion

FORMAT = "avatar/8"
MOTION_NAMES = ("expression", "eyes", "rotation", "translation", "torso")


@dataclass(frozen=True)
class Habits:
    """How this person moves when speaking."""

    expression_mean: Tensor  # [K]
    expression_std: Tensor  # [K]
    blinks_per_second: float
    blink_seconds: float
    lag_seconds: float  # how much later than the sound the picture is, in the source clip
    own: Motion  # the frames they were seen in
    mouth_reach: float = 1.0  # times what the speech model says: it is shy with sound it has not learned from


@dataclass(frozen=True)
class Avatar:
    """A person who can be drawn and can speak: tensors and plain values."""

    kind: str  # a key of avatar.render.RENDERERS
    renderer: dict[str, Tensor]
    speech: dict[str, Tensor]
    habits: Habits
    plate: Tensor  # [S, S, 3] uint8
    camera: Camera
    fps: float
    space_id: str
    recipe: str  # YAML, as run
    provenance: dict[str, str]
    frame: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.uint8))  # [n] JPEG: a whole source frame
    features: str = "whisper"  # what the speech model hears
    crop: tuple[float, float, float] = (0.0, 0.0, 0.0)  # left, top, side in px of it: where the avatar belongs

    def __repr__(self) -> str:
        values = sum(tensor.numel() for tensor in self.renderer.values())
        return f"Avatar({self.kind}, {self.camera.size} px, {self.fps:g} fps, {values} renderer values)"


def save_avatar(avatar: Avatar, path: Path) -> None:
    """Write an avatar as one safetensors file; whole or not at all."""
    habits = avatar.habits
    tensors = {f"renderer.{name}": tensor for name, tensor in avatar.renderer.items()}
    tensors |= {f"speech.{name}": tensor for name, tensor in avatar.speech.items()}
    tensors |= {f"habits.own.{name}": getattr(habits.own, name) for name in MOTION_NAMES}
    tensors |= {"habits.expression_mean": habits.expression_mean, "habits.expression_std": habits.expression_std}
    tensors |= {"plate": avatar.plate, "frame": avatar.frame}
    header: dict[str, Any] = {
        "kind": avatar.kind,
        "camera": {"focal": avatar.camera.focal, "size": avatar.camera.size},
        "fps": avatar.fps,
        "crop": avatar.crop,
        "space_id": avatar.space_id,
        "features": avatar.features,
        "recipe": avatar.recipe,
        "provenance": avatar.provenance,
        "habits": {
            "blinks_per_second": habits.blinks_per_second,
            "blink_seconds": habits.blink_seconds,
            "lag_seconds": habits.lag_seconds,
            "mouth_reach": habits.mouth_reach,
            "fps": habits.own.fps,
        },
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    packed, header["deflated"] = deflate(plain)
    stream_safetensors(packed, path, {"format": FORMAT, "avatar": json.dumps(header)})


def load_avatar(path: Path | str) -> Avatar:
    """Read an avatar. Raises: UserError when the file is missing, truncated, foreign, edited or of another version."""
    path = Path(path)
    check_readable(path, "avatar file")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            _check_format(metadata.get("format"), path)
            header = json.loads(metadata["avatar"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _assemble(header, inflate(tensors, header["deflated"]))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is not an avatar file, or is cut short ({error})") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: is a damaged or edited avatar file ({error!r}); build it again") from error


def _check_format(found: str | None, path: Path) -> None:
    if found == FORMAT:
        return
    if found and found.startswith("avatar/"):
        raise UserError(f"{path}: is of format {found}, this version reads {FORMAT}; build it again")
    raise UserError(f"{path}: is not an avatar file; make one with `avatar build`")


def _assemble(header: dict, tensors: dict[str, Tensor]) -> Avatar:
    def part(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    values = header["habits"]
    habits = Habits(
        expression_mean=tensors["habits.expression_mean"],
        expression_std=tensors["habits.expression_std"],
        blinks_per_second=float(values["blinks_per_second"]),
        blink_seconds=float(values["blink_seconds"]),
        lag_seconds=float(values["lag_seconds"]),
        own=Motion(**part("habits.own."), fps=float(values["fps"])),
        mouth_reach=float(values.get("mouth_reach", 1.0)),
    )
    camera = Camera(float(header["camera"]["focal"]), int(header["camera"]["size"]))
    plate = tensors["plate"]
    if tuple(plate.shape) != (camera.size, camera.size, 3):
        raise ValueError(f"plate is {list(plate.shape)}, expected [{camera.size}, {camera.size}, 3]")
    return Avatar(
        kind=str(header["kind"]),
        renderer=part("renderer."),
        speech=part("speech."),
        habits=habits,
        plate=plate,
        camera=camera,
        fps=float(header["fps"]),
        space_id=str(header["space_id"]),
        recipe=str(header["recipe"]),
        provenance={str(key): str(value) for key, value in header["provenance"].items()},
        features=str(header["features"]),
        frame=tensors.get("frame", torch.zeros(0, dtype=torch.uint8)),
        crop=tuple(float(value) for value in header.get("crop", (0, 0, 0))),  # type: ignore[arg-type]
    )
