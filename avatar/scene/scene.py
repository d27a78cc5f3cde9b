"""Scene: how a person belongs in the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from avatar.scene.background import Backdrop
from avatar.scene.place import Place, parse_frame, parse_place
from avatar.scene.still import Shape

BACKDROP = {"background_from": "start", "background_to": "stop", "background_end": "end", "background_pan": "pan"}


@dataclass(frozen=True)
class Scene:
    """How a person belongs in the picture: the background's motion, their place before it."""

    backdrop: Backdrop = field(default_factory=Backdrop)
    place: Place | None = None  # None, and no frame: the square alone
    frame: Shape | None = None  # height and width px; None: the background's own

    @property
    def placed(self) -> bool:
        """Whether the person's square stands in a larger picture."""
        return self.place is not None or self.frame is not None


def make_scene(options: Mapping[str, Any]) -> Scene:
    """The scene of a verb's options, by name; those that are missing are as by default. Raises: UserError."""
    names = BACKDROP | {"background_sound": "sound"}
    backdrop = {names[name]: options[name] for name in names if options.get(name) is not None}
    place, frame = options.get("place"), options.get("frame")
    return Scene(
        Backdrop(**backdrop),
        None if place is None else parse_place(place),
        None if frame is None else parse_frame(frame),
    )
