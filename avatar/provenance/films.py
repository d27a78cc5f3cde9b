"""The mark of files: of films, a few seconds at a time, and of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from avatar.core.files import UserError
from avatar.core.media import Stretch, measure, probe, read_small
from avatar.core.media_info import USUAL_FPS
from avatar.core.pictures import open_picture
from avatar.provenance.detect import SIDE, Reading, read_mark

WINDOW_SECONDS = 5.0  # that a mark is read from
READ_FPS = 8.0  # the mark stands still, and neighbouring frames have the same errors of encoding
MOST_WINDOWS = 24  # of a film, evenly spread: two minutes of reading, however long it is


@dataclass(frozen=True)
class FoundMark:
    """A mark and where it was read."""

    number: int
    confidence: float  # as in `Reading`
    start: float  # s of the film; 0 for a picture


def find_mark(path: Path) -> FoundMark | None:
    """The mark of a film or a picture: of the first window that has one. Raises: UserError for an unreadable file."""
    return next((mark for mark in read_windows(path) if mark), None)


def read_windows(path: Path) -> Iterator[FoundMark | None]:
    """The mark of each window of a film, a picture or a folder of PNGs; None for one without. Raises: UserError."""
    if path.is_dir():
        yield from _read_folder(path)
        return
    info = probe(path)
    if not info.has_video:
        return
    info = measure(path, info)
    scale = SIDE / min(info.width, info.height)
    width, height = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    for start in windows(info.seconds):
        stretch = Stretch(start, start + WINDOW_SECONDS) if info.seconds > WINDOW_SECONDS else Stretch()
        reading = _read(read_small(path, width=width, height=height, fps=READ_FPS, stretch=stretch))
        yield FoundMark(reading.number, reading.confidence, start) if reading else None


def _read_folder(folder: Path) -> Iterator[FoundMark | None]:
    """As `read_windows`, of numbered pictures of films at USUAL_FPS."""
    pictures, step = sorted(folder.glob("*.png")), round(USUAL_FPS / READ_FPS)
    for start in windows(len(pictures) / USUAL_FPS):
        first = round(start * USUAL_FPS)
        shown = pictures[first : first + round(WINDOW_SECONDS * USUAL_FPS) : step]
        reading = _read(_open_all(shown))
        yield FoundMark(reading.number, reading.confidence, start) if reading else None


def _open_all(pictures: Sequence[Path]) -> Iterator[np.ndarray]:
    """Pictures [H, W, 3] of the first one's size."""
    first: tuple[int, ...] | None = None
    for path in pictures:
        try:
            with open_picture(path) as image:
                picture = np.asarray(image.convert("RGB"))
        except ValueError as error:
            raise UserError(f"{path}: is not a picture that can be read ({error})") from error
        first = first or picture.shape
        if picture.shape == first:
            yield picture


def windows(seconds: float) -> list[float]:
    """Where windows begin in so many seconds: one after the other, spread when there are too many."""
    count = max(1, int(seconds / WINDOW_SECONDS))
    if count <= MOST_WINDOWS:
        return [index * WINDOW_SECONDS for index in range(count)]
    return [float(start) for start in np.linspace(0, seconds - WINDOW_SECONDS, MOST_WINDOWS)]


def _read(frames: Iterator[np.ndarray]) -> Reading | None:
    try:
        return read_mark(np.asarray(Image.fromarray(frame).convert("L")) for frame in frames)
    except UserError:  # a window without a picture
        return None
