"""Decks of PowerPoint: titles, notes, hidden slides, films and builds, as python-pptx reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar.core.files import UserError
from avatar.presenter.builds import builds_of
from avatar.presenter.extra import need
from avatar.presenter.notes import title_of
from avatar.presenter.package import copy_package
from avatar.presenter.scenes import Scene, SlideFilm

MEDIA = "{http://schemas.microsoft.com/office/powerpoint/2010/main}media"
EMBED = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}embed"
FILMS = (".mp4", ".m4v", ".mov", ".webm", ".avi", ".wmv", ".mkv", ".mpg", ".mpeg")


@dataclass(frozen=True)
class PptxDeck:
    """What a .pptx file holds."""

    copy: Path  # of the file, without links out of it
    scenes: tuple[Scene, ...]  # of slides that are shown
    remarks: tuple[str, ...]


def read_pptx(path: Path, folder: Path) -> PptxDeck:
    """Read a deck. folder: where its copy and films are put. Raises: UserError naming the slide."""
    library = need("pptx", f"{path}: .pptx")
    copy = folder / "deck.pptx"
    links = copy_package(path, copy)
    try:
        presentation = library.Presentation(str(copy))
        slides, size = list(presentation.slides), (presentation.slide_width, presentation.slide_height)
    except Exception as error:  # a damaged package raises whatever its parser met
        reason = str(error).partition("\n")[0][:80] or type(error).__name__
        raise UserError(f"{path}: is damaged ({reason}); open it in PowerPoint and save it again") from error
    if not slides or not all(size):
        raise UserError(f"{path}: has no slide; give a deck with slides")
    scenes, remarks, hidden = [], [], []
    for number, slide in enumerate(slides, 1):
        if slide._element.get("show") in ("0", "false"):
            hidden.append(number)
            continue
        try:
            scenes.append(_scene(slide, number, (size[0], size[1]), folder))
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{path}, slide {number}: cannot be read ({str(error)[:80]}); save the deck again"
            ) from error
    if not scenes:
        raise UserError(f"{path}: all {len(slides)} slides are hidden; show one at least")
    if hidden:
        remarks.append(f"hidden, so left out: {named(hidden)}")
    if links:
        remarks.append(f"{links} links to files or the network were not followed")
    return PptxDeck(copy, tuple(scenes), tuple(remarks))


def named(numbers: Sequence[int]) -> str:
    """`slide 3` or `slides 3, 7-9`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    text = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"slide{'s' if len(numbers) > 1 else ''} {text}"


def _scene(slide: Any, number: int, size: tuple[int, int], folder: Path) -> Scene:
    frame = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    notes = frame.text if frame is not None else ""
    films = tuple(film for shape in slide.shapes if (film := _film(shape, slide, size, folder)) is not None)
    builds = 1 + len(builds_of(slide._element))
    return Scene(number, _title(slide) or f"Slide {number}", notes, builds=builds, films=films, paragraphs=True)


def _title(slide: Any) -> str:
    shape = slide.shapes.title
    if shape is not None and shape.has_text_frame and (title := title_of(shape.text_frame.text)):
        return title
    texts = (one.text_frame.text for one in slide.shapes if one.has_text_frame and not _is_number(one))
    return next((title for text in texts if (title := title_of(text))), "")


def _is_number(shape: Any) -> bool:
    """Whether a shape holds the slide's number, a date or a footer."""
    return bool(shape.is_placeholder) and int(shape.placeholder_format.type) in (13, 15, 16)


def _film(shape: Any, slide: Any, size: tuple[int, int], folder: Path) -> SlideFilm | None:
    media = next(iter(shape._element.iter(MEDIA)), None)
    link = media.get(EMBED) if media is not None else None
    if not link or link not in slide.part.rels or slide.part.rels[link].is_external:
        return None
    part = slide.part.related_part(link)
    ending = Path(str(part.partname)).suffix.lower()
    if ending not in FILMS:
        return None
    digest = hashlib.sha256(part.blob).hexdigest()
    place = folder / f"{digest[:16]}{ending}"
    if not place.exists():
        place.write_bytes(part.blob)
    box = (shape.left / size[0], shape.top / size[1], shape.width / size[0], shape.height / size[1])
    return SlideFilm(place, box, digest)
