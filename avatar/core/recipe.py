"""Recipe: every setting of a run, checked before any work starts."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatar.core.files import UserError, check_readable


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(Settings):
    """One run of `avatar build`. The defaults are the default recipe."""

    name: str = "default"
    seed: int = 0
    budget_seconds: float = Field(300.0, gt=0)  # training time
    holdout: float = Field(0.0, ge=0, le=0.9)  # last part of the clip, never trained on
    size: int = Field(512, ge=64, le=1024, multiple_of=16)  # px a side of the Take that is made of a video
    train_size: int | None = Field(None, ge=64, le=1024, multiple_of=16)  # px a side of what is learned; the Take's own
    steps: int | None = Field(None, ge=1)  # at most, beside the budget: runs of any machine are then the same
    mouth_from: float = Field(1.0, ge=0, le=1)  # share of the budget after which the mouth counts much more
    renderer: dict[str, Any] = Field(default_factory=lambda: {"kind": "gaussian"})
    tracker: str = "facemesh"
    encoder: str = ""  # a file of `avatar a2m`, instead of the packaged one


SettingsType = TypeVar("SettingsType", bound=BaseModel)


def parse(settings: type[SettingsType], data: dict[str, Any], where: str) -> SettingsType:
    """Check plain values against a settings class.

    Raises: UserError naming the place, the key and the nearest valid key or what was expected.
    """
    try:
        return settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, list(settings.model_fields), 1, 0.0)
            raise UserError(f"{where}: unknown key '{key}'; did you mean '{near[0]}'?") from error
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: '{key}' {message[0].lower()}{message[1:]}") from error


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a YAML file."""
    return parse(Recipe, read_yaml(path, "recipe"), str(path))


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML (or JSON) file. Raises: UserError when it is none."""
    check_readable(path, what)
    try:
        data = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: must be a list of `key: value` lines")
    return data


def to_yaml(recipe: Recipe) -> str:
    """The recipe as YAML text, as stored in the avatar."""
    return yaml.safe_dump(recipe.model_dump(), sort_keys=False)


def parse_duration(text: str, where: str) -> float:
    """Seconds from `90`, `90s`, `5m` or `1h`."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e7:
        raise UserError(f"{where}: '{text}' is not a duration; write for example 90s, 5m or 1h")
    return seconds
