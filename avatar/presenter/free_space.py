"""What of a slide must not be covered, measured on its picture; and where the person stands so that none of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from avatar.presenter.directions import Layout
from avatar.presenter.layouts import CORNERS, Arrangement, Corner, Frame, arrange

MEASURED = 960  # px of the width at which a slide is measured: its smallest letters have 6 px there
EDGE = 10  # levels between pixels: pale letters on white have 20; gradients of backgrounds 3
CLEAR = 6  # px of MEASURED that stay free about letters
STRAY = 3  # px of edges that count as nothing
SIZES = (1.0, 0.88, 0.76, 0.64)  # of the person, of which the largest is taken that most slides have room for
ENOUGH = 0.9  # of the slides that the smallest has room on

Array = np.ndarray
Silhouette = Array
"""Where a person is seen in the square that they are drawn in, [n, n] bool."""


def ink(picture: Image.Image) -> Array:
    """Where a slide has edges: letters, lines, charts, pictures, [h, w] bool, MEASURED px wide."""
    height = max(1, round(MEASURED * picture.height / picture.width))
    small = np.asarray(picture.resize((MEASURED, height), Image.Resampling.BOX), np.int16)
    edges = np.zeros((height, MEASURED), bool)
    across = np.abs(np.diff(small, axis=1)).max(2) > EDGE
    down = np.abs(np.diff(small, axis=0)).max(2) > EDGE
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def region(placed: Arrangement, silhouette: Silhouette, shape: tuple[int, int]) -> Array:
    """What the person covers of a slide, [h, w] bool of the measured picture's shape, with room about it."""
    height, width = shape
    scale = width / placed.slide_width
    left, top = ((a - b) * scale for a, b in ((placed.left, placed.slide_left), (placed.top, placed.slide_top)))
    side = max(1, round(placed.side * scale))
    picture = Image.new("L", (width, height))
    if placed.fill:
        mask = Image.new("L", (side, side))
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, side - 1, side - 1), placed.radius * side, fill=255)
    else:
        mask = Image.fromarray(silhouette.astype(np.uint8) * 255).resize((side, side), Image.Resampling.NEAREST)
    picture.paste(mask, (round(left), round(top)), mask)
    return np.asarray(picture.filter(ImageFilter.BoxBlur(CLEAR))) > 0  # a dilation: one px of 169 still counts 1


@dataclass(frozen=True)
class Standing:
    """Where the person stands in a scene, and in which layout after all."""

    layout: Layout
    corner: Corner
    size: float = 1.0


class Places:
    """Finds where the person stands, scene by scene."""

    def __init__(self, frame: Frame, silhouette: Silhouette) -> None:
        self._frame, self._silhouette = frame, silhouette
        self._regions: dict[tuple[Corner, float, tuple[int, int]], Array] = {}
        self._corners = [one for one in CORNERS if one.bottom or frame.shape != "cutout"]

    def free(self, edges: Array, corner: Corner, size: float) -> bool:
        """Whether the person covers nothing of a slide's edges [h, w] there."""
        height, width = edges.shape
        key = (corner, size, (height, width))
        if key not in self._regions:
            placed = arrange(self._frame, width / height, "corner", corner, size)
            self._regions[key] = region(placed, self._silhouette, (height, width))
        return int((self._regions[key] & edges).sum()) <= STRAY

    def choose(self, slides: Sequence[Array], sides: Sequence[str | None]) -> list[Standing]:
        """For each scene in the corner layout: slides: its edges; sides: `left`, `right`, or None where none was asked.

        One size for all. The place stays while it is free; else it is the corner that stays free longest; where none is
        free, the slide is scaled and the person stands beside it.
        """
        if not slides:
            return []
        free = {size: [self._free_corners(one, size) for one in slides] for size in SIZES}
        room = {size: sum(map(bool, corners)) for size, corners in free.items()}
        size = next(size for size in SIZES if room[size] >= ENOUGH * max(room.values()))
        now, found = CORNERS[0], []
        for index, side in enumerate(sides):
            allowed = [one for one in free[size][index] if side is None or one.right == (side == "right")]
            if allowed and now not in allowed:
                now = max(allowed, key=lambda one: _run(free[size][index:], one))
            if side is not None and not allowed:
                now = Corner(right=side == "right")
            found.append(Standing("corner", now, size) if allowed else Standing("side", Corner(right=now.right)))
        return found

    def _free_corners(self, edges: Array, size: float) -> list[Corner]:
        return [one for one in self._corners if self.free(edges, one, size)]


def _run(free: Sequence[Sequence[Corner]], corner: Corner) -> int:
    """For how many scenes on a corner stays free."""
    kept, group = next(groupby(free, lambda corners: corner in corners))
    return len(list(group)) if kept else 0


def box_ink(edges: Array, box: tuple[float, float, float, float]) -> None:
    """Count a part of a slide, in shares of it, as full: a film plays there."""
    height, width = edges.shape
    left, top, wide, high = box
    edges[
        max(0, int(top * height)) : int((top + high) * height) + 1,
        max(0, int(left * width)) : int((left + wide) * width) + 1,
    ] = True
