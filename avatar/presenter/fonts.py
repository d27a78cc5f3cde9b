"""Fonts of this machine by family, and what stands in for those that a deck uses and the machine lacks."""

from __future__ import annotations

import functools
import io
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

from avatar.core.files import UserError

FOLDERS = {
    "linux": ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts"),
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    "win32": ("C:/Windows/Fonts", "~/AppData/Local/Microsoft/Windows/Fonts"),
}
MOST_FILES, MOST_BYTES = 5000, 40_000_000  # looked at; of one
SERIF = ("Liberation Serif", "DejaVu Serif", "Noto Serif", "Times New Roman")
MONO = ("Liberation Mono", "DejaVu Sans Mono", "Noto Sans Mono", "Courier New", "Menlo")
SANS = ("Liberation Sans", "Carlito", "DejaVu Sans", "Noto Sans", "Arial", "Helvetica")
METRIC = {  # of the same widths: lines break where they did
    "arial": "Liberation Sans", "helvetica": "Liberation Sans", "calibri": "Carlito", "cambria": "Caladea",
    "times new roman": "Liberation Serif", "courier new": "Liberation Mono", "georgia": "Gelasio",
    "arial narrow": "Liberation Sans Narrow",
}  # fmt: skip
_TYPEFACE = re.compile(r"<(?:\w+:)?(?:latin|ea|cs|font|sym|buFont)\b[^>]*?typeface=\"([^\"+@][^\"]{0,80})\"")
_MONO = re.compile(r"mono|consol|courier|code|lucida console|menlo|terminal", re.IGNORECASE)
_SERIF = re.compile(r"serif|times|georgia|cambria|garamond|palatino|book|roman|minion|didot|baskerville", re.IGNORECASE)


@dataclass(frozen=True)
class Face:
    """A file with one of a family's faces."""

    path: Path
    bold: bool
    italic: bool


@dataclass(frozen=True)
class Registered:
    """A family of a deck, and the faces that are drawn for it."""

    family: str
    drawn: str  # the family of these faces
    faces: tuple[Face, ...]


def fonts_for(deck: Path, folder: Path | None) -> list[Registered]:
    """For each family that a deck names, what is drawn for it. folder: further fonts. Raises: UserError for none."""
    known = dict(installed())
    if folder is not None:
        if not folder.is_dir():
            raise UserError(f"{folder}: is no folder; --fonts takes one with .ttf or .otf files")
        for name, faces in _families(_files([folder])).items():
            known[name] = (*faces, *known.get(name, ()))
    if not known:
        raise UserError("fonts: none is installed here; install fonts-liberation, or give a folder by --fonts DIR")
    by_name = {name.lower(): name for name in known}
    found = []
    for family in ["", *sorted(used_families(deck))]:
        drawn = _stand_in(family, by_name)
        found.append(Registered(family or drawn, drawn, tuple(known[drawn])))
    return found


def used_families(deck: Path) -> set[str]:
    """Families that slides, layouts, masters and the theme of a .pptx name for Latin and other letters."""
    found: set[str] = set()
    with zipfile.ZipFile(deck) as package:
        for name in package.namelist():
            if re.match(r"ppt/(slides|slideLayouts|slideMasters|charts|diagrams|tableStyles)", name) and name.endswith(
                "xml"
            ):
                found |= set(_TYPEFACE.findall(package.read(name).decode("utf-8", "replace")))
            elif name.startswith("ppt/theme/"):
                scheme = package.read(name).decode("utf-8", "replace").partition("</a:fontScheme>")[0]
                found |= set(re.findall(r"<a:latin typeface=\"([^\"+]{1,80})\"", scheme))
    return found


def _stand_in(family: str, known: dict[str, str]) -> str:
    name = family.lower().strip()
    if name in known:
        return known[name]
    alike = (METRIC.get(name, ""), *(MONO if _MONO.search(name) else SERIF if _SERIF.search(name) else ()), *SANS)
    return next((known[one.lower()] for one in alike if one.lower() in known), next(iter(known.values())))


@functools.cache
def installed() -> dict[str, tuple[Face, ...]]:
    """Families of the machine's own fonts."""
    return _families(_files([Path(place).expanduser() for place in FOLDERS.get(sys.platform, FOLDERS["linux"])]))


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    count = 0
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in sorted(names):
                place = Path(root) / name
                if place.suffix.lower() in (".ttf", ".otf", ".ttc") and place.stat().st_size <= MOST_BYTES:
                    count += 1
                    if count > MOST_FILES:
                        return
                    yield place


def _families(files: Iterable[Path]) -> dict[str, tuple[Face, ...]]:
    found: dict[str, list[Face]] = {}
    for place in files:
        try:
            family, style = ImageFont.truetype(io.BytesIO(place.read_bytes()), 12).getname()
        except (OSError, ValueError):
            continue
        style = (style or "").lower()
        plain = style in (
            "",
            "regular",
            "book",
            "roman",
            "normal",
            "bold",
            "italic",
            "oblique",
            "bold italic",
            "bold oblique",
        )
        if family and plain:
            found.setdefault(family, []).append(Face(place, "bold" in style, "italic" in style or "oblique" in style))
    return {name: tuple(faces) for name, faces in found.items()}
