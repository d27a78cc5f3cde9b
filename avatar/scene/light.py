"""Which light a person stands in: as filmed, named, from a file over time, of a panorama, or of the background."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from PIL import ImageColor
from pydantic import AfterValidator, Field
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.light import DISPLAY
from avatar.core.lines import read_mapping
from avatar.core.named_files import NAMED_LIGHTS
from avatar.core.recipe import Settings, parse
from avatar.scene.lamps import LAMPS, Lamp, Vector, log_light
from avatar.scene.surroundings import SECONDS, light_of_panorama, light_of_picture

KEEP, ROOM, BACKGROUND = "keep", "room", "background"
PANORAMAS, CURVES = (".hdr", ".exr"), (".yaml", ".yml", ".json")
MOST_KEYS = 10_000
LOOK_SECONDS = 0.2  # after which a film's light is looked at anew: it is followed more slowly than that


def _direction(value: Any) -> Any:
    if isinstance(value, str):
        if value not in LAMPS:
            raise ValueError(f"must be x, y and z, or one of {', '.join(LAMPS)}")
        return LAMPS[value].direction
    if not math.hypot(*value) > 1e-6:
        raise ValueError("points nowhere: x, y and z are zero")
    return value


def _colour(value: str) -> str:
    try:
        ImageColor.getrgb(value)
    except ValueError as error:
        raise ValueError("must be a colour such as '#ffd0a0'") from error
    if max(ImageColor.getrgb(value)[:3]) == 0:
        raise ValueError("is black, which lights nothing; lower the strength")
    return value


class LampSettings(Settings):
    """A light at a time, in a file for `--light`."""

    direction: Annotated[str | Vector, AfterValidator(_direction)] = Field(
        LAMPS["left"].direction, description="Towards the lamp: x right, y down, z away from the camera; or a name."
    )
    colour: Annotated[str, AfterValidator(_colour)] = Field("white", description="Of the lamp.")
    strength: float = Field(1.0, ge=0, le=10, description="Of the lamp; what comes from all around is `ambient`.")
    ambient: float = Field(0.2, ge=0.01, le=10, description="From all around.")
    softness: float = Field(0.3, ge=0, le=1, description="How far the light goes round a form.")

    def matrices(self) -> Tensor:
        """Log light [3, 4, 4]."""
        red, green, blue = (max(1, value) / 255 for value in ImageColor.getrgb(self.colour)[:3])
        colour = (red**DISPLAY, green**DISPLAY, blue**DISPLAY)
        direction = self.direction
        assert not isinstance(direction, str)
        return log_light(Lamp(direction, colour, self.strength, self.ambient, self.softness))


class Light:
    """A light over time. One for each sequence of frames: that of a film remembers what came before."""

    def __init__(self, keys: Mapping[float, Tensor] | None = None, strength: float = 1.0) -> None:
        """keys: log light [3, 4, 4] by seconds, between which it changes evenly; None: that of the background."""
        self._keys, self._strength = keys, strength
        self._followed: Tensor | None = None
        self._seen: Tensor | None = None  # the last picture behind
        self._now: Tensor | None = None  # the light of a film as it was looked at last
        self._age = 0.0  # s since then

    def at(self, seconds: float, old: Tensor, behind: Tensor | None = None, step: float = 0.0) -> Tensor:
        """Log light [3, 4, 4] at a time; old: the clip's own; behind: [H, W, 3] uint8, `step` s after the last."""
        if self._keys is None:
            new = self._follow(behind, step)
        else:
            times = list(self._keys)
            after = next((index for index, time in enumerate(times) if time > seconds), len(times))
            before, after = max(0, after - 1), min(after, len(times) - 1)
            length = times[after] - times[before]
            share = (seconds - times[before]) / length if length > 0 else 0.0
            new = torch.lerp(self._keys[times[before]], self._keys[times[after]], min(1.0, max(0.0, share)))
        return torch.lerp(old, new, self._strength)

    def _follow(self, behind: Tensor | None, step: float) -> Tensor:
        if behind is not None and behind is not self._seen:
            if self._now is None or self._age >= LOOK_SECONDS:
                self._now, self._age = light_of_picture(behind), 0.0
            self._age, self._seen = self._age + step, behind
        assert self._now is not None
        share = 1 - math.exp(-step / SECONDS)
        self._followed = self._now if self._followed is None else torch.lerp(self._followed, self._now, share)
        return self._followed


def open_light(choice: str) -> Light:
    """A light of `--light`: `background`, a name or a file, with `:0.5` behind it half as strong. Raises: UserError."""
    path = Path(choice)
    if path.suffix.lower() in PANORAMAS:
        return Light({0.0: light_of_panorama(path)})
    if path.suffix.lower() in CURVES:
        return Light(_read_curve(path))
    name, colon, text = choice.partition(":")
    if name not in NAMED_LIGHTS or (colon and name in (KEEP, ROOM)):
        names = ", ".join(NAMED_LIGHTS)
        raise UserError(
            f"--light {choice}: is none of {names}, nor a file that ends in {', '.join(PANORAMAS + CURVES)}"
        )
    try:
        strength = float(text) if colon else 1.0
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= 1:
        raise UserError(f"--light {choice}: its strength must be a number from 0 to 1")
    return Light(None if name == BACKGROUND else {0.0: log_light(LAMPS[name])}, strength)


def changes(choice: str) -> bool:
    """Whether a light is a file in which it changes over time. Raises: UserError for a file that is none."""
    path = Path(choice)
    return path.suffix.lower() in CURVES and len(_read_curve(path)) > 1


def _read_curve(path: Path) -> dict[float, Tensor]:
    values = read_mapping(path, "light")
    if not values or len(values) > MOST_KEYS:
        raise UserError(f"{path}: holds {len(values)} lights; write 1 to {MOST_KEYS}, each behind its second")
    keys: dict[float, Tensor] = {}
    for time, value in values.items():
        seconds = float(time) if _is_number(time) else -1.0
        if seconds < 0 or (keys and seconds <= max(keys)):
            raise UserError(f"{path}: '{time}': seconds must be numbers that grow from 0 on")
        if not isinstance(value, dict):
            raise UserError(f"{path}, {time}: must be settings such as direction, colour, strength, ambient")
        keys[seconds] = parse(LampSettings, value, f"{path}, {time}").matrices()
    return keys


def _is_number(value: Any) -> bool:
    """Whether a key of a file is a finite number."""
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
