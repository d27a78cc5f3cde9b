"""How pictures are packed into a film, as far as a person chooses it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avatar.core.files import UserError

Codec = Literal["h264", "hevc", "av1"]
Quality = Literal["draft", "good", "best"]
FILM_ENDINGS = (".mp4", ".mov", ".webm")  # of films that can be written


@dataclass(frozen=True)
class Coding:
    """How pictures are packed into a film."""

    codec: Codec = "h264"
    quality: Quality = "good"
    still: bool = False  # most of each picture stays as it was, as in films of slides


def check_target(path: Path, coding: Coding, *, transparent: bool) -> None:
    """Raise UserError unless a path's ending says a file that can hold such pictures; without one, a folder of PNGs."""
    kind = path.suffix.lower()
    if kind and kind not in FILM_ENDINGS:
        raise UserError(
            f"{path}: cannot be written as {kind}; use .mp4, .mov, .webm, or no ending for a folder of PNGs"
        )
    if transparent and kind == ".mp4":
        raise UserError(f"{path}: mp4 holds no transparency; use .mov (ProRes 4444), .webm, or a folder of PNGs")
    if kind == ".webm" and not transparent and coding.codec != "av1":
        raise UserError(f"{path}: webm holds AV1; add --codec av1, or use .mp4")
