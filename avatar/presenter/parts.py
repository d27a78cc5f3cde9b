"""A film in parts of a few seconds: each is made once and kept by all that is seen in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from pathlib import Path

import numpy as np

from avatar.core.coding import Coding
from avatar.core.encode import write_video
from avatar.core.files import digest_file
from avatar.core.label import Label
from avatar.core.motion_space import MOTION_NAMES, Motion
from avatar.play.captions import Captioner
from avatar.play.label import Labeller
from avatar.presenter.compose import Composer, Films, Shot
from avatar.presenter.inserts import Clip
from avatar.presenter.layouts import Arrangement
from avatar.presenter.stage import coded_picture
from avatar.presenter.store import Store, content_key
from avatar.provenance.mark import mark_frames
from avatar.voice.subtitles import Caption

LOW = 0.8  # of the height: captions are below
PART = 200  # frames, 8 s: what a killed run makes again, and what a change of a slide's end costs its neighbour

Array = np.ndarray
Step = tuple[Shot, Arrangement]


@dataclass(frozen=True)
class Finish:
    """What is drawn over all frames of a film, and how they are coded."""

    fps: float
    coding: Coding
    label: Label
    captions: tuple[Caption, ...] = ()  # in the picture; s of the film
    font: Path | None = None
    look: str = ""  # all else that changes pictures: size, brand, person, mark


@dataclass(frozen=True)
class Part:
    """Frames of a scene that are coded together."""

    steps: Sequence[Step]
    motion: Motion
    first: int  # of its frames, in the film
    shown: int  # frames of scenes before it: a label counts from the first one
    films: Films | None
    films_seen: str  # names what films show in it

    def key(self, finish: Finish) -> str:
        """A name for all that is seen in it."""
        runs = [(shot.picture, placed, len(list(run))) for (shot, placed), run in groupby(self.steps, key=_seen)]
        seen = any(placed.shows_person for _, placed in self.steps)
        moves = [getattr(self.motion, name).numpy().tobytes() for name in MOTION_NAMES] if seen else []
        captions = [(one.text, one.start, one.stop) for one in self.captions(finish)]
        label = self.label(finish)
        return content_key(runs, *moves, captions, label, finish.coding, finish.fps, finish.look, self.films_seen)

    def captions(self, finish: Finish) -> list[Caption]:
        """Captions of its frames, s from its beginning."""
        start, stop = self.first / finish.fps, (self.first + len(self.steps)) / finish.fps
        near = [one for one in finish.captions if one.stop > start and one.start < stop]
        return [Caption(one.text, round(one.start - start, 4), round(one.stop - start, 4)) for one in near]

    def label(self, finish: Finish) -> tuple[Label, int]:
        """The film's label, and for how many frames it has been shown before; 0 where that is all one."""
        return finish.label, self.shown if finish.label.kind == "cn" or finish.label.seconds is not None else 0


def _seen(step: Step) -> Step:
    return step


def caption_room(placed: Arrangement, height: int, width: int) -> slice:
    """Columns of a frame in which captions cover no person who stands at its bottom."""
    left, right = placed.left, placed.left + placed.side
    low = placed.shows_person and placed.top + placed.side > LOW * height
    if low and left > width / 2:
        return slice(0, int(left) // 2 * 2)
    return slice(2 * ceil(right / 2), width) if low and right < width / 2 else slice(0, width)


class PartMaker:
    """Makes parts that are not there yet."""

    def __init__(self, composer: Composer, finish: Finish, store: Store, shape: tuple[int, int]) -> None:
        """shape: height and width of frames, px."""
        self._composer, self._finish, self._store, self._shape = composer, finish, store, shape
        self.made = 0  # frames

    def make(self, part: Part, drawn: Callable[[int], None]) -> tuple[Path, int]:
        """The file of a part, and its frames; drawn: is called with how many frames are done. Raises: UserError."""
        place = self._store.place("part", part.key(self._finish), ".mp4")
        if place.is_file():
            drawn(len(part.steps))
        else:
            write_video(self._frames(part, drawn), place, fps=self._finish.fps, coding=self._finish.coding, force=True)
            self.made += len(part.steps)
        return place, len(part.steps)

    def make_clip(self, clip: Clip, drawn: Callable[[int], None]) -> tuple[Path, int]:
        """As `make`, of a film that is shown by itself."""
        finish, (height, width) = self._finish, self._shape
        key = content_key("clip", digest_file(clip.path), clip.frames, finish.coding, finish.fps, finish.look)
        place = self._store.place("part", key, ".mp4")
        if not place.is_file():
            frames = map(coded_picture, clip.pictures(width, height, finish.fps))
            number = self._composer.number
            marked = frames if number is None else mark_frames(frames, number)
            write_video(marked, place, fps=finish.fps, coding=finish.coding, force=True)
            self.made += clip.frames
        drawn(clip.frames)
        return place, clip.frames

    def _frames(self, part: Part, drawn: Callable[[int], None]) -> Iterator[Array]:
        finish = self._finish
        captions = part.captions(finish)
        height, width = self._shape
        room = caption_room(part.steps[len(part.steps) // 2][1], height, width)
        shape = height, room.stop - room.start
        captioner = Captioner(captions, shape, finish.fps, finish.font) if captions else None
        labeller = None if finish.label.kind == "none" else self._labeller(*part.label(finish))
        for frame in self._composer.frames(part.steps, part.motion, part.films):
            if captioner:
                captioner.add(frame[:, room])  # a view, into which they are drawn
            yield labeller.add(frame) if labeller else frame
            drawn(1)

    def _labeller(self, label: Label, shown: int) -> Labeller:
        labeller = Labeller(label, *self._shape, self._finish.fps)
        labeller.skip(shown)
        return labeller
