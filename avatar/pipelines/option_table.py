"""The rows of a verb's table of options, for whoever reads it: the command line, job files, docs/options.md."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from avatar.core.controls import UpTo
from avatar.core.named_files import NamesFile, marked, markers_of
from avatar.core.recipe import Settings
from avatar.pipelines.option_markers import FileOfSettings, Given, Role
from avatar.pipelines.options import Hardware


@dataclass(frozen=True)
class Option:
    """A row of the table."""

    name: str  # in job files, and of the setting
    type: Any  # Path, int, float, str, bool or a Literal
    required: bool
    default: Any
    least: float | None
    most: float | None
    description: str
    given: Given
    flags: tuple[str, ...]  # with the names of other projects that mean just the same; none for an argument
    aliases: tuple[str, ...]  # names of other projects that are flags of their own: whose values are converted


@functools.cache
def options_of(verb: type[Settings]) -> tuple[Option, ...]:
    """The table of a verb: inputs, outputs, then the rest, each in order."""
    order = get_args(Role)
    rows = [_option(verb, name, field) for name, field in verb.model_fields.items()]
    return tuple(sorted(rows, key=lambda row: (order.index(row.given.role), row.name in Hardware.model_fields)))


@functools.cache
def settings_files(verb: type[Settings]) -> dict[str, FileOfSettings]:
    """The options of a verb that are files of settings."""
    return marked(verb, FileOfSettings)


def _option(verb: type[Settings], name: str, field: FieldInfo) -> Option:
    markers = [getattr(marker, "func", marker) for marker in markers_of(field)]
    given = next((one for one in markers if isinstance(one, Given)), Given())
    found = {type(marker): marker for marker in markers}
    same = {other: alias for other, alias in verb.aliases.items() if alias.key == name}
    apart = [other for other, alias in same.items() if alias.converts or given.positional]
    flags = () if given.positional else given.flags or (f"--{name.replace('_', '-')}",)
    least = found[Ge].ge if Ge in found else 0 if UpTo in found else None
    most = found[Le].le if Le in found else found[UpTo].most if UpTo in found else None
    is_path = found.get(NamesFile) == NamesFile() or FileOfSettings in found
    return Option(
        name=name,
        type=Path if is_path else _plain(field.annotation),
        required=field.is_required(),
        default=None if field.is_required() else field.default,
        least=least,
        most=most,
        description=field.description or "",
        given=given,
        flags=(*flags, *(f"--{other}" for other in same if other not in apart)),
        aliases=tuple(apart),
    )


def _plain(annotation: Any) -> Any:
    """The type of a value as one types it: without markers, None, and curves over time."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (UnionType, Union):
        return _plain(get_args(annotation)[0])
    return annotation
