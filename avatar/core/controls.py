"""Controls: what a person may turn at render time, as numbers or as curves over time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from avatar.core.avatar_file import Avatar
from avatar.core.recipe import CONTROL_ALIASES, Alias, Settings, parse, read_yaml, yaml_values

Curve = float | dict[float, float]
"""A number, or numbers at seconds, between which it runs straight."""


def _within(most: float) -> Callable[[Curve], Curve]:
    def check(value: Curve) -> Curve:
        times = list(value) if isinstance(value, dict) else []
        numbers = list(value.values()) if isinstance(value, dict) else [value]
        if isinstance(value, dict) and not value:
            raise ValueError("needs a value at one second at least")
        if not all(0 <= number <= most for number in numbers):
            raise ValueError(f"must lie between 0 and {most:g}")
        if any(time < 0 for time in times) or any(b <= a for a, b in pairwise(times)):
            raise ValueError("must have seconds that grow from 0 on")
        return value

    return check


def _known_pose(pose: str) -> str:
    if pose not in ("generated", "still") and not (pose.startswith("take:") and len(pose) > len("take:")):
        raise ValueError(f"must be generated, still or take:DIR, not '{pose}'")
    return pose


class Controls(Settings):
    """What a person may turn at render time. Curves are given as {second: value}."""

    mouth_gain: Annotated[Curve, AfterValidator(_within(3))] = 1.0
    expression_gain: Annotated[Curve, AfterValidator(_within(3))] = 1.0
    blink: Annotated[Curve, AfterValidator(_within(5))] = 1.0  # times the person's own rate; 0 = never
    head: Annotated[Curve, AfterValidator(_within(2))] = 1.0  # times the person's own head motion; 0 = still
    gaze: Annotated[Curve, AfterValidator(_within(2))] = 1.0  # times the person's own shifts of gaze; 0 = straight
    temperature: Annotated[Curve, AfterValidator(_within(2))] = 1.0  # times what the face does beside the sound
    lle: float = Field(0.1, ge=0, le=1)  # pull towards motions this person has made
    pose: Annotated[str, AfterValidator(_known_pose)] = "generated"  # or `still`, or `take:DIR`
    style: str | None = None  # a clip or a Take whose manner of speaking is taken on
    seed: int = Field(0, ge=0)  # of every random draw

    aliases: ClassVar[Mapping[str, Alias]] = CONTROL_ALIASES

    @property
    def followed(self) -> str:
        """The folder of the Take whose head, shoulders and gaze are taken; empty for none."""
        return self.pose.removeprefix("take:") if self.pose.startswith("take:") else ""

    def over(self, seconds: Tensor) -> ControlFrames:
        """The controls at times [T] s."""
        names = ("mouth_gain", "expression_gain", "blink", "head", "gaze", "temperature")
        curves = {name: _read(getattr(self, name), seconds) for name in names}
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


def _read(curve: Curve, seconds: Tensor) -> Tensor:
    if not isinstance(curve, dict):
        return torch.full((len(seconds),), float(curve))
    times, values = np.array(list(curve.keys())), np.array(list(curve.values()))
    return torch.from_numpy(np.interp(seconds.numpy(), times, values)).float()


def resolve_controls(
    avatar: Avatar, file: Path | Mapping[str, Any] | None = None, flags: Mapping[str, Any] | None = None
) -> Controls:
    """The controls an avatar speaks with: flags over a file (or its content) over the avatar's recipe over the defaults.

    Only the caller's own controls may name files: `style` and `pose: take:DIR` of an avatar's recipe, which may come from
    anybody, are left out with a warning. Raises: UserError naming file, key and what is wrong.
    """
    recipe = yaml_values(avatar.recipe).get("controls") or {}
    built = parse(Controls, recipe, "the avatar's recipe, controls")
    kept = built.model_dump(exclude_unset=True)
    for name in [name for name in ("style", "pose") if name in kept and names_file(name, kept[name])]:
        warnings.warn(f"the avatar's recipe names a file ({name}: {kept.pop(name)}); name it yourself", stacklevel=2)
    own, where = (read_yaml(file, "controls"), str(file)) if isinstance(file, Path) else (file or {}, "controls")
    given = parse(Controls, dict(own), where).model_dump(exclude_unset=True)
    return parse(Controls, kept | given | dict(flags or {}), "controls")


def names_file(key: str, value: Any) -> bool:
    """Whether a control names a file or folder."""
    return bool(value) and (key == "style" or (key == "pose" and str(value).startswith("take:")))
