"""Scenes on the clock: which picture and which layout from which frame on, and where the person looks."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from avatar.core.acting import Act
from avatar.core.files import UserError
from avatar.presenter.compose import Shot
from avatar.presenter.directions import Directed, Layout
from avatar.presenter.drawing import LAST, FilePictures
from avatar.presenter.free_space import Places, Standing, box_ink, ink
from avatar.presenter.layouts import Arrangement, Corner, Frame, arrange
from avatar.presenter.scenes import Deck, Scene

GLANCES = 0.65  # of a slide's changes that the person looks at
GLANCE_AFTER, GLANCE_SECONDS = 0.12, (0.7, 1.2)  # s from the change; how long

Array = np.ndarray


@dataclass(frozen=True)
class Picture:
    """A picture that is shown: a slide after some builds, or a file."""

    slide: int = 0
    build: int = LAST
    file: Path | None = None


@dataclass(frozen=True)
class Sight:
    """What is asked to be seen from a frame of a scene on."""

    start: int
    picture: Picture
    layout: Layout
    side: str | None  # left or right, where it was asked for


@dataclass(frozen=True)
class Timed:
    """A scene whose directions are due at frames."""

    scene: Scene
    directed: Directed
    frames: int
    due: Mapping[int, int]  # number of a direction -> frame


def check_directions(deck: Deck, scenes: Sequence[tuple[Scene, Directed]]) -> None:
    """Raise UserError, naming the slide, for a `[next]` or a `[show]` for which there is no picture."""
    for index, (scene, directed) in enumerate(scenes):
        where = f"{deck.path}, slide {scene.number}"
        nexts = sum(one.kind == "next" for one in directed.directions)
        if nexts > scene.builds - 1 + (index + 1 < len(scenes)):
            has = f"{scene.builds - 1} builds" if scene.builds > 1 else "no builds"
            raise UserError(f"{where}: has {nexts} [next], but {has} and the slide after it; leave some out")
        for one in directed.directions:
            if one.kind == "show":
                shown_file(deck, one.value, where)


def shown_file(deck: Deck, name: str, where: str) -> Path:
    """A picture that `[show: NAME]` names, which lies with the deck. Raises: UserError."""
    folder = (deck.path if deck.path.is_dir() else deck.path.parent).resolve()
    place = (folder / name).resolve()
    if folder not in place.parents:
        raise UserError(f"{where}: [show: {name}]: is not in the deck's folder; put it there")
    if not place.is_file():
        raise UserError(f"{where}: [show: {name}]: there is no such picture in {folder}; check the name")
    return place


def sights(deck: Deck, timed: Sequence[Timed], layout: Layout) -> Iterator[list[Sight]]:
    """For each scene what is asked to be seen; layout: of the film's beginning. It and the side last until others."""
    side: str | None = None
    for index, one in enumerate(timed):
        scene, directions = one.scene, one.directed.directions
        nexts = sum(direction.kind == "next" for direction in directions)
        clicks = scene.builds - 1
        at = 0 if nexts and clicks else clicks
        picture = Picture(scene.number, at if at < clicks else LAST)
        found = [Sight(0, picture, layout, side)]
        where = f"{deck.path}, slide {scene.number}"
        for number, direction in sorted(enumerate(directions), key=lambda item: one.due[item[0]]):
            if direction.kind == "layout":
                layout = direction.value  # type: ignore[assignment]
            elif direction.kind == "side":
                side = direction.value
            elif direction.kind == "show":
                picture = Picture(file=shown_file(deck, direction.value, where))
            elif at < clicks:
                at += 1
                picture = Picture(scene.number, at if at < clicks else LAST)
            else:
                picture = _first_of(timed[index + 1])
            start = min(one.due[number], one.frames - 1)
            if found[-1].start == start:
                found.pop()
            found.append(Sight(start, picture, layout, side))
        yield found


def _first_of(one: Timed) -> Picture:
    """The picture that a scene begins with."""
    clicks = one.scene.builds - 1
    waits = clicks and any(direction.kind == "next" for direction in one.directed.directions)
    return Picture(one.scene.number, 0 if waits else LAST)


class Gallery:
    """Pictures of a film: drawn when they are needed, known by their digests; a few are kept."""

    def __init__(self, deck: Deck, frame: Frame) -> None:
        self._deck, self._frame = deck, frame
        self._digests: dict[Picture, tuple[str, float]] = {}
        self._edges: dict[Picture, Array] = {}
        self.draw = functools.lru_cache(maxsize=3)(self._draw)

    def _draw(self, picture: Picture, width: int, height: int) -> Image.Image:
        if picture.file is not None:
            return FilePictures({1: picture.file}).draw(1, LAST, width, height)
        return self._deck.pictures.draw(picture.slide, picture.build, width, height)

    def look(self, picture: Picture) -> tuple[str, float]:
        """A picture's digest, and its width over its height."""
        if picture not in self._digests:
            image = self.draw(picture, self._frame.width, self._frame.height)
            self._digests[picture] = (hashlib.sha256(image.tobytes()).hexdigest(), image.width / image.height)
            self._edges[picture] = np.packbits(ink(image), axis=1)
        return self._digests[picture]

    def edges(self, picture: Picture) -> Array:
        """What of it must not be covered, [h, w] bool."""
        self.look(picture)
        return np.unpackbits(self._edges[picture], axis=1).astype(bool)


def shots_of(
    deck: Deck, timed: Sequence[Timed], seen: Sequence[Sequence[Sight]], gallery: Gallery, frame: Frame, places: Places
) -> list[list[Shot]]:
    """For each scene its shots."""
    stretches = [
        (index, list(group))
        for index, sights in enumerate(seen)
        for key, group in groupby(sights, key=lambda one: (one.layout, one.side))
        if key[0] == "corner"
    ]
    edges = (_edges(gallery, timed[index].scene, [one.picture for one in group]) for index, group in stretches)
    standing = iter(places.choose(list(edges), [group[0].side for _, group in stretches]))
    last = Standing("corner", Corner())
    found: list[list[Shot]] = []
    for sights, number in zip(seen, (one.scene.number for one in timed), strict=True):
        shots: list[Shot] = []
        for (layout, side), group in groupby(sights, key=lambda one: (one.layout, one.side)):
            if layout == "corner":
                last = next(standing)
                stands = last
            else:
                right = last.corner.right if side is None else side == "right"
                stands = replace(last, layout=layout, corner=Corner(right=right))
            shots += [_shot(one, stands, gallery, frame, own=one.picture.slide == number) for one in group]
        found.append(shots)
    return found


def _edges(gallery: Gallery, scene: Scene, pictures: Sequence[Picture]) -> Array:
    found = gallery.edges(pictures[0]).copy()
    for picture in pictures[1:]:
        edges = gallery.edges(picture)
        if edges.shape != found.shape:  # a picture that is shown has another shape than the slide
            edges = np.ones_like(found)
        found |= edges
    for film in scene.films:
        box_ink(found, film.box)
    return found


def _shot(sight: Sight, stands: Standing, gallery: Gallery, frame: Frame, *, own: bool) -> Shot:
    digest, aspect = gallery.look(sight.picture)
    placed = arrange(frame, aspect, stands.layout, stands.corner, stands.size)

    def load() -> Image.Image:
        return gallery.draw(sight.picture, round(placed.slide_width), round(placed.slide_height))

    return Shot(sight.start, digest, placed, load, own)


def glances(shots: Sequence[Shot], fps: float, seed: str) -> list[Act]:
    """Looks toward the slide, now and then when its picture changes."""
    draw, found = random.Random(seed), list[Act]()
    before = ""
    for shot in shots:
        changed, before = shot.picture != before, shot.picture
        if not changed or draw.random() > GLANCES or not _both_seen(shot.placed):
            continue
        start = shot.start / fps + GLANCE_AFTER
        stop = start + draw.uniform(*GLANCE_SECONDS)
        found += [Act(start, stop, look=_toward(shot.placed)), Act(stop, stop, look="ahead")]
    return found


def _both_seen(placed: Arrangement) -> bool:
    return placed.shows_person and placed.slide_opacity > 0


def _toward(placed: Arrangement) -> str:
    """Where the slide's middle is, as the viewer sees it from the person."""
    x = placed.slide_left + placed.slide_width / 2 - placed.left - placed.side / 2
    y = placed.slide_top + placed.slide_height / 2 - placed.top - placed.side / 2
    if abs(x) < abs(y) / 2:
        return "up" if y < 0 else "down"
    return "right" if x > 0 else "left"
