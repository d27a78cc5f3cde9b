"""What tags in notes ask of a film: which picture, which layout, where the person stands; and when, by the words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from avatar.core.emotion import EMOTIONS, NEUTRAL, nearest
from avatar.core.files import UserError
from avatar.presenter.notes import sayable
from avatar.presenter.scenes import Scene
from avatar.voice.passages import Part, Passage, Spoken
from avatar.voice.tags import TAGS, Event, Pause, Said, read_tags, speakable, to_passages

Layout = Literal["corner", "side", "full", "slide"]
LAYOUTS: tuple[Layout, ...] = ("corner", "side", "full", "slide")
OURS = ("next", "layout", "left", "right", "show", "emotion")
FIRST = 0xE000  # the first letter that stands for a cue: those of the private use area mean nothing to a voice
MOST_CUES = 2000  # of a scene
OPENS, CLOSES = "\uf8f0", "\uf8f1"  # stand for brackets that are text
MOST_LETTERS = 200_000  # of a scene: three hours
_BRACKETS = re.compile(r"\\[\\\[\]*]|\[([^\[\]\n]*)\]")
_CUE = re.compile(f"([{chr(FIRST)}-{chr(FIRST + MOST_CUES - 1)}])")
_TAG = re.compile(r"\s*([a-zA-Z-]+)\s*(?::\s*(.*?)\s*)?")
_SPACED = re.compile(r"\s*(pause|look)\s+\S", re.IGNORECASE)  # tags of *Words* whose value may follow a space


@dataclass(frozen=True)
class Direction:
    """What a tag asks for."""

    kind: Literal["next", "layout", "side", "show"]
    value: str = ""


@dataclass(frozen=True)
class Directed:
    """What is said in a scene, and what happens meanwhile; cues of its parts are numbers of directions."""

    passages: tuple[Passage, ...]
    directions: tuple[Direction, ...]
    opening: tuple[int, ...] = ()  # directions before the first word

    def times(self, spoken: Iterable[Spoken], seconds: float) -> dict[int, float]:
        """When each direction is due, s from the scene's beginning; spoken: its parts; seconds: its speech's end."""
        due = dict.fromkeys(self.opening, 0.0)
        last: dict[int, float] = {}
        for one in spoken:
            for number in one.part.begins:
                due.setdefault(number, one.start)
            for number in one.part.ends:
                last[number] = one.stop
        due |= last
        return {number: due.get(number, seconds) for number in range(len(self.directions))}


def read_directions(scene: Scene, where: str) -> Directed:
    """The notes of a scene. where: names the scene in errors. Raises: UserError naming the line of what is wrong."""
    if len(scene.notes) > MOST_LETTERS:
        raise UserError(f"{where}: its notes have {len(scene.notes)} letters; give at most {MOST_LETTERS}")
    marked, directions = _with_cues(sayable(scene.notes, paragraphs=scene.paragraphs), where)
    events, opening = _place(read_tags(marked, where))
    return Directed(tuple(to_passages(events)), tuple(directions), opening)


def _with_cues(text: str, where: str) -> tuple[str, list[Direction]]:
    """Text in which a letter stands for each of our tags, and other brackets that are no tags are escaped."""
    directions: list[Direction] = []

    def exchange(found: re.Match[str]) -> str:
        if found[1] is None:
            return {"\\[": OPENS, "\\]": CLOSES}.get(found[0], found[0])
        here = f"{where}, line {1 + text.count(chr(10), 0, found.start())}"
        given = _read(found[1], here)
        if isinstance(given, str):
            return given
        directions.append(given)
        if len(directions) > MOST_CUES:
            raise UserError(f"{here}: has more than {MOST_CUES} tags; split the slide")
        return chr(FIRST + len(directions) - 1)

    return _BRACKETS.sub(exchange, text), directions


def _read(tag: str, here: str) -> Direction | str:
    """What stands between brackets: a direction, or what *Words* reads in its place. Raises: UserError."""
    if _SPACED.match(tag):
        return f"[{tag}]"
    found = _TAG.fullmatch(tag)
    if not found:
        return f"{OPENS}{tag}{CLOSES}"
    name, value = found[1].lower(), found[2] or ""
    if name == "emotion":
        return f"[{value}]" if value.split(":")[0].strip().lower() in (*EMOTIONS, NEUTRAL) else _wrong(tag, value, here)
    if name in ("next", "left", "right"):
        if value:
            raise UserError(f"{here}: [{tag}]: takes no value; write [{name}]")
        return Direction("next") if name == "next" else Direction("side", name)
    if name == "layout":
        if value.lower() not in LAYOUTS:
            raise UserError(f"{here}: [{tag}]: '{value}' is no layout; {nearest(value, LAYOUTS)}")
        return Direction("layout", value.lower())
    if name == "show":
        if not value:
            raise UserError(f"{here}: [{tag}]: names no picture; write [show: picture.png]")
        return Direction("show", value)
    if name in TAGS:
        return f"[{tag}]"
    raise UserError(f"{here}: the tag [{tag[:40]}] is not known; {nearest(name, (*OURS, *TAGS))}; '\\[' writes a [")


def _wrong(tag: str, value: str, here: str) -> str:
    raise UserError(f"{here}: [{tag[:40]}]: '{value[:20]}' is no emotion; {nearest(value, (*EMOTIONS, NEUTRAL))}")


def _place(events: Iterable[Event]) -> tuple[list[Event], tuple[int, ...]]:
    """Events whose parts carry the cues that stood among their letters, and the cues before the first word."""
    placed: list[Event] = []
    waiting: list[int] = []
    opening: tuple[int, ...] = ()
    spoken: int | None = None  # where the last words stand

    def to_the_end() -> None:
        """Cues that a pause or the end follows are due when the words before them end."""
        nonlocal waiting, opening
        if waiting and spoken is None:
            opening = (*opening, *waiting)
        elif waiting:
            said = placed[spoken]  # type: ignore[index]
            assert isinstance(said, Said)
            placed[spoken] = replace(said, part=replace(said.part, ends=(*said.part.ends, *waiting)))  # type: ignore[index]
        waiting = []

    for event in events:
        if isinstance(event, Pause):
            to_the_end()
            placed.append(event)
            continue
        for piece in _CUE.split(event.part.text):
            if _CUE.fullmatch(piece):
                waiting.append(ord(piece) - FIRST)
                continue
            part = replace(event.part, text=piece.replace(OPENS, "[").replace(CLOSES, "]"))
            if speakable(piece):
                if spoken is None and waiting:
                    opening, waiting = tuple(waiting), []
                part = replace(part, begins=tuple(waiting))
                waiting, spoken = [], len(placed)
            placed.append(replace(event, part=part))
    to_the_end()
    return placed, opening


def shares(directed: Directed) -> Mapping[int, float]:
    """Where in the text each direction stands, 0..1, for recorded speech, whose words have no times."""
    total = sum(len(part.text) for passage in directed.passages for part in passage.parts)
    found: dict[int, float] = dict.fromkeys(directed.opening, 0.0)
    done = 0
    for part in _parts(directed.passages):
        for number in part.begins:
            found.setdefault(number, done / max(1, total))
        done += len(part.text)
        for number in part.ends:
            found[number] = done / max(1, total)
    return {number: found.get(number, 1.0) for number in range(len(directed.directions))}


def _parts(passages: Iterable[Passage]) -> Iterator[Part]:
    for passage in passages:
        yield from passage.parts
