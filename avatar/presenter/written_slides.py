"""Slides of a script: title, text and pictures laid out as a deck, which is then drawn like any other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatar.core.files import UserError, digest_file
from avatar.core.media import probe
from avatar.presenter.drawing import read_picture
from avatar.presenter.extra import need
from avatar.presenter.scenes import Fractions, SlideFilm
from avatar.presenter.script import CLIPS, ScriptScene

WIDTH, HEIGHT, MARGIN = 12_192_000, 6_858_000, 640_000  # EMU: 13.3 by 7.5 inches
TITLE, TEXT = 40, 26  # points
LEAST_TEXT = 12
HALF = 0.5  # of the width: text beside a picture
_ITEM = re.compile(r"^(\s*)(?:[-*+]|\d{1,3}[.)])\s+(.*)$")


def write_slides(scenes: Sequence[ScriptScene], place: Path) -> list[tuple[SlideFilm, ...]]:
    """Write a deck with a slide for each scene; returns the films of each. Raises: UserError."""
    library = need("pptx", "a script's slides")
    deck = library.Presentation()
    deck.slide_width, deck.slide_height = WIDTH, HEIGHT
    films = []
    for scene in scenes:
        slide = deck.slides.add_slide(deck.slide_layouts[6])
        films.append(_fill(slide, scene))
    deck.save(str(place))
    return films


def _fill(slide: Any, scene: ScriptScene) -> tuple[SlideFilm, ...]:
    words = bool(scene.title or scene.body.strip())
    top = MARGIN
    if scene.title:
        _text(slide, [scene.title], (MARGIN, MARGIN // 2, WIDTH - 2 * MARGIN, 1_100_000), TITLE, bold=True)
        top = 1_800_000
    beside = bool(scene.media and scene.body.strip())
    left = int(WIDTH * HALF) if beside else MARGIN
    if lines := [line for line in scene.body.split("\n") if line.strip()]:
        width = (int(WIDTH * HALF) if beside else WIDTH) - 2 * MARGIN
        size = max(LEAST_TEXT, min(TEXT, TEXT * 12 // max(12, len(lines))))
        _text(slide, lines, (MARGIN, top, width, HEIGHT - top - MARGIN), size)
    area = (left, top, WIDTH - left - MARGIN, HEIGHT - top - MARGIN) if words else (0, 0, WIDTH, HEIGHT)
    films = []
    for index, medium in enumerate(scene.media):
        share = area[2] // len(scene.media)
        part = (area[0] + index * share, area[1], share, area[3])
        if medium.suffix.lower() in CLIPS:
            films.append(_film(medium, part))
        else:
            picture = read_picture(medium)
            box = _fit(picture.width / picture.height, part)
            slide.shapes.add_picture(str(medium), *box)
    return tuple(films)


def _film(path: Path, area: tuple[int, int, int, int]) -> SlideFilm:
    info = probe(path)
    if not info.has_video:
        raise UserError(f"{path}: has no picture; give a film")
    left, top, wide, high = _fit(info.width / info.height, area)
    box: Fractions = (left / WIDTH, top / HEIGHT, wide / WIDTH, high / HEIGHT)
    return SlideFilm(path, box, digest_file(path))


def _fit(aspect: float, area: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    left, top, width, height = area
    wide = min(width, round(height * aspect))
    high = min(height, round(wide / aspect))
    return left + (width - wide) // 2, top + (height - high) // 2, wide, high


def _text(slide: Any, lines: Sequence[str], box: tuple[int, int, int, int], size: int, *, bold: bool = False) -> None:
    from pptx.util import Emu, Pt

    frame = slide.shapes.add_textbox(*(Emu(one) for one in box)).text_frame
    frame.word_wrap = True
    for index, line in enumerate(lines):
        paragraph = frame.paragraphs[0] if index == 0 else frame.add_paragraph()
        found = _ITEM.match(line)
        text = f"• {found[2]}" if found else line
        for number, piece in enumerate(re.split(r"\*\*|__", text)):
            run = paragraph.add_run()
            run.text = piece
            run.font.size, run.font.bold = Pt(size), bold or number % 2 == 1
        paragraph.space_after = Pt(size / 3)
