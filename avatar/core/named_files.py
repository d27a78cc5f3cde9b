"""Settings that name files know it, by a marker in their type: whoever resolves, checks or digests files reads that."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

TRANSPARENT, BLUR, GRADIENT = "transparent", "blur", "gradient:"  # backgrounds that are no file
NAMED_LIGHTS = ("keep", "room", "background", "left", "right", "top", "window", "ring", "warm", "cool")
GRADES = ("none", "match")
Marker = TypeVar("Marker")


@dataclass(frozen=True)
class NamesFile:
    """Marks a setting whose value, a text, names a file or folder."""

    prefix: str = ""  # of the values that name one, such as `take:`; other values name none
    unless: Callable[[str], bool] | None = None  # whether a value means something else, such as a colour

    def path_in(self, value: Any) -> str:
        """The file or folder that a value names; empty for none."""
        if not isinstance(value, str) or not value.startswith(self.prefix):
            return ""
        path = value.removeprefix(self.prefix)
        return "" if self.unless and self.unless(path) else path

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return handler(schema) | {"format": "path"}


def is_colour(value: str) -> bool:
    """Whether a background is a colour such as `white`, `#20a040` or `hsl(120, 50%, 50%)`, or made in another way.

    Those are `transparent`, `blur`, `blur:0.03` and `gradient:#203040:white`.
    """
    from PIL import ImageColor

    if value in (TRANSPARENT, BLUR) or value.startswith((f"{BLUR}:", GRADIENT)):
        return True
    try:
        return bool(ImageColor.getrgb(value))
    except ValueError:
        return False


def is_light_name(value: str) -> bool:
    """Whether a light is a name, with a strength or without."""
    return value.partition(":")[0] in NAMED_LIGHTS


FilePath = Annotated[str, NamesFile()]
PosePath = Annotated[str, NamesFile(prefix="take:")]
ConsentPath = Annotated[str, NamesFile(unless=lambda text: not text.endswith(".json"))]
TextPath = Annotated[str, NamesFile(unless=lambda text: not text.endswith((".txt", ".ssml", ".xml", ".srt", ".vtt")))]
LightPath = Annotated[str, NamesFile(unless=is_light_name)]
GradePath = Annotated[str, NamesFile(unless=lambda text: text in GRADES)]
BackgroundPath = Annotated[str, NamesFile(unless=is_colour)]


def markers_of(field: FieldInfo) -> list[Any]:
    """What stands in Annotated anywhere in the type of a setting, such as in `Annotated[str, ...] | None`."""
    return [*field.metadata, *_markers(field.annotation)]


def _markers(annotation: Any) -> list[Any]:
    own = list(getattr(annotation, "__metadata__", ()))
    return own + [marker for inner in get_args(annotation) for marker in _markers(inner)]


def marked(settings: type[BaseModel], kind: type[Marker]) -> dict[str, Marker]:
    """The settings of a class that have a marker of some kind, and that."""
    found: dict[str, Marker] = {}
    for name, field in settings.model_fields.items():
        if marker := next((one for one in markers_of(field) if isinstance(one, kind)), None):
            found[name] = marker
    return found


@functools.cache
def _file_markers(settings: type[BaseModel]) -> dict[str, NamesFile]:
    return marked(settings, NamesFile)


def named_files(settings: type[BaseModel], values: Mapping[str, Any]) -> dict[str, str]:
    """Of plain values of a settings class, those that name files: key -> file or folder, as it stands there."""
    markers = _file_markers(settings)
    paths = {name: markers[name].path_in(value) for name, value in values.items() if name in markers}
    return {name: path for name, path in paths.items() if path}
