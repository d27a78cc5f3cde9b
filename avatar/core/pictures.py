"""Pictures from files: of known formats, as large as they may be, and whole; looked at before they are decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from avatar.core.ranges import DAMAGE

MOST_PIXELS = 64_000_000  # a film in 8K has 33 million; 200 MB as RGB
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "TGA", "JPEG2000", "ICO", "PSD", "QOI", "AVIF")
"""Those that are decoded here alone: Pillow hands PostScript to another program, which may open other files."""
OWN_FORMATS = ("JPEG", "PNG")  # of pictures in Takes and avatars


class PictureTooLargeError(ValueError):
    """A picture is larger than it may be."""


@contextmanager
def open_picture(
    file: Path | IO[bytes], formats: Sequence[str] = FORMATS, *, most: int = MOST_PIXELS
) -> Iterator[Image.Image]:
    """A picture of at most so many pixels, not decoded yet.

    Raises: PictureTooLargeError; ValueError in one line, also when decoding it in the block fails.
    """
    if any(name not in Image.OPEN for name in formats):
        Image.init()  # loads the formats that are rare
    usable = [name for name in formats if name in Image.OPEN]  # AVIF: where Pillow was built with it
    try:
        with Image.open(file, formats=usable) as image:
            check_pixels(*image.size, most)
            yield image
    except PictureTooLargeError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureTooLargeError("has too many pixels") from error
    except UnidentifiedImageError as error:
        raise ValueError("is not a picture of a known format") from error
    except (OSError, SyntaxError, struct.error, zlib.error, *DAMAGE) as error:
        raise ValueError(str(error).partition("\n")[0][:100] or type(error).__name__) from error


def check_pixels(width: int, height: int, most: int = MOST_PIXELS) -> None:
    """Raise PictureTooLargeError for a picture that is too large to decode."""
    if width * height > most:
        raise PictureTooLargeError(f"has {width} x {height} pixels, more than {most // 1_000_000} million")
