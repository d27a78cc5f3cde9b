"""Films that play inside slides: their pictures in the slide's place for them, and their sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from avatar.core.media import SoundTrack, probe, read_small
from avatar.presenter.compose import Films, Shot
from avatar.presenter.layouts import Arrangement
from avatar.presenter.scenes import Scene, SlideFilm
from avatar.presenter.soundtrack import UNDER_DB, Laid, decibels

Array = np.ndarray


@dataclass(frozen=True)
class SceneFilms:
    """The films of a scene, as its frames show them; each keeps its last picture when it is over."""

    films: tuple[SlideFilm, ...]
    placed: Arrangement  # of the slide at the scene's beginning
    fps: float

    def seen(self, at: int) -> str:
        """A name for what is shown from a frame of the scene on."""
        return f"{at} {[(film.digest, film.box) for film in self.films]}" if self.films else ""

    def part(self, at: int) -> Films | None:
        """Pictures of the frames from one of the scene on, which must be asked for in order."""
        if not self.films:
            return None
        readers = [(film, _Reader(film.path, _box(film, self.placed), self.fps, at)) for film in self.films]
        return lambda number, placed: [reader.at(number, _box(film, placed)) for film, reader in readers]


def _box(film: SlideFilm, placed: Arrangement) -> tuple[int, int, int, int]:
    """Where a film lies in a frame, even px: left, top, width, height."""
    left, top, wide, high = film.box
    x, y = placed.slide_left + left * placed.slide_width, placed.slide_top + top * placed.slide_height
    size = (max(2, 2 * round(part / 2)) for part in (wide * placed.slide_width, high * placed.slide_height))
    return 2 * round(x / 2), 2 * round(y / 2), *size  # type: ignore[return-value]


class _Reader:
    """A film's pictures at the film's rate, of the size in which they are shown."""

    def __init__(self, path: Path, box: tuple[int, int, int, int], fps: float, first: int) -> None:
        self._frames: Iterator[Array] = read_small(path, width=box[2], height=box[3], fps=fps)
        self._last = np.zeros((box[3], box[2], 3), np.uint8)
        self._next = -first

    def at(self, number: int, box: tuple[int, int, int, int]) -> tuple[Array, int, int]:
        """The picture of a frame of the part, for a box, and its left and top edge."""
        while self._next <= number:
            self._last = next(self._frames, self._last)
            self._next += 1
        left, top, *size = box
        fits = self._last.shape[1::-1] == (size[0], size[1])
        return self._last if fits else np.asarray(Image.fromarray(self._last).resize(size)), left, top


def films_of(scene: Scene, shots: Sequence[Shot], fps: float) -> SceneFilms:
    """The films of a scene."""
    return SceneFilms(scene.films, shots[0].placed, fps)


@dataclass(frozen=True)
class Clip:
    """A film that is shown by itself, before or after all scenes."""

    path: Path
    frames: int

    def pictures(self, width: int, height: int, fps: float) -> Iterator[Array]:
        """Its frames [H, W, 3] uint8, as large as they fit, on black."""
        info = probe(self.path)
        scale = min(width / info.width, height / info.height)
        wide, high = (max(2, 2 * round(one * scale / 2)) for one in (info.width, info.height))
        left, top = (width - wide) // 2, (height - high) // 2
        frames = read_small(self.path, width=min(wide, width), height=min(high, height), fps=fps)
        whole = np.zeros((height, width, 3), np.uint8)
        for _ in range(self.frames):
            picture = next(frames, None)
            if picture is not None:
                whole = np.zeros((height, width, 3), np.uint8)
                whole[top : top + len(picture), left : left + picture.shape[1]] = picture
            yield whole

    def sounds(self, start: float, fps: float) -> list[Laid]:
        """Its sound, from a second of the film on."""
        info = probe(self.path)
        return [Laid(SoundTrack(self.path, info), start, self.frames / fps)] if info.has_audio else []


def open_clip(path: Path | None, fps: float) -> Clip | None:
    """A clip of a file; None for none."""
    return None if path is None else Clip(path, max(1, round(probe(path).seconds * fps)))


def film_sounds(scene: Scene, start: float, seconds: float, spoken: bool) -> list[Laid]:
    """The sound of a scene's films: under what is said, or alone. start, seconds: of the scene in the film."""
    found = []
    for film in scene.films:
        info = probe(film.path)
        if info.has_audio:
            gain = decibels(UNDER_DB) if spoken else 1.0
            found.append(Laid(SoundTrack(film.path, info), start, min(seconds, info.seconds), gain))
    return found
