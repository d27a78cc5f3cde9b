"""The mark of files: of films, a few seconds at a time, and of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from avatar.core.files import UserError
from avatar.core.media import Stretch, measure, probe, read_small
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
    info = probe(path)
    if not info.has_video:
        return None
    info = measure(path, info)
    scale = SIDE / min(info.width, info.height)
    width, height = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    for start in windows(info.seconds):
        stretch = Stretch(start, start + WINDOW_SECONDS) if info.seconds > WINDOW_SECONDS else Stretch()
        reading = _read(read_small(path, width=width, height=height, fps=READ_FPS, stretch=stretch))
        if reading:
            return FoundMark(reading.number, reading.confidence, start)
    return None


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
