"""Avatar and SpeakingStyle: the `.avatar` file. Data only; loading one cannot run code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from avatar.core.deflate import deflate, inflate
from avatar.core.files import UserError, check_readable, open_tensors, stream_safetensors
from avatar.core.geometry import Camera
from avatar.core.light import ClipLight
from avatar.core.motion_space import MOTION_NAMES, Motion, check_motion_values
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
from avatar.core.speech_model import SpeechModel, from_tensors, to_tensors
from avatar.core.versions import Format, check_version, convert, parse_tag
from cuda_ext.shapes import check_shapes

TRUSTED_TURN = "trusted_turn"  # in the provenance of an avatar of photos: degrees that its head can turn by


@dataclass(frozen=True)
class SpeakingStyle:
    """How this person moves when speaking: statistics, and their own motion."""

    blinks_per_second: float
    blink_seconds: float
    lag_seconds: float  # how much later than the sound the picture is, in the source clip
    own: Motion  # of the frames that were trained on
    amplitude_gain: float = 1.0  # times the mouth's motion, where the speech model has no range of lips


@dataclass(frozen=True)
class TrainedOn:
    """Which frames of which clip an avatar was trained on."""

    clip: str  # `avatar.core.take.clip_key` of the Take
    spans: tuple[tuple[int, int], ...]  # frames [start, stop)
    stop: int  # the training part: frames from here on were held out


@dataclass(frozen=True)
class Avatar:
    """A person who can be drawn and can speak: tensors and plain values."""

    kind: str  # a key of avatar.render.RENDERERS
    renderer: dict[str, Tensor]
    speech: SpeechModel
    style: SpeakingStyle
    plate: Tensor  # [S, S, 3] uint8
    camera: Camera
    fps: float
    space_id: str
    recipe: str  # YAML, as run
    provenance: dict[str, str]
    frame: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.uint8))  # [n] JPEG: a whole source frame
    crop: tuple[float, float, float] = (0.0, 0.0, 0.0)  # left, top, side in px of it: where the avatar belongs
    matte: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.uint8))  # [H, W] of the frame's person
    trained_on: TrainedOn | None = None  # None: not known
    light: ClipLight | None = None  # that the clip was filmed in; None: not known
    file: str = field(default="", compare=False)  # where this was read, for errors

    def __repr__(self) -> str:
        values = sum(tensor.numel() for tensor in self.renderer.values())
        return f"Avatar({self.kind}, {self.camera.size} px, {self.fps:g} fps, {values} renderer values)"


def save_avatar(avatar: Avatar, path: Path | str) -> None:
    """Write an avatar as one safetensors file; whole or not at all."""
    style, path = avatar.style, Path(path)
    tensors = {f"renderer.{name}": tensor for name, tensor in avatar.renderer.items()}
    tensors |= {f"speech.{name}": tensor for name, tensor in to_tensors(avatar.speech).items()}
    tensors |= {f"style.own.{name}": getattr(style.own, name) for name in MOTION_NAMES}
    tensors |= {"plate": avatar.plate, "frame": avatar.frame, "matte": avatar.matte}
    header: dict[str, Any] = {
        "kind": avatar.kind,
        "camera": {"focal": avatar.camera.focal, "size": avatar.camera.size},
        "fps": avatar.fps,
        "crop": avatar.crop,
        "space_id": avatar.space_id,
        "features": avatar.speech.features,
        "recipe": avatar.recipe,
        "provenance": avatar.provenance,
        "style": {
            "blinks_per_second": style.blinks_per_second,
            "blink_seconds": style.blink_seconds,
            "lag_seconds": style.lag_seconds,
            "amplitude_gain": style.amplitude_gain,
            "fps": style.own.fps,
        },
        "trained_on": None,
    }
    if (seen := avatar.trained_on) is not None:
        header["trained_on"] = {"clip": seen.clip, "spans": seen.spans, "stop": seen.stop}
    if (light := avatar.light) is not None:
        header["light"] = {"explained": light.explained}
        tensors |= {"light.normals": light.normals.half(), "light.matrices": light.matrices}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    packed, header["deflated"] = deflate(plain)
    note = {"format": FORMAT.tag, "reader": FORMAT.since, "avatar": json.dumps(header)}
    stream_safetensors(packed, path, note)


def load_avatar(path: Path | str) -> Avatar:
    """Read an avatar, of this or of the two versions before.

    Raises: UserError when the file is missing, truncated, foreign, edited, or of a version that cannot be read.
    """
    path = Path(path)
    check_readable(path, "avatar file")
    try:
        with open_tensors(path) as file:
            metadata = file.metadata() or {}
            version = parse_tag(FORMAT, metadata.get("format"))
            if version is None:
                raise UserError(f"{path}: is not an avatar file; make one with `avatar build`")
            check_version(FORMAT, version, path, reader=metadata.get("reader", ""))
            header = json.loads(metadata["avatar"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = convert(FORMAT, version, (header, inflate(tensors, header["deflated"])))
        return replace(_assemble(*content), file=str(path))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is not an avatar file, or is cut short ({in_short(error)})") from error
    except DAMAGE as error:
        raise UserError(f"{path}: is a damaged or edited avatar file ({in_short(error)}); build it again") from error


def as_avatar(avatar: Avatar | Path | str) -> Avatar:
    """An avatar that is given as one, or as the name of its file. Raises: UserError, as `load_avatar`."""
    return load_avatar(avatar) if isinstance(avatar, (Path, str)) else avatar


Content = tuple[dict[str, Any], dict[str, Tensor]]
"""Header and tensors of a file."""


def _from_8(content: Content) -> Content:
    """Version 8 had `habits`, an unused mean and deviation of expressions, no matte, and did not know its frames."""
    header, tensors = dict(content[0]), dict(content[1])
    style = dict(header.pop("habits"))
    style["amplitude_gain"] = style.pop("mouth_reach", 1.0)
    header |= {"style": style, "trained_on": None}
    for name in ("habits.expression_mean", "habits.expression_std"):
        tensors.pop(name, None)
    for name in MOTION_NAMES:
        tensors[f"style.own.{name}"] = tensors.pop(f"habits.own.{name}")
    renamed = {"own_voice": "voice", "decoder.usual": "decoder.input_mean", "decoder.spread": "decoder.input_std"}
    for old, new in renamed.items():
        if f"speech.{old}" in tensors:
            tensors[f"speech.{new}"] = tensors.pop(f"speech.{old}")
    return header, tensors | {"matte": torch.zeros(0, 0, dtype=torch.uint8)}


FORMAT = Format("avatar", 9, "0.2.0", "build it again from its clip", {8: _from_8})


def _assemble(header: dict[str, Any], tensors: dict[str, Tensor]) -> Avatar:
    def part(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    values, rate = header["style"], number(header["fps"], "fps", *FPS)
    if not all(isinstance(header[name], str) for name in ("kind", "space_id", "features", "recipe")):
        raise ValueError("kind, space_id, features or recipe is not a text")
    check_values({name: tensor for name, tensor in tensors.items() if not name.startswith("style.own.")})
    own = Motion(**part("style.own."), fps=number(values["fps"], "style.fps", *FPS), space_id=header["space_id"])
    style = SpeakingStyle(
        blinks_per_second=number(values["blinks_per_second"], "style.blinks_per_second", 0, 10),
        blink_seconds=number(values["blink_seconds"], "style.blink_seconds", 0, 10),
        lag_seconds=number(values["lag_seconds"], "style.lag_seconds", -10, 10),
        own=check_motion_values(own),
        amplitude_gain=number(values["amplitude_gain"], "style.amplitude_gain", 0, 100),
    )
    camera = read_camera(header["camera"]["focal"], header["camera"]["size"])
    pictures = {name: tensors.get(name, torch.zeros(0, dtype=torch.uint8)) for name in ("plate", "frame", "matte")}
    check_shapes("avatar", {"plate": (pictures["plate"], f"{camera.size} {camera.size} 3")}, dtype=torch.uint8)
    check_shapes("avatar", {"frame": (pictures["frame"], "n"), "matte": (pictures["matte"], "H W")}, dtype=torch.uint8)
    left, top, side = numbers(header.get("crop", (0, 0, 0)), "crop", 3, PLACE_PX)
    speech = from_tensors(part("speech."), header["features"])
    check_shapes("avatar", {"style.own.expression": (own.expression, f"T {len(speech.mean)}")})
    return Avatar(
        kind=header["kind"],
        renderer=part("renderer."),
        speech=speech,
        style=style,
        plate=pictures["plate"],
        camera=camera,
        fps=rate,
        space_id=header["space_id"],
        recipe=header["recipe"],
        provenance=texts(header["provenance"], "provenance"),
        frame=pictures["frame"],
        crop=(left, top, side),
        matte=pictures["matte"],
        trained_on=_trained_on(header["trained_on"]),
        light=_light(header.get("light"), part("light.")),
    )


def _light(values: dict[str, Any] | None, tensors: dict[str, Tensor]) -> ClipLight | None:
    if values is None:
        return None
    normals, matrices = tensors["normals"].float(), tensors["matrices"].float()
    check_shapes("light", {"normals": (normals, "N 3"), "matrices": (matrices, "3 4 4")})
    return ClipLight(normals, matrices, number(values["explained"], "light.explained", 0, 1))


def _trained_on(values: dict[str, Any] | None) -> TrainedOn | None:
    if values is None:
        return None
    if not isinstance(values["clip"], str):
        raise ValueError(f"trained_on.clip is {shown(values['clip'])}, expected a text")
    spans = [(_frame(start), _frame(stop)) for start, stop in values["spans"]]
    return TrainedOn(values["clip"], tuple(spans), _frame(values["stop"]))


def _frame(value: Any) -> int:
    return whole_number(value, "trained_on's frame", 0, MOST_FRAMES)
