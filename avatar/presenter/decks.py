"""A deck, whatever it is: .pptx, PDF with a script, a Markdown script, or a folder of pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avatar.core.files import UserError, digest_file
from avatar.core.media import probe
from avatar.presenter.drawing import FilePictures, OfficePictures, PdfPictures, PptxPictures, office
from avatar.presenter.fonts import fonts_for, installed, used_families
from avatar.presenter.notes import title_of
from avatar.presenter.package import check_kind
from avatar.presenter.pptx_deck import PptxDeck, read_pptx
from avatar.presenter.scenes import Deck, Scene, SlidePictures
from avatar.presenter.script import Script, read_script
from avatar.presenter.store import content_key
from avatar.presenter.written_slides import write_slides

PPTX = (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx")
SCRIPTS, TEXTS = (".md", ".markdown"), (".txt", ".md")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
SOUNDS = (".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac", ".aiff")
KINDS = "a .pptx, a .pdf with --script, a .md, or a folder of numbered pictures"
FPS = 25  # frames a second of films: a recording's slides begin with a frame
_NUMBER = re.compile(r"^0*(\d{1,5})(?!\d)")


@dataclass(frozen=True)
class Sources:
    """What a film is read from, beside its deck."""

    script: Path | None = None  # scenes in Markdown between lines of ---
    sounds: Path | None = None  # folder with recorded speech: 07.wav of slide 7
    recording: Path | None = None  # one recording of all slides
    times: str | None = None  # s at which its slides begin
    fonts: Path | None = None  # folder with fonts of the deck

    @property
    def files(self) -> list[Path]:
        """What is read."""
        return [one for one in (self.script, self.sounds, self.recording, self.fonts) if one is not None]


def open_deck(path: Path, sources: Sources, folder: Path) -> Deck:
    """Read a deck. folder: for what is unpacked, which must last as long as the deck is drawn from.

    Raises: UserError naming file and slide.
    """
    check_kind(path)
    if not path.exists():
        raise UserError(f"{path}: no such deck; check the name")
    ending = path.suffix.lower()
    if path.is_dir():
        deck = _folder(path)
    elif ending in PPTX:
        deck = _pptx(path, sources, folder)
    elif ending == ".pdf":
        deck = _pdf(path)
    elif ending in SCRIPTS:
        deck = _written(path, sources, folder)
    else:
        raise UserError(f"{path}: is no deck that is read; give {KINDS}")
    if sources.script is not None:
        deck = _with_script(deck, read_script(sources.script), sources.script)
    if deck.path.suffix.lower() == ".pdf" and sources.script is None and not (sources.sounds or sources.recording):
        raise UserError(
            f"{path}: a PDF has no notes; give what is said by --script FILE.md, or --sounds, or --recording"
        )
    return _with_recordings(deck, sources)


def _pptx(path: Path, sources: Sources, folder: Path) -> Deck:
    found = read_pptx(path, folder)
    pictures, drawn_by, remarks = _pictures(found, sources, path)
    return Deck(path, found.scenes, pictures, drawn_by, (*found.remarks, *remarks))


def _pictures(found: PptxDeck, sources: Sources, path: Path) -> tuple[SlidePictures, str, list[str]]:
    """What draws a .pptx, its name, and fonts that are missing."""
    if office():
        shown = [scene.number for scene in found.scenes]
        lacking = sorted(used_families(found.copy) - installed().keys())
        remarks = [f"fonts that are not here: {', '.join(lacking)}"] if lacking else []
        return OfficePictures(found.copy, shown, str(path)), "LibreOffice", remarks
    fonts = fonts_for(found.copy, sources.fonts)
    missing = [f"{one.family} by {one.drawn}" for one in fonts if one.family != one.drawn]
    remarks = [f"fonts that are not here: {', '.join(missing)}"] if missing else []
    return PptxPictures(found.copy, fonts, str(path)), "betteroffice-pptx", remarks


def _pdf(path: Path) -> Deck:
    pages = PdfPictures(path, str(path))
    scenes = [Scene(number, title_of(pages.text(number)) or f"Page {number}") for number in range(1, pages.count + 1)]
    return Deck(path, scenes, pages, "pypdfium2")


def _written(path: Path, sources: Sources, folder: Path) -> Deck:
    script = read_script(path)
    place = folder / "written.pptx"
    films = write_slides(script.scenes, place)
    scenes = [
        Scene(number, one.title or title_of(one.notes) or f"Scene {number}", one.notes, films=clips)
        for number, (one, clips) in enumerate(zip(script.scenes, films, strict=True), 1)
    ]
    made = PptxDeck(place, tuple(scenes), ())
    pictures, drawn_by, _ = _pictures(made, sources, path)
    return Deck(path, scenes, pictures, drawn_by, front=script.front)


def _folder(path: Path) -> Deck:
    pictures = numbered_files(path, PICTURES)
    if not pictures:
        raise UserError(f"{path}: holds no numbered pictures; name them 01.png, 02.png, ...")
    texts, sounds = numbered_files(path, TEXTS), numbered_files(path, SOUNDS)
    for number, extra in [*texts.items(), *sounds.items()]:
        if number not in pictures:
            raise UserError(f"{extra}: there is no picture of its number; name one {number:02d}.png")
    scenes = []
    for number, picture in pictures.items():
        notes = _read_text(texts[number]) if number in texts else ""
        title = re.sub(r"[_-]+", " ", _NUMBER.sub("", picture.stem)).strip(" .")
        scenes.append(Scene(number, title or title_of(notes) or f"Slide {number}", notes, sounds.get(number)))
    return Deck(path, scenes, FilePictures(pictures), "their own files")


def numbered_files(folder: Path, endings: Sequence[str]) -> dict[int, Path]:
    """Files of a folder whose names begin with a number, by that. Raises: UserError for two of one number."""
    found: dict[int, Path] = {}
    for place in sorted(folder.iterdir()):
        name = _NUMBER.match(place.name)
        if name and place.suffix.lower() in endings and place.is_file():
            if int(name[1]) in found:
                raise UserError(f"{place}: {found[int(name[1])].name} has the same number; rename one")
            found[int(name[1])] = place
    return dict(sorted(found.items()))


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text in UTF-8; save it as UTF-8") from error


def _with_script(deck: Deck, script: Script, path: Path) -> Deck:
    """A deck whose notes are a script's scenes: one for each slide."""
    if len(script.scenes) != len(deck.scenes):
        raise UserError(
            f"{path}: has {len(script.scenes)} scenes, {deck.path} {len(deck.scenes)} slides; write one for each, "
            "between lines of ---"
        )
    scenes = [
        replace(scene, notes=said.notes or said.body, title=said.title or scene.title, paragraphs=False)
        for scene, said in zip(deck.scenes, script.scenes, strict=True)
    ]
    return replace(deck, scenes=scenes, front=script.front)


def _with_recordings(deck: Deck, sources: Sources) -> Deck:
    """A deck whose slides have recorded speech, where it is given."""
    if sources.recording is not None:
        return replace(deck, scenes=_parts(deck, sources.recording, sources.times))
    if sources.times is not None:
        raise UserError("--times: are those of a recording; add --recording FILE")
    if sources.sounds is None:
        return deck
    if not sources.sounds.is_dir():
        raise UserError(f"{sources.sounds}: is no folder; --sounds takes one with 01.wav, 02.wav, ...")
    sounds, known = numbered_files(sources.sounds, SOUNDS), {scene.number for scene in deck.scenes}
    if strange := [place for number, place in sounds.items() if number not in known]:
        raise UserError(f"{strange[0]}: {deck.path} shows no slide of its number; rename it")
    return replace(deck, scenes=[replace(one, sound=sounds.get(one.number, one.sound)) for one in deck.scenes])


def _parts(deck: Deck, recording: Path, times: str | None) -> list[Scene]:
    """Scenes with their parts of one recording, which begin with frames."""
    starts = [_seconds(text) for text in (times or "").split(",") if text.strip()]
    if len(starts) != len(deck.scenes):
        advice = "write the second at which each begins, such as '0, 12.5, 1:03'"
        raise UserError(f"--times: {len(starts)} are given for {len(deck.scenes)} slides; {advice}")
    seconds = probe(recording).seconds
    if any(stop <= start for start, stop in zip(starts, [*starts[1:], seconds], strict=True)):
        raise UserError(f"--times: must grow, and end before {recording} does, at {seconds:.1f} s")
    starts = [round(one * FPS) / FPS for one in starts]
    spans = zip(starts, [*starts[1:], None], strict=True)
    return [
        replace(scene, sound=recording, start=start, stop=stop)
        for scene, (start, stop) in zip(deck.scenes, spans, strict=True)
    ]


def _seconds(text: str) -> float:
    found = re.fullmatch(r"\s*(?:(?:(\d+):)?(\d{1,3}):)?(\d+(?:\.\d+)?)\s*", text)
    if not found:
        raise UserError(f"--times: '{text.strip()}' is no time; write seconds or m:ss, such as 12.5 or 1:03")
    return int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + float(found[3])


def file_digest(deck: Path) -> str:
    """A digest of a deck's file, or of the files in its folder."""
    if not deck.is_dir():
        return digest_file(deck)
    return content_key([(place.name, digest_file(place)) for place in sorted(deck.iterdir()) if place.is_file()])
