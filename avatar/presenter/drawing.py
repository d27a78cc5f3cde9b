"""Slides as pictures: PDF by pypdfium2; .pptx by LibreOffice where it is installed, else by betteroffice-pptx."""

from __future__ import annotations

import io
import shutil
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from avatar.core.files import UserError
from avatar.core.pictures import PictureTooLargeError, open_picture
from avatar.presenter.builds import write_build
from avatar.presenter.extra import need
from avatar.presenter.fonts import Registered
from avatar.scene.still import as_shown

OFFICE = ("soffice", "libreoffice")
OFFICE_SECONDS = 600.0  # that LibreOffice may take for a deck; 100 slides take ten
EMU_A_PIXEL = 9525  # of a slide at scale 1: 96 px an inch
LAST = -1  # after all builds
ROUNDING = 1e-3  # px by which sizes may be off


class PptxPictures:
    """Slides of a .pptx file, drawn by betteroffice-pptx. Belongs to the thread that draws first."""

    def __init__(self, deck: Path, fonts: Sequence[Registered], where: str) -> None:
        """deck: a copy that leads nowhere (`avatar.presenter.package`); where: names the deck in errors."""
        self._deck, self._fonts, self._where = deck, fonts, where
        self._library = need("betteroffice_pptx", f"{where}: drawing slides without LibreOffice")
        self._opened: dict[int, Any] = {}  # builds -> deck

    def draw(self, slide: int, build: int, width: int, height: int) -> Image.Image:
        """As `SlidePictures`."""
        deck = self._open(build)
        whole = deck.width_emu / EMU_A_PIXEL, deck.height_emu / EMU_A_PIXEL
        scale = min(width / whole[0], height / whole[1])
        try:
            png = deck.render_png(slide - 1, scale=scale)
        except Exception as error:  # its errors share no class
            raise UserError(f"{self._where}, slide {slide}: cannot be drawn ({str(error)[:80]})") from error
        if png.skipped_images and build == LAST:
            warnings.warn(
                f"{self._where}, slide {slide}: {png.skipped_images} pictures could not be drawn", stacklevel=2
            )
        with Image.open(io.BytesIO(png.bytes)) as image:  # without pixels that the slide covers in part
            wide, high = (max(1, int(side * scale + ROUNDING)) for side in whole)
            return image.convert("RGB").crop((0, 0, wide, high))

    def _open(self, build: int) -> Any:
        if build not in self._opened:
            place = self._deck
            if build != LAST:
                place = self._deck.with_name(f"build{build}.pptx")
                write_build(self._deck, build, place)
            try:
                deck = self._library.Presentation.open_path(place)
            except Exception as error:
                raise UserError(f"{self._where}: cannot be drawn ({str(error)[:80]}); export it as PDF") from error
            for one in self._fonts:
                for face in one.faces:
                    deck.register_font(one.family, face.path.read_bytes(), bold=face.bold, italic=face.italic)
            while len(self._opened) > 1:  # each holds all of the deck's media
                self._opened.pop(next(key for key in self._opened if key != LAST or len(self._opened) == 1))
            self._opened[build] = deck
        return self._opened[build]


class PdfPictures:
    """Pages of a PDF, drawn by pypdfium2."""

    def __init__(self, path: Path, where: str) -> None:
        """where: names the deck in errors. Raises: UserError for a file that is none, or encrypted."""
        self._where = where
        library = need("pypdfium2", f"{where}: PDF")
        try:
            self._pages = library.PdfDocument(str(path))
            count = len(self._pages)
        except library.PdfiumError as error:
            advice = "save it without a password" if "assword" in str(error) else "export it again"
            raise UserError(f"{where}: is no PDF that can be read ({str(error)[:60]}); {advice}") from error
        if not count:
            raise UserError(f"{where}: has no page; export it again")
        self.count = count

    def draw(self, slide: int, build: int, width: int, height: int) -> Image.Image:
        """As `SlidePictures`; a page has no builds."""
        page = self._pages[slide - 1]
        scale = min(width / max(1.0, page.get_width()), height / max(1.0, page.get_height()))
        try:
            return page.render(scale=scale).to_pil().convert("RGB")
        finally:
            page.close()

    def text(self, slide: int) -> str:
        """The words of a page."""
        return str(self._pages[slide - 1].get_textpage().get_text_range())


class OfficePictures:
    """Slides of a .pptx file, made a PDF by LibreOffice; hidden ones are not among its pages."""

    def __init__(self, deck: Path, shown: Sequence[int], where: str) -> None:
        """shown: numbers of the slides that are not hidden, in order."""
        self._deck, self._where = deck, where
        self._pages = {number: page for page, number in enumerate(shown, 1)}
        self._made: dict[int, PdfPictures] = {}

    def draw(self, slide: int, build: int, width: int, height: int) -> Image.Image:
        """As `SlidePictures`."""
        if build not in self._made:
            place = self._deck
            if build != LAST:
                place = self._deck.with_name(f"build{build}.pptx")
                write_build(self._deck, build, place)
            self._made[build] = PdfPictures(convert(place, self._where), self._where)
        return self._made[build].draw(self._pages[slide], LAST, width, height)


class FilePictures:
    """Slides that are picture files."""

    def __init__(self, pictures: Mapping[int, Path]) -> None:
        """pictures: by the number of the slide."""
        self._pictures = pictures

    def draw(self, slide: int, build: int, width: int, height: int) -> Image.Image:
        """As `SlidePictures`; a picture has no builds."""
        picture = read_picture(self._pictures[slide])
        scale = min(width / picture.width, height / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def read_picture(path: Path) -> Image.Image:
    """A picture file as RGB. Raises: UserError."""
    try:
        with open_picture(path) as image:
            return as_shown(image)
    except PictureTooLargeError as error:
        raise UserError(f"{path}: {error}; make it smaller first") from error
    except ValueError as error:
        raise UserError(f"{path}: is not a picture that can be read ({error})") from error


def office() -> str | None:
    """LibreOffice's program, where it is installed."""
    return next((found for name in OFFICE if (found := shutil.which(name))), None)


def convert(deck: Path, where: str) -> Path:
    """A deck as PDF beside it, by LibreOffice with a profile of its own, in which macros are off. Raises: UserError."""
    program, folder = office(), deck.with_suffix(".profile")
    assert program is not None, "the caller looked for it"
    arguments = [program, f"-env:UserInstallation={folder.absolute().as_uri()}", "--headless", "--norestore"]
    arguments += ["--convert-to", "pdf", "--outdir", str(deck.parent), str(deck)]
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=OFFICE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"{where}: LibreOffice did not convert it ({type(error).__name__}); export it as PDF"
        ) from error
    made = deck.with_suffix(".pdf")
    if done.returncode or not made.is_file():
        reason = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0][:80] or "it wrote nothing"
        raise UserError(f"{where}: LibreOffice did not convert it ({reason}); export it as PDF")
    return made
