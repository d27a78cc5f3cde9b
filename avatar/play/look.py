"""Look: how an avatar is shown, and what lies behind it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageColor, ImageOps, ImageSequence
from torch import Tensor
from torch.nn import functional

from avatar.core.coding import Coding
from avatar.core.files import UserError, check_readable
from avatar.core.label import Label
from avatar.core.media import probe, read_video
from avatar.core.named_files import TRANSPARENT, is_colour
from avatar.core.pictures import PictureTooLargeError, open_picture

MOST_ORBIT = 20.0  # degrees: beyond, nothing was ever recorded
LEAST_SIZE, MOST_SIZE = 64, 2048  # px; even, as films have half as many chroma samples
FILM_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")

ANIMATED = ("GIF", "PNG", "WEBP")  # formats whose pictures are one after the other; those of TIFF are pages
LEAST_MS = 20.0  # that a picture of an animation is shown
SRGB = "sRGB"  # in the name of a profile that changes nothing

Background = Tensor | Iterator[Tensor]
"""A picture [S, S, 3] uint8, or one for each frame."""


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

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be shown, or not together."""
        if self.full_frame and (self.background or self.size or self.orbit):
            raise UserError(
                "a full frame keeps its own background, size and view; leave --background, --size and --orbit out"
            )
        if self.footage and (self.background or self.orbit):
            raise UserError("footage keeps its own background and view; leave --background and --orbit out")
        if not 0 <= self.orbit <= MOST_ORBIT:
            raise UserError(f"--orbit: {self.orbit:g} is not between 0 and {MOST_ORBIT:g} degrees")
        if self.size and (self.size % 2 or not LEAST_SIZE <= self.size <= MOST_SIZE):
            raise UserError(f"--size: {self.size} is not an even number from {LEAST_SIZE} to {MOST_SIZE} px")

    @property
    def files(self) -> list[str]:
        """What is read: the background, where it is no colour, and the footage."""
        background = [self.background] if self.background and not is_colour(self.background) else []
        return [*background, *([self.footage] if self.footage else [])]

    @property
    def seen(self) -> str:
        """What of it is seen, as text: how a film is coded makes no other film of it."""
        return repr(replace(self, coding=Coding()))

    @property
    def transparent(self) -> bool:
        """Whether frames keep their alpha."""
        return self.background == TRANSPARENT


def open_background(choice: str, size: int, fps: float) -> Background:
    """A picture [S, S, 3] uint8 from a file or a colour; of a film endless pictures: it begins anew at its end.

    Raises: UserError when it is none of these.
    """
    path = Path(choice)
    if path.suffix.lower() not in FILM_ENDINGS:
        return _animation(path, size, fps) or read_background(choice, size)
    if not probe(path).has_video:
        raise UserError(f"{path}: has no picture; give a video, a picture or a colour as background")
    return _loop(path, size, fps)


def _loop(path: Path, size: int, fps: float) -> Iterator[Tensor]:
    frame = None
    while True:
        for frame in read_video(path, size=size, fps=fps):
            yield torch.from_numpy(frame.copy())
        if frame is None:
            raise UserError(f"{path}: holds no frame that can be decoded; give another background")


def _animation(path: Path, size: int, fps: float) -> Iterator[Tensor] | None:
    """Endless pictures of an animated picture file, each for as long as it says; None for any other file."""
    try:
        with open_picture(path) as image:
            if getattr(image, "n_frames", 1) == 1 or image.format not in ANIMATED:
                return None
    except ValueError:
        return None  # whoever reads it as a picture says what is wrong with it
    return _play_whole(path, size, fps)


def _play_whole(path: Path, size: int, fps: float) -> Iterator[Tensor]:
    """As `_play`. Raises: UserError where a picture of the animation is damaged."""
    try:
        yield from _play(path, size, fps)
    except ValueError as error:
        raise UserError(f"{path}: is not an animation that can be read ({error}); give another background") from error


def _play(path: Path, size: int, fps: float) -> Iterator[Tensor]:
    with open_picture(path) as image:
        drawn, until = 0, 0.0
        while True:
            for frame in ImageSequence.Iterator(image):
                frame.load()  # how long it is shown is not known before
                until += max(float(frame.info.get("duration", 0)), LEAST_MS) / 1000
                if drawn >= (due := round(until * fps)):
                    continue
                picture = _square(frame, size)
                while drawn < due:
                    yield picture
                    drawn += 1


def read_background(choice: str, size: int) -> Tensor:
    """A background [S, S, 3] uint8 from a picture file (its middle square) or a colour name or #rrggbb.

    Raises: UserError when it is neither.
    """
    path = Path(choice)
    if not path.exists():
        try:
            color = ImageColor.getrgb(choice)[:3]
        except ValueError as error:
            raise UserError(f"background '{choice}': is neither a picture file nor a colour like #20a040") from error
        return torch.tensor(color, dtype=torch.uint8).expand(size, size, 3).contiguous()
    check_readable(path, "picture")
    try:
        with open_picture(path) as image:
            return _square(image, size)
    except PictureTooLargeError as error:
        raise UserError(f"{path}: {error}; make it smaller first") from error
    except ValueError as error:
        raise UserError(f"{path}: is not a picture that can be read ({error})") from error


def _square(image: Image.Image, size: int) -> Tensor:
    """The middle square [S, S, 3] uint8 of a picture, as viewers show it."""
    shown = as_shown(image)
    side = min(shown.size)
    left, top = (shown.width - side) // 2, (shown.height - side) // 2
    square = shown.crop((left, top, left + side, top + side)).resize((size, size))
    return torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).view(size, size, 3)


def as_shown(image: Image.Image) -> Image.Image:
    """A picture in sRGB as viewers show it: turned by EXIF, colours by its profile, white where it is clear."""
    profile = image.info.get("icc_profile")
    turned = ImageOps.exif_transpose(image)
    if turned.mode in ("I;16", "I;16B", "I;16L", "I"):  # 16 bit grey, which `convert` would cut off at 255
        grey = np.asarray(turned.convert("I"), np.float32) / 257
        turned = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8), "L")
    elif turned.mode == "F":  # 0..1 in TIFFs of floats
        turned = Image.fromarray((np.asarray(turned).clip(0, 1) * 255).round().astype(np.uint8), "L")
    if turned.has_transparency_data:
        clear = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return _to_srgb(turned, profile)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB of a picture by its colour profile; without one, or with one that is damaged, as it is."""
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if SRGB in ImageCms.getProfileDescription(source):
                return image.convert("RGB")
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return image.convert("RGB")


def resize_plate(picture: Tensor, size: int) -> Tensor:
    """A picture [S, S, 3] uint8 at another size."""
    if len(picture) == size:
        return picture
    mode = "area" if size < len(picture) else "bicubic"
    resized = functional.interpolate(picture.permute(2, 0, 1)[None].float(), (size, size), mode=mode)
    return resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).contiguous()
