"""What a film is made of: scenes with a slide, what is said over it, and films inside of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

Fractions = tuple[float, float, float, float]
"""Left, top, width, height of a part of a slide, as shares of its width and height."""


@dataclass(frozen=True)
class SlideFilm:
    """A film that plays inside a slide, from the slide's first frame on."""

    path: Path
    box: Fractions
    digest: str  # SHA-256 of the file


@dataclass(frozen=True)
class Scene:
    """A slide and what is said over it."""

    number: int  # of the slide in its deck, from 1
    title: str  # what its chapter is named
    notes: str = ""  # Markdown with tags; empty: nothing is said
    sound: Path | None = None  # recorded speech, in place of a voice that says the notes
    start: float = 0.0  # s of the recording where the scene's begins
    stop: float | None = None  # and where it ends; None: at its end
    builds: int = 1  # pictures of the slide, one after the other
    films: tuple[SlideFilm, ...] = ()
    paragraphs: bool = False  # each line of the notes is a paragraph


class SlidePictures(Protocol):
    """Whatever draws slides."""

    def draw(self, slide: int, build: int, width: int, height: int) -> Image.Image:
        """A slide (its number, from 1) after so many builds (-1: all), RGB, within so many px. Raises: UserError."""
        ...


@dataclass(frozen=True)
class Deck:
    """All scenes of a film, in order, and their pictures."""

    path: Path
    scenes: Sequence[Scene]
    pictures: SlidePictures
    drawn_by: str  # which program draws, as it is said to the person
    remarks: tuple[str, ...] = ()  # what a person should know: hidden slides, fonts that stand in
    front: Mapping[str, Any] = field(default_factory=dict)  # of a script: what it asks of the film
