"""Look: how an avatar is shown."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from avatar.core.coding import Coding
from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.core.named_files import TRANSPARENT, is_colour
from avatar.scene.background import Backdrop
from avatar.scene.scene import Scene

MOST_ORBIT = 20.0  # degrees: beyond, nothing was ever recorded
LEAST_SIZE, MOST_SIZE = 64, 2048  # px; even, as films have half as many chroma samples


@dataclass(frozen=True)
class Look:
    """How an avatar is shown."""

    size: int | None = None  # px a side; None: as it was trained
    fps: float | None = None  # None: as it was trained
    background: str | None = None  # a picture, a film, a colour, `transparent`; None: the avatar's own plate
    full_frame: bool = False  # the whole picture that the person was filmed in
    orbit: float = 0.0  # degrees that the view swings to either side
    coding: Coding = field(default_factory=Coding)
    label: Label = field(default_factory=Label)  # that says that it was generated
    footage: str | None = None  # the clip that the avatar was built from: its body moves, its mouth is drawn
    scene: Scene = field(default_factory=Scene, repr=False)  # how the person belongs in the picture

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be shown, or not together."""
        if self.full_frame and (self.background or self.size or self.orbit):
            raise UserError(
                "a full frame keeps its own background, size and view; leave --background, --size and --orbit out"
            )
        if self.footage and (self.background or self.orbit):
            raise UserError("footage keeps its own background and view; leave --background and --orbit out")
        if self.scene != Scene() and (self.full_frame or self.footage):
            raise UserError("a full frame and footage keep place and light; leave the options of the scene out")
        if self.scene.placed and self.size:
            raise UserError("--size: is of the square alone; the person's size is that of --place")
        if self.scene.light.partition(":")[0] == "background" and (not self.background or self.transparent):
            raise UserError("--light background: goes with --background FILE, whose light it is")
        if self.scene.backdrop != Backdrop() and not self.background:
            raise UserError("how the background moves goes with --background FILE")
        if not 0 <= self.orbit <= MOST_ORBIT:
            raise UserError(f"--orbit: {self.orbit:g} is not between 0 and {MOST_ORBIT:g} degrees")
        if self.size and (self.size % 2 or not LEAST_SIZE <= self.size <= MOST_SIZE):
            raise UserError(f"--size: {self.size} is not an even number from {LEAST_SIZE} to {MOST_SIZE} px")

    @property
    def files(self) -> list[str]:
        """What is read: the background, where it is no colour, the footage, light and colours."""
        background = [self.background] if self.background and not is_colour(self.background) else []
        return [*background, *([self.footage] if self.footage else []), *self.scene.files]

    @property
    def seen(self) -> str:
        """What of it is seen, as text: how a film is coded makes no other film of it."""
        scene = "" if self.scene == Scene() else repr(self.scene)
        return repr(replace(self, coding=Coding())) + scene

    @property
    def transparent(self) -> bool:
        """Whether frames keep their alpha."""
        return self.background == TRANSPARENT
