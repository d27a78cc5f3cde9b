"""Photos from files: turned as their EXIF says, of any size and depth, as plain RGB."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from avatar.core.files import UserError, digest_file, plain_text
from avatar.core.pictures import FORMATS, open_picture

HEIF_ENDINGS = (".heic", ".heif")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", *HEIF_ENDINGS)
"""Of files that are photos, where a clip could stand, too."""
MOST_PIXELS = 120_000_000  # cameras of phones make 108 million, and 200 million on request
LONGEST_SIDE = 1920  # px that are kept: of a head and shoulders more than an avatar has
BEHIND = 200  # grey level behind what is transparent

Array = np.ndarray


@dataclass(frozen=True)
class Photo:
    """A picture of a person, and where it is from."""

    name: str
    sha256: str
    picture: Array  # [H, W, 3] uint8 RGB, at most LONGEST_SIDE a side
    reduced: float  # sides of the file's picture over these


def is_photo(path: Path) -> bool:
    """Whether a file is a photo by its name."""
    return path.suffix.lower() in ENDINGS


def read_photo(path: Path) -> Photo:
    """A photo. Raises: UserError when it cannot be read."""
    formats: Sequence[str] = FORMATS
    if path.suffix.lower() in HEIF_ENDINGS:
        _register_heif(path)
        formats = (*FORMATS, "HEIF")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from 89 million on; we have our own limit
            with open_picture(path, formats, most=MOST_PIXELS) as image:
                whole = max(image.size)
                image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # JPEG: decodes no more than is needed
                upright = ImageOps.exif_transpose(image)
                upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
                picture = _to_rgb(upright)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read ({error}); give a JPEG, PNG, WebP, AVIF or HEIC") from error
    return Photo(plain_text(path.name), digest_file(path), picture, whole / max(picture.shape[:2]))


def _to_rgb(image: Image.Image) -> Array:
    """[H, W, 3] uint8 of a picture of any mode; what is transparent over grey."""
    if image.mode.startswith("I"):  # 16 bits
        levels = np.asarray(image, np.float32) / 257
        return np.repeat(levels.clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        ground = Image.new("RGBA", clear.size, (BEHIND,) * 3 + (255,))
        return np.array(Image.alpha_composite(ground, clear).convert("RGB"))
    return np.array(image.convert("RGB"))


def _register_heif(path: Path) -> None:
    try:
        from pi_heif import register_heif_opener
    except ImportError as error:
        raise UserError(
            f"{path}: HEIC needs a decoder: pip install 'avatar-builder[heic]'; or save the photo as JPEG"
        ) from error
    register_heif_opener()
