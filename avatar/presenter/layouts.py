"""Where slide and person stand in a frame, by layout and shape of the frame; and how they move from one to another."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from avatar.presenter.directions import Layout

Shape = Literal["cutout", "circle", "box"]
Aspect = Literal["16:9", "9:16", "1:1"]
ASPECTS: dict[Aspect, tuple[int, int]] = {"16:9": (16, 9), "9:16": (9, 16), "1:1": (1, 1)}
MOVE_SECONDS = 0.4
BAND = 0.16  # of the frame that a slide leaves free beside it, from which on the person stands there
STANDING, TILE = 0.44, 0.32  # of the frame's height: the square of a cut-out person, of a circle or box in a corner
MARGIN, GAP = 0.025, 0.02  # of the frame's shorter side: of tiles from its edges; of a scaled slide
PANEL, TALL = 0.27, 1.25  # of a wide frame's width: the person beside a slide; of a tall one's: a person alone
ROUND, FADE = 0.08, 0.12  # of a box's side: its corners; of shoulders that end at a cut-out square's sides


@dataclass(frozen=True)
class Corner:
    """A corner of the frame."""

    right: bool = True
    bottom: bool = True


CORNERS = (Corner(), Corner(right=False), Corner(bottom=False), Corner(right=False, bottom=False))
"""In the order in which they are preferred."""


@dataclass(frozen=True)
class Arrangement:
    """A frame's parts, px; opacities 0..1."""

    slide_left: float
    slide_top: float
    slide_width: float
    slide_height: float
    slide_opacity: float
    left: float  # of the person's square
    top: float
    side: float
    radius: float  # of its corners, as a share of its side: .5 is a circle
    fill: float  # opacity of what lies behind the person, inside the square
    fade: float  # share of its side in which its left and right edges fade
    person_opacity: float

    @property
    def shows_person(self) -> bool:
        return self.person_opacity > 0


@dataclass(frozen=True)
class Frame:
    """The frame of a film, px, and how the person is cut out."""

    width: int
    height: int
    shape: Shape
    cut: bool = False  # whether the person's shoulders end at the sides of their square

    @property
    def short(self) -> int:
        return min(self.width, self.height)


def frame_size(aspect: Aspect, lines: int) -> tuple[int, int]:
    """Width and height of a frame whose shorter side has so many px; even."""
    wide, high = ASPECTS[aspect]
    return 2 * round(lines * wide / min(wide, high) / 2), 2 * round(lines * high / min(wide, high) / 2)


def arrange(frame: Frame, aspect: float, layout: Layout, corner: Corner, size: float = 1.0) -> Arrangement:
    """A layout. aspect: width over height of the slide; corner: the person's; size: times the usual one in a corner."""
    if layout == "full":
        return _full(frame)
    if layout == "side":
        return _side(frame, aspect, corner)
    usual = _corner(frame, aspect, corner, size)
    return usual if layout == "corner" else replace(_whole_slide(frame, aspect, usual), person_opacity=0.0)


def between(first: Arrangement, second: Arrangement, share: float) -> Arrangement:
    """A frame of a move, at a share 0..1 of its time; eased. A person who changes sides fades instead of crossing."""
    eased = share * share * (3 - 2 * share)
    values = {
        one.name: getattr(first, one.name) + eased * (getattr(second, one.name) - getattr(first, one.name))
        for one in fields(Arrangement)
    }
    if not first.shows_person or not second.shows_person or _crosses(first, second):
        shown = first if eased < 0.5 else second
        shown = second if not first.shows_person else first if not second.shows_person else shown
        place = {name: getattr(shown, name) for name in ("left", "top", "side", "radius", "fill", "fade")}
        opacity = abs(2 * eased - 1) if first.shows_person and second.shows_person else values["person_opacity"]
        values |= place | {"person_opacity": opacity}
    return Arrangement(**values)


def _crosses(first: Arrangement, second: Arrangement) -> bool:
    """Whether the person would move over the slide: farther than half of the larger square, and no part stays."""
    reach = max(first.side, second.side) / 2
    apart = abs(first.left + first.side / 2 - second.left - second.side / 2)
    return min(first.side, second.side) / 2 + reach < max(
        apart, abs(first.top + first.side / 2 - second.top - second.side / 2)
    )


def _fit(aspect: float, width: float, height: float) -> tuple[float, float]:
    return (width, width / aspect) if aspect * height > width else (aspect * height, height)


def _whole_slide(frame: Frame, aspect: float, person: Arrangement) -> Arrangement:
    wide, high = _fit(aspect, frame.width, frame.height)
    left, top = (frame.width - wide) / 2, (frame.height - high) / 2
    return replace(person, slide_left=left, slide_top=top, slide_width=wide, slide_height=high)


def _corner(frame: Frame, aspect: float, corner: Corner, size: float) -> Arrangement:
    wide, high = _fit(aspect, frame.width, frame.height)
    below, beside = frame.height - high, frame.width - wide
    if below > BAND * frame.height:
        return _under(frame, aspect, corner)
    if beside > BAND * frame.width:
        return _beside(frame, (wide, high), beside, corner)
    share = STANDING if frame.shape == "cutout" else TILE
    side = size * share * frame.short
    margin = 0.0 if frame.shape == "cutout" else MARGIN * frame.short
    left = frame.width - side - margin if corner.right else margin
    top = frame.height - side - margin if corner.bottom else margin
    placed = _person(frame, left, top, side)
    return _whole_slide(frame, aspect, placed)


def _side(frame: Frame, aspect: float, corner: Corner) -> Arrangement:
    if frame.width <= frame.height:
        return _under(frame, aspect, corner)
    panel, gap = PANEL * frame.width, GAP * frame.short
    room = frame.width - panel - 2 * gap
    return _beside(frame, _fit(aspect, room, frame.height - 2 * gap), panel, corner)


def _beside(frame: Frame, slide: tuple[float, float], panel: float, corner: Corner) -> Arrangement:
    """A slide, and the person in a panel to its right or left."""
    wide, high = slide
    left = (frame.width - panel - wide) / 2 + (0 if corner.right else panel)
    margin = 0.0 if frame.shape == "cutout" else MARGIN * frame.short
    side = min(panel - 2 * margin, 0.9 * frame.height)
    place = (frame.width - panel if corner.right else 0) + (panel - side) / 2
    top = frame.height - side if frame.shape == "cutout" else (frame.height - side) / 2
    placed = _person(frame, place, top, side, tile=True)
    return replace(placed, slide_left=left, slide_top=(frame.height - high) / 2, slide_width=wide, slide_height=high)


def _under(frame: Frame, aspect: float, corner: Corner) -> Arrangement:
    """A slide at the top, and the person below it."""
    gap = 0.0 if frame.shape == "cutout" else MARGIN * frame.short
    wide, high = _fit(aspect, frame.width, 0.56 * frame.height)
    room = frame.height - high - 2 * gap
    side = min(room, frame.width - 2 * gap)
    free = room - side
    top = min(free / 2, 0.12 * frame.height) if frame.width < frame.height else 0.0
    spare = frame.width - side - 2 * gap
    left = gap + spare * (0.5 if spare < 0.3 * frame.width else 1.0 if corner.right else 0.0)
    stands = frame.height - side - gap if frame.shape == "cutout" else top + high + gap + (free - top) / 2
    placed = _person(frame, left, stands, side, tile=True)
    return replace(placed, slide_left=(frame.width - wide) / 2, slide_top=top, slide_width=wide, slide_height=high)


def _full(frame: Frame) -> Arrangement:
    side = min(frame.height, TALL * frame.width)
    left, top = (frame.width - side) / 2, frame.height - side
    fade = FADE if left > 0 and frame.cut else 0.0
    placed = Arrangement(0, 0, frame.width, frame.height, 0.0, left, top, side, 0.0, 0.0, fade, 1.0)
    return replace(placed, slide_left=0.0, slide_top=0.0)


def _person(frame: Frame, left: float, top: float, side: float, *, tile: bool = False) -> Arrangement:
    """A person's square; tile: a circle becomes a box, which shows more of a large one."""
    radius = {"cutout": 0.0, "circle": ROUND if tile else 0.5, "box": ROUND}[frame.shape]
    fill = 0.0 if frame.shape == "cutout" else 1.0
    fade = FADE if frame.cut and not fill else 0.0
    return Arrangement(0, 0, 1, 1, 1.0, left, top, side, radius, fill, fade, 1.0)
