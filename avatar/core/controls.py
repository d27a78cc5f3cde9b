"""Controls: what a person may turn at render time, as numbers or as curves over time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from avatar.core.emotion import AUTO, Emotion, parse_emotion
from avatar.core.files import UserError
from avatar.core.lines import read_mapping
from avatar.core.named_files import FilePath, PosePath, named_files
from avatar.core.outputs import beside
from avatar.core.recipe import CONTROL_ALIASES, Alias, Settings, check_seed, parse, yaml_values

if TYPE_CHECKING:  # what a control may be is known without torch, for the command line and for job files
    from torch import Tensor

    from avatar.core.avatar_file import Avatar

# Deviation of the logarithm of how far lips and brows move, and how fast the head, in three seconds of speech about the
# person's own mean: 321 stretches of 29 people (docs/lab/speech.md, "Manner from the voice").
USUAL_SPREAD = {"mouth_gain": 0.20, "head": 0.24, "temperature": 0.12}
MANNERS = {"auto": 0.0, "calm": -1.0, "lively": 1.0}
"""Manners of speaking, in these deviations."""

CLIPS = {"style": "style", "expression_from": "expression"}
"""Controls that may name a clip, and what its Take is called beside an output."""

Curve = float | dict[float, float]
"""A number, or numbers at seconds, between which it runs straight."""


@dataclass(frozen=True)
class UpTo:
    """The limits of a curve, from 0 to `most`."""

    most: float

    def __call__(self, value: Curve) -> Curve:
        """The same curve. Raises: ValueError when it leaves the limits or its seconds do not grow."""
        times = list(value) if isinstance(value, dict) else []
        numbers = list(value.values()) if isinstance(value, dict) else [value]
        if isinstance(value, dict) and not value:
            raise ValueError("needs a value at one second at least")
        if not all(0 <= number <= self.most for number in numbers):
            raise ValueError(f"must lie between 0 and {self.most:g}")
        if any(time < 0 for time in times) or any(b <= a for a, b in pairwise(times)):
            raise ValueError("must have seconds that grow from 0 on")
        return value


def _known_emotion(value: str | dict[float, str]) -> str | dict[float, str]:
    """The same. Raises: ValueError for what is no emotion, or seconds that do not grow."""
    times = list(value) if isinstance(value, dict) else []
    if value == {} or any(time < 0 for time in times) or any(b <= a for a, b in pairwise(times)):
        raise ValueError("must have seconds that grow from 0 on")
    for text in value.values() if isinstance(value, dict) else [value]:
        if text != AUTO:
            try:
                parse_emotion(text)
            except UserError as error:
                raise ValueError(str(error)) from error
    return value


def _known_pose(pose: str) -> str:
    if pose not in ("generated", "still") and not (pose.startswith("take:") and len(pose) > len("take:")):
        raise ValueError(f"must be generated, still or take:DIR, not '{pose}'")
    return pose


class Controls(Settings):
    """What a person may turn at render time. Curves are given as {second: value}."""

    mouth_gain: Annotated[Curve, AfterValidator(UpTo(3))] = Field(1.0, description="Times the mouth's motion.")
    expression_gain: Annotated[Curve, AfterValidator(UpTo(3))] = Field(1.0, description="Times all expression.")
    blink: Annotated[Curve, AfterValidator(UpTo(5))] = Field(
        1.0, description="Times the person's own blink rate; 0 = never."
    )
    head: Annotated[Curve, AfterValidator(UpTo(2))] = Field(
        1.0, description="Times the person's own head motion; 0 = still."
    )
    gaze: Annotated[Curve, AfterValidator(UpTo(2))] = Field(
        1.0, description="Times the person's own shifts of gaze; 0 = straight."
    )
    temperature: Annotated[Curve, AfterValidator(UpTo(2))] = Field(
        1.0, description="Times what the person's face does beside the sound; 0 = nothing."
    )
    emotion: Annotated[str | dict[float, str], AfterValidator(_known_emotion)] = Field(
        "neutral", description="What the face shows: happy:0.6 and the like, or auto: what the voice says of it."
    )
    manner: Literal["auto", "calm", "lively"] = Field(
        "auto", description="How far lips, brows and head move: as the sound has it, or as in calm or lively speech."
    )
    lle: float = Field(0.1, ge=0, le=1, description="Pull towards motions that the person has made.")
    pose: Annotated[PosePath, AfterValidator(_known_pose)] = Field(
        "generated", description="Where head, shoulders and gaze come from: generated, still, or take:DIR."
    )
    style: FilePath | None = Field(
        None, description="Clip or Take, of this or another person, whose manner of speaking is taken on."
    )
    expression_from: FilePath | None = Field(
        None, description="Clip, Take or .motion whose brows, eyes and mouth corners are shown while the lips speak."
    )
    seed: Annotated[int, AfterValidator(check_seed)] = Field(0, ge=0, description="Seed of every random draw.")

    aliases: ClassVar[Mapping[str, Alias]] = CONTROL_ALIASES

    @property
    def files(self) -> list[str]:
        """Files and folders that are read."""
        return list(named_files(Controls, self.model_dump()).values())

    @property
    def followed(self) -> str:
        """The folder of the Take whose head, shoulders and gaze are taken; empty for none."""
        return self.pose.removeprefix("take:") if self.pose.startswith("take:") else ""

    def emotion_at(self, seconds: float) -> Emotion | None:
        """What the face shows at a time; None for `auto`. Each emotion holds until the next."""
        text = self.emotion
        if isinstance(text, dict):
            text = next((one for time, one in reversed(text.items()) if time <= seconds), "neutral")
        return None if text == AUTO else parse_emotion(text)

    def over(self, seconds: Tensor) -> ControlFrames:
        """The controls at times [T] s."""
        import torch

        names = ("mouth_gain", "expression_gain", "blink", "head", "gaze", "temperature")
        curves = {name: _read(getattr(self, name), seconds) for name in names}
        if not self.style:  # a clip has a manner of its own
            for name, spread in USUAL_SPREAD.items():
                curves[name] = curves[name] * exp(MANNERS[self.manner] * spread)
        return ControlFrames(**curves | ({"head": torch.zeros(len(seconds))} if self.pose == "still" else {}))


@dataclass(frozen=True)
class ControlFrames:
    """Controls frame by frame, each [T]."""

    mouth_gain: Tensor
    expression_gain: Tensor
    blink: Tensor
    head: Tensor
    gaze: Tensor
    temperature: Tensor


def clip_take(output: Path | str, control: str) -> Path:
    """Where the Take of a clip that a control names is made, for an output."""
    return beside(output, f".{CLIPS[control]}.take")


def _read(curve: Curve, seconds: Tensor) -> Tensor:
    import numpy as np
    import torch

    if not isinstance(curve, dict):
        return torch.full((len(seconds),), float(curve))
    times, values = np.array(list(curve.keys())), np.array(list(curve.values()))
    return torch.from_numpy(np.interp(seconds.numpy(), times, values)).float()


def resolve_controls(
    avatar: Avatar | Path | str,
    file: Path | str | Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Controls:
    """The controls an avatar speaks with: flags over a file (or its content) over the avatar's recipe over defaults.

    Only the caller's own controls may name files: `style` and `pose: take:DIR` of an avatar's recipe, which may come
    from anybody, are left out with a warning. Raises: UserError naming file, key and what is wrong.
    """
    from avatar.core.avatar_file import as_avatar

    recipe = yaml_values(as_avatar(avatar).recipe).get("controls") or {}
    built = parse(Controls, recipe, "the avatar's recipe, controls")
    kept = built.model_dump(exclude_unset=True)
    for name in named_files(Controls, kept):
        warnings.warn(f"the avatar's recipe names a file ({name}: {kept.pop(name)}); name it yourself", stacklevel=2)
    own = read_mapping(Path(file), "controls") if isinstance(file, (Path, str)) else file or {}
    where = str(file) if isinstance(file, (Path, str)) else "controls"
    given = parse(Controls, dict(own), where).model_dump(exclude_unset=True)
    return parse(Controls, kept | given | dict(flags or {}), "controls")
