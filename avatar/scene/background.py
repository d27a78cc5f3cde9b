"""What lies behind a person: any picture or film, a colour, a gradient, or where they were filmed, out of focus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from avatar.core.files import UserError
from avatar.core.media import Stretch, probe
from avatar.core.named_files import BLUR, is_colour
from avatar.scene.moving import Ending, Pan, pan_still, play_animation, play_film
from avatar.scene.still import Shape, blur_plate, open_still, read_background

FILM_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")

Background = Tensor | Iterator[Tensor]
"""A picture [H, W, 3] uint8, or one for each frame, without end."""


@dataclass(frozen=True)
class Backdrop:
    """How a background moves."""

    start: float = 0.0  # s of a film, from where on it is shown
    stop: float | None = None  # s of a film; None: to its end
    end: Ending = "loop"  # what comes after it
    pan: Pan | None = None  # of a still
    sound: float | None = None  # dB of a film's sound under the voice; None: silent

    @property
    def stretch(self) -> Stretch:
        """The part of the film."""
        return Stretch(self.start, self.stop)


def is_film(choice: str) -> bool:
    """Whether a background is a film, by its name."""
    return not is_colour(choice) and Path(choice).suffix.lower() in FILM_ENDINGS


def open_background(
    choice: str, shape: Shape, fps: float, backdrop: Backdrop | None = None, plate: Tensor | None = None
) -> Background:
    """A picture [H, W, 3] uint8 that fills the shape; of a film, an animation or a pan endless pictures.

    plate: [S, S, 3] uint8, where the person was filmed, for `blur`. Raises: UserError when it is none of these.
    """
    backdrop = backdrop or Backdrop()
    path = Path(choice)
    if is_film(choice):
        if backdrop.pan:
            raise UserError(f"{path}: is a film, which moves by itself; leave --background-pan out")
        info = probe(path)
        if not info.has_video:
            raise UserError(f"{path}: has no picture; give a video, a picture or a colour as background")
        if backdrop.sound is not None and not info.has_audio:
            raise UserError(f"{path}: has no sound; leave --background-sound out")
        backdrop.stretch.within(info, str(path))
        return play_film(path, shape, fps, backdrop.stretch, backdrop.end)
    if backdrop.stretch != Stretch() or backdrop.end != "loop" or backdrop.sound is not None:
        raise UserError(f"background '{choice}': is no film, of which a part, its end or its sound could be chosen")
    if choice.split(":")[0] == BLUR and is_colour(choice):
        if plate is None:
            raise UserError(f"background '{choice}': goes with an avatar, whose own background it is")
        picture = blur_plate(choice, plate, shape)
    elif backdrop.pan and not is_colour(choice):
        return pan_still(path, shape, fps, backdrop.pan)
    else:
        moving = None if is_colour(choice) else play_animation(path, shape, fps)
        if moving:
            return moving
        picture = read_background(choice, shape)
    if backdrop.pan:
        raise UserError(f"background '{choice}': is no picture that could be panned; leave --background-pan out")
    return picture


def own_shape(choice: str) -> Shape | None:
    """Height and width px of a picture file or film as viewers show it; None for what has no size of its own."""
    if is_colour(choice):
        return None
    if is_film(choice):
        info = probe(Path(choice))
        return info.height, info.width
    with open_still(Path(choice)) as image:
        turned = image.getexif().get(0x0112, 1) >= 5  # EXIF's orientations from 5 on lie on their side
        return (image.width, image.height) if turned else (image.height, image.width)
