"""A brand file: what films of one house have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image, ImageColor
from pydantic import AfterValidator, Field

from avatar.core.files import UserError, check_readable
from avatar.core.lines import read_mapping
from avatar.core.media import probe
from avatar.core.named_files import FilePath
from avatar.core.recipe import Settings, parse
from avatar.presenter.drawing import read_picture

LogoCorner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]


def _colour(value: str) -> str:
    try:
        ImageColor.getrgb(value)
    except ValueError as error:
        raise ValueError("must be a colour such as white or '#20a040'") from error
    return value


Colour = Annotated[str, AfterValidator(_colour)]


class BrandSettings(Settings):
    """What stands in a brand file. Names of files count from the brand file's folder."""

    colour: Colour = Field("#ffffff", description="Behind slides that do not fill the frame.")
    background: FilePath | None = Field(None, description="A picture there, instead.")
    panel: Colour = Field("#dfe5ec", description="Behind the person, in a circle or a box.")
    logo: FilePath | None = Field(None, description="A picture that every frame shows.")
    logo_corner: LogoCorner = Field("top-right", description="Where.")
    logo_height: float = Field(0.06, gt=0, le=0.3, description="Of the frame's shorter side.")
    font: FilePath | None = Field(None, description="Font of captions in the picture.")
    intro: FilePath | None = Field(None, description="A film that comes first.")
    outro: FilePath | None = Field(None, description="A film that comes last.")


@dataclass(frozen=True)
class Brand:
    """A brand file, its names of files resolved."""

    settings: BrandSettings
    files: Mapping[str, Path]  # background, logo, font, intro, outro: those that are given

    @property
    def panel(self) -> tuple[int, int, int]:
        """RGB behind the person."""
        return ImageColor.getrgb(self.settings.panel)[:3]

    def backdrop(self, width: int, height: int) -> Image.Image:
        """What lies behind slides, RGB of so many px."""
        if "background" not in self.files:
            return Image.new("RGB", (width, height), ImageColor.getrgb(self.settings.colour)[:3])
        picture = read_picture(self.files["background"])
        scale = max(width / picture.width, height / picture.height)
        size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        return picture.resize(size, Image.Resampling.LANCZOS).crop((left, top, left + width, top + height))

    def logo(self, width: int, height: int) -> tuple[Image.Image, tuple[int, int]] | None:
        """The logo, RGBA, and where its left and top edge lie in a frame, px."""
        if "logo" not in self.files:
            return None
        try:
            with Image.open(self.files["logo"]) as image:
                image.thumbnail((4096, 4096))
                picture = image.convert("RGBA")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{self.files['logo']}: is not a picture that can be read; give a PNG as logo") from error
        high = max(1, round(self.settings.logo_height * min(width, height)))
        shown = picture.resize((max(1, round(picture.width * high / picture.height)), high), Image.Resampling.LANCZOS)
        margin = high // 3
        right, bottom = "right" in self.settings.logo_corner, "bottom" in self.settings.logo_corner
        return shown, (width - margin - shown.width if right else margin, height - margin - high if bottom else margin)


def read_brand(given: Path | str | Mapping[str, Any] | None) -> Brand:
    """A brand file, its content, or none: the defaults. Raises: UserError naming what is wrong."""
    folder, where = Path(), "brand"
    if isinstance(given, (Path, str)):
        folder, where = Path(given).parent, str(given)
        given = read_mapping(Path(given), "brand file")
    settings = parse(BrandSettings, dict(given or {}), where)
    files = {}
    for name in ("background", "logo", "font", "intro", "outro"):
        if (value := getattr(settings, name)) is not None:
            files[name] = folder / value
            check_readable(files[name], f"file ({where}, {name})")
    for name in ("intro", "outro"):
        if name in files and not probe(files[name]).has_video:
            raise UserError(f"{where}, {name}: {files[name]} has no picture; give a film")
    return Brand(settings, files)
