"""Settings that name files know it, by a marker in their type: whoever resolves, checks or digests files reads that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BaseModel


@dataclass(frozen=True)
class NamesFile:
    """Marks a setting whose value, a text, names a file or folder."""

    prefix: str = ""  # of the values that name one, such as `take:`; other values name none
    unless: str = ""  # a pattern of values that mean something else, such as a colour

    def path_in(self, value: Any) -> str:
        """The file or folder that a value names; empty for none."""
        if not isinstance(value, str) or not value.startswith(self.prefix):
            return ""
        path = value.removeprefix(self.prefix)
        return "" if self.unless and re.fullmatch(self.unless, path) else path

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return handler(schema) | {"format": "path"}


FilePath = Annotated[str, NamesFile()]
PosePath = Annotated[str, NamesFile(prefix="take:")]
BackgroundPath = Annotated[str, NamesFile(unless=r"#\w*|[A-Za-z]*|\w+\(.*\)")]
"""A picture or film; or a colour such as `white`, `#20a040`, `hsl(120, 50%, 50%)`, or `transparent`."""


def file_markers(settings: type[BaseModel]) -> dict[str, NamesFile]:
    """The settings of a class that name files, and how."""
    found = {}
    for name, field in settings.model_fields.items():
        for marker in [*field.metadata, *_markers(field.annotation)]:
            if isinstance(marker, NamesFile):
                found[name] = marker
    return found


def _markers(annotation: Any) -> list[Any]:
    """What stands in Annotated anywhere in a type, such as in `Annotated[str, ...] | None`."""
    own = list(getattr(annotation, "__metadata__", ()))
    return own + [marker for inner in get_args(annotation) for marker in _markers(inner)]


def named_files(settings: type[BaseModel], values: Mapping[str, Any]) -> dict[str, str]:
    """Of plain values of a settings class, those that name files: key -> file or folder, as it stands there."""
    markers = file_markers(settings)
    paths = {name: markers[name].path_in(value) for name, value in values.items() if name in markers}
    return {name: path for name, path in paths.items() if path}
