"""Decks that tests make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

pptx = pytest.importorskip("pptx")
pytest.importorskip("betteroffice_pptx")

EMU = 914_400  # an inch
CLICK = """
<p:timing xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"><p:tnLst><p:par>
<p:cTn id="1" dur="indefinite" nodeType="tmRoot"><p:childTnLst><p:seq><p:cTn id="2" nodeType="mainSeq"><p:childTnLst>
{steps}</p:childTnLst></p:cTn></p:seq></p:childTnLst></p:cTn></p:par></p:tnLst></p:timing>"""
STEP = """<p:par><p:cTn id="{id}" fill="hold"><p:childTnLst><p:par><p:cTn id="{id}1"><p:childTnLst><p:par>
<p:cTn id="{id}2" presetID="1" presetClass="entr" nodeType="clickEffect"><p:childTnLst><p:set><p:cBhvr>
<p:cTn id="{id}3"/><p:tgtEl><p:spTgt spid="{shape}"/></p:tgtEl></p:cBhvr></p:set></p:childTnLst></p:cTn></p:par>
</p:childTnLst></p:cTn></p:par></p:childTnLst></p:cTn></p:par>"""


def make_deck(place: Path, notes: Sequence[str], *, hidden: Sequence[int] = (), clicks: int = 0) -> Path:
    """A deck with a title and notes on each slide.

    hidden: slides, from 1. clicks: of the first slide, each of which shows a black square more, from the left.
    """
    deck = pptx.Presentation()
    deck.slide_width, deck.slide_height = 16 * EMU, 9 * EMU
    for number, text in enumerate(notes, 1):
        slide = deck.slides.add_slide(deck.slide_layouts[5])
        slide.shapes.title.text = f"Slide {number} of {len(notes)}"
        if text:
            slide.notes_slide.notes_text_frame.text = text
        if number in hidden:
            slide._element.set("show", "0")
        if number == 1 and clicks:
            add_clicks(slide, clicks)
    deck.save(str(place))
    return place


def add_clicks(slide: pptx.slide.Slide, clicks: int) -> None:
    """Squares that show one after the other."""
    from lxml import etree
    from pptx.dml.color import RGBColor

    steps = []
    for index in range(clicks):
        shape = slide.shapes.add_shape(1, (1 + 2 * index) * EMU, 4 * EMU, EMU, EMU)
        shape.fill.solid()
        shape.fill.fore_color.rgb = RGBColor(0, 0, 0)
        steps.append(STEP.format(id=10 + index, shape=shape.shape_id))
    slide._element.append(etree.fromstring(CLICK.format(steps="".join(steps))))


def replace_part(deck: Path, name: str, data: bytes | None) -> None:
    """Put other bytes into a package; None removes the part."""
    import zipfile

    with zipfile.ZipFile(deck) as package:
        parts = {one: package.read(one) for one in package.namelist()}
    with zipfile.ZipFile(deck, "w", zipfile.ZIP_DEFLATED) as package:
        for one, old in parts.items():
            if one != name:
                package.writestr(one, old)
        if data is not None:
            package.writestr(name, data)
