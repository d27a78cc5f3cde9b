"""Builds of a slide: what its animations show and hide at each click; and decks with slides as they are before one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar.presenter.extra import need

P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
MOST_BUILDS = 100  # clicks of a slide; later ones are shown with the last


@dataclass(frozen=True)
class Change:
    """A shape, or some of its paragraphs, that a click shows or hides."""

    shape: str  # its id
    paragraphs: tuple[int, int] | None  # first and last; None: all of the shape
    shows: bool


def builds_of(slide: Any) -> list[list[Change]]:
    """What each click of a slide's element changes, in order; clicks that show and hide nothing are left out."""
    clicks = []
    for sequence in slide.iter(f"{P}cTn"):
        if sequence.get("nodeType") != "mainSeq":
            continue
        steps = sequence.find(f"{P}childTnLst")
        for step in steps if steps is not None else ():
            if (changes := _changes(step)) and _waits(step):
                clicks.append(changes)
    return clicks[:MOST_BUILDS]


def _waits(step: Any) -> bool:
    """Whether a step waits for a click; others follow by themselves."""
    return any(one.get("nodeType") == "clickEffect" for one in step.iter(f"{P}cTn"))


def _changes(step: Any) -> list[Change]:
    found = []
    for effect in step.iter(f"{P}cTn"):
        kind = effect.get("presetClass")
        if kind not in ("entr", "exit"):
            continue
        for target in effect.iter(f"{P}spTgt"):
            lines = next(target.iter(f"{P}pRg"), None)
            span = None if lines is None else (int(lines.get("st", 0)), int(lines.get("end", 0)))
            change = Change(target.get("spid", ""), span, kind == "entr")
            if change not in found:
                found.append(change)
    return found


def write_build(deck: Path, build: int, place: Path) -> None:
    """A copy of a deck whose every slide is as after so many clicks; slides with fewer are as at their end."""
    presentation = need("pptx", "a slide's builds").Presentation(str(deck))
    for slide in presentation.slides:
        clicks = builds_of(slide._element)
        for change in _unseen(clicks, build) if build < len(clicks) else ():
            _hide(slide._element, change)
    presentation.save(str(place))


def _unseen(clicks: list[list[Change]], build: int) -> list[Change]:
    """What is not seen after so many clicks: what a later one shows first, and what an earlier one hid last."""
    state: dict[tuple[str, tuple[int, int] | None], tuple[Change, bool]] = {}
    for number, changes in enumerate(clicks):
        for change in changes:
            key = (change.shape, change.paragraphs)
            if number < build:
                state[key] = (change, change.shows)
            else:
                state.setdefault(key, (change, not change.shows))
    return [change for change, seen in state.values() if not seen]


def _hide(slide: Any, change: Change) -> None:
    for shape in list(slide.iter()):
        names = [
            one for one in shape if str(one.tag).startswith(P) and str(one.tag).rpartition("}")[2].startswith("nv")
        ]
        if not any(one.get("id") == change.shape for name in names for one in name.iter(f"{P}cNvPr")):
            continue
        if change.paragraphs is None:
            shape.getparent().remove(shape)
            return
        first, last = change.paragraphs
        for index, paragraph in enumerate(list(shape.iter(f"{A}p"))):
            if first <= index <= last:
                for run in list(paragraph):
                    if run.tag in (f"{A}r", f"{A}fld", f"{A}br"):
                        paragraph.remove(run)
        return
