"""What marks a setting as an option: how it is given, and whether it is a file that a verb reads or writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from avatar.core.files import UserError
from avatar.core.recipe import Settings, parse_duration

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


Duration = Annotated[str, BeforeValidator(_duration, json_schema_input_type=str | float), Given(metavar="DURATION")]
