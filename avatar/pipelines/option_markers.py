"""What marks a setting as an option: how it is given, whether it is a file, and settings that are files of settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.recipe import LEAST_SIZE, MOST_SIZE, SIZE_STEP, Recipe, Settings, parse_duration
from avatar.core.segments import SegmentSettings

Role = Literal["input", "output", "option"]
Sections = Mapping[str, type[Settings]]
"""Classes that a file of settings is checked by: key of a section, empty for the file itself -> class."""


@dataclass(frozen=True)
class Given:
    """Marks how a setting is given on the command line, and whether it is a file that the verb reads or writes."""

    flags: tuple[str, ...] = ()  # none: the one of its name, such as --full-frame
    metavar: str = ""  # what stands for the value in the help
    role: Role = "option"
    default: str = ""  # what happens without it, where the default itself does not say it
    positional: bool = False  # an argument, without a flag
    endings: tuple[str, ...] = ()  # of a file that is written; none: as the verb sees fit


@dataclass(frozen=True)
class FileOfSettings:
    """Marks a setting that is a YAML file of settings, or, in a job file, what would stand in it."""

    sections: Callable[[Mapping[str, Any]], Sections]


def _duration(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("must be a duration such as 90s, 5m or 1h")
    try:
        parse_duration(value, "")
    except UserError as error:
        raise ValueError(str(error).removeprefix(": ")) from error
    return value


def control_sections(values: Mapping[str, Any]) -> Sections:
    """The settings class of a file of controls."""
    return {"": Controls}


def segment_sections(values: Mapping[str, Any]) -> Sections:
    """The settings class of each segment of a film."""
    return dict.fromkeys(values, SegmentSettings)


def recipe_sections(values: Mapping[str, Any]) -> Sections:
    """The settings classes of a recipe and of those of its sections that have one. Raises: UserError."""
    sections: dict[str, type[Settings]] = {"": Recipe, "controls": Controls}
    if renderer := values.get("renderer"):
        from avatar.render.kinds import trainable_kind

        name = renderer.get("kind", "gaussian") if isinstance(renderer, Mapping) else renderer
        sections["renderer"] = trainable_kind(str(name)).settings
    return sections


def _pixels(value: Any) -> Any:
    """A size as a text: `native`, or a number that pictures can have. Raises: ValueError."""
    if value != "native":
        number = int(value) if str(value).isdigit() else 0
        if number % SIZE_STEP or not LEAST_SIZE <= number <= MOST_SIZE:
            raise ValueError(f"must be native, or a multiple of {SIZE_STEP} between {LEAST_SIZE} and {MOST_SIZE}")
    return str(value)


Pixels = Annotated[str, BeforeValidator(_pixels, json_schema_input_type=str | int), Given(metavar="PIXELS|native")]
Duration = Annotated[str, BeforeValidator(_duration, json_schema_input_type=str | float), Given(metavar="DURATION")]
