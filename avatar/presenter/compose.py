"""Frames of a scene: what is still is made once, and only the person's square is drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from avatar.core.motion_space import Motion
from avatar.play.composite import over_nv12
from avatar.presenter.behind import Behind
from avatar.presenter.layouts import MOVE_SECONDS, Arrangement, between
from avatar.presenter.person import Person
from avatar.presenter.stage import Backdrop, Still, coded_picture, crop, inside, lay
from avatar.provenance.mark import Box, Marker

AT_ONCE = 4  # frames of a person that are drawn together
FINER = 4  # times the size at which a mask is drawn, so that its edge is smooth

Array = np.ndarray
Films = Callable[[int, Arrangement], Sequence[tuple[Array, int, int]]]
"""Of a frame's number and arrangement: pictures of films [h, w, 3] uint8, and their left and top edges, even px."""


@dataclass(frozen=True)
class Shot:
    """What is shown from a frame on, until the next shot."""

    start: int  # frame of the scene
    picture: str  # names the slide's picture: its digest
    placed: Arrangement
    load: Callable[[], Image.Image] = field(compare=False, repr=False)  # the picture, for its slide's size
    own: bool = True  # whether the picture is the scene's own slide, in which its films play


def arrangements(
    shots: Sequence[Shot], before: Arrangement | None, count: int, fps: float
) -> Iterator[tuple[Shot, Arrangement]]:
    """The shot and arrangement of each frame of a scene; before: the last arrangement of the scene before it."""
    move = max(1, round(MOVE_SECONDS * fps))
    origin, began = before, 0
    current = shots[0]
    index = 0
    placed = current.placed
    for number in range(count):
        if number == 0 or (index + 1 < len(shots) and shots[index + 1].start <= number):
            origin = before if number == 0 else placed
            while index + 1 < len(shots) and shots[index + 1].start <= number:
                index += 1
            current, began = shots[index], number
            if origin == current.placed:
                origin = None
        share = (number - began + 1) / move
        placed = current.placed if origin is None or share >= 1 else between(origin, current.placed, share)
        yield current, placed


class Composer:
    """Draws scenes of one film."""

    def __init__(self, person: Person, backdrop: Backdrop, behind: Behind) -> None:
        self._person, self._backdrop, self._behind = person, backdrop, behind
        self._still: tuple[tuple[str, Arrangement], Still] | None = None
        self._picture: tuple[str, Image.Image] | None = None
        self._masks: dict[tuple[int, float, float], Tensor] = {}
        self._markers: dict[Box, Marker] = {}

    @property
    def number(self) -> int | None:
        """The number of the mark."""
        return self._backdrop.number

    def frames(
        self, steps: Sequence[tuple[Shot, Arrangement]], motion: Motion, films: Films | None = None
    ) -> Iterator[Array]:
        """Frames NV12 [3 H / 2, W] of steps (`arrangements`) and the motion of as many frames; may be changed."""
        self._markers = {}  # so that frames depend on nothing before them
        start = 0
        while start < len(steps):
            stop = start + 1
            while stop < len(steps) and stop - start < AT_ONCE and _alike(steps[start], steps[stop]):
                stop += 1
            shot, placed = steps[start]
            still = self._make_still(shot, placed, steady=stop - start > 1 or placed == shot.placed)
            parts = self._parts(placed, motion[slice(start, stop)])
            for number in range(start, stop):
                frame = still.coded.copy()
                for rgb, left, top in films(number, placed) if films and shot.own and placed == shot.placed else ():
                    frame = self._put(frame, coded_picture(rgb), left, top)
                if parts is not None:
                    frame = self._put_person(frame, still, parts, number - start)
                yield frame
            start = stop

    def _make_still(self, shot: Shot, placed: Arrangement, *, steady: bool) -> Still:
        key = (shot.picture, placed)
        if self._still is None or self._still[0] != key:
            if self._picture is None or self._picture[0] != shot.picture:
                self._picture = (shot.picture, shot.load())
            self._still = (key, self._backdrop.still(self._picture[1], placed, quick=not steady))
        return self._still[1]

    def _parts(self, placed: Arrangement, motion: Motion) -> _Parts | None:
        """The person in some frames of one arrangement."""
        if not placed.shows_person:
            return None
        side = max(2, 2 * round(placed.side / 2))
        left, top = 2 * round(placed.left / 2), 2 * round(placed.top / 2)
        rgb, alpha = self._person.draw(motion, side)
        behind = placed.fill * (1 - alpha)
        mask = self._mask(side, placed.radius, placed.fade) * placed.person_opacity
        panel = self._behind.panel(side).permute(2, 0, 1) / 255
        return _Parts((rgb + behind * panel) * mask, (alpha + behind) * mask, left, top, side)

    def _mask(self, side: int, radius: float, fade: float) -> Tensor:
        """Opacity [1, S, S] of a square with round corners, whose left and right edges fade."""
        key = (side, round(radius, 3), round(fade, 3))
        if key not in self._masks:
            large = side * FINER
            picture = Image.new("L", (large, large), 0)
            ImageDraw.Draw(picture).rounded_rectangle((0, 0, large - 1, large - 1), radius * large, fill=255)
            mask = torch.from_numpy(np.array(picture.reduce(FINER), np.float32) / 255)
            if fade > 0:
                at = (torch.arange(side) + 0.5) / side
                edge = (torch.minimum(at, 1 - at) / fade).clamp(0, 1)
                mask = mask * (edge * edge * (3 - 2 * edge))
            self._masks = {} if len(self._masks) > 16 else self._masks
            self._masks[key] = mask[None]
        return self._masks[key]

    def _put_person(self, frame: Array, still: Still, parts: _Parts, index: int) -> Array:
        behind = crop(still.rgb, parts.left, parts.top, parts.side)
        coded = over_nv12(parts.rgb[index], parts.alpha[index], behind).numpy()
        return self._put(frame, coded, parts.left, parts.top)

    def _put(self, frame: Array, coded: Array, left: int, top: int) -> Array:
        """A frame with a part laid into it, and that marked."""
        lay(frame, coded, left, top)
        backdrop = self._backdrop
        size = coded.shape[1], coded.shape[0] * 2 // 3
        box = None if backdrop.number is None else inside((left, top), size, (backdrop.width, backdrop.height))
        if box is None:
            return frame
        if box not in self._markers:
            self._markers = {} if len(self._markers) > 2 else self._markers
            self._markers[box] = backdrop.marker(box)
        return self._markers[box].add(frame)


@dataclass(frozen=True)
class _Parts:
    """The person in some frames: premultiplied colours and opacity, and where their square lies, px."""

    rgb: Tensor
    alpha: Tensor
    left: int
    top: int
    side: int


def _alike(first: tuple[Shot, Arrangement], second: tuple[Shot, Arrangement]) -> bool:
    return first[0] is second[0] and first[1] == second[1]
