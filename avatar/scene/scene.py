"""Scene: how a person belongs in the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from avatar.core.named_files import GRADES, is_light_name
from avatar.scene.background import Backdrop
from avatar.scene.grade import NONE
from avatar.scene.light import KEEP
from avatar.scene.place import Place, parse_frame, parse_place
from avatar.scene.still import Shape

BACKDROP = {"background_from": "start", "background_to": "stop", "background_end": "end", "background_pan": "pan"}


@dataclass(frozen=True)
class Scene:
    """How a person belongs in the picture: the background's motion, their place before it, light and colour."""

    backdrop: Backdrop = field(default_factory=Backdrop)
    place: Place | None = None  # None, and no frame: the square alone
    frame: Shape | None = None  # height and width px; None: the background's own
    light: str = KEEP  # a name, or a file; see `avatar.scene.light.open_light`
    grade: str = NONE  # `match`, or a .cube file

    @property
    def placed(self) -> bool:
        """Whether the person's square stands in a larger picture."""
        return self.place is not None or self.frame is not None

    @property
    def lit(self) -> bool:
        """Whether light or colours are another than they were filmed in."""
        return self.light != KEEP or self.grade != NONE

    @property
    def files(self) -> list[str]:
        """What is read."""
        return [*([] if is_light_name(self.light) else [self.light]), *([] if self.grade in GRADES else [self.grade])]


def make_scene(options: Mapping[str, Any]) -> Scene:
    """The scene of a verb's options, by name; those that are missing are as by default. Raises: UserError."""
    names = BACKDROP | {"background_sound": "sound"}
    backdrop = {names[name]: options[name] for name in names if options.get(name) is not None}
    place, frame = options.get("place"), options.get("frame")
    return Scene(
        Backdrop(**backdrop),
        None if place is None else parse_place(place),
        None if frame is None else parse_frame(frame),
        options.get("light") or KEEP,
        options.get("grade") or NONE,
    )
