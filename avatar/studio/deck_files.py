"""What is in a deck that somebody gave: unpacked, read, slides drawn. In a child process, since files may be anything.

A deck is a folder: with a .pptx, a PDF and its script, a Markdown script and its pictures, or numbered pictures. Beside
them may lie numbered sounds, which are what is said, and fonts. Pictures of its slides go to its folder `.slides`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from avatar.core.files import UserError, remove_leftovers, whole
from avatar.presenter.decks import PICTURES, PPTX, SCRIPTS, SOUNDS, Sources, numbered_files, open_deck
from avatar.presenter.directions import Directed, read_directions
from avatar.presenter.scenes import Deck, Scene
from avatar.presenter.timeline import check_directions
from avatar.studio.library import ABOUT, SLIDES

FONTS = (".ttf", ".otf", ".ttc")
MOST_FILES, MOST_BYTES = 4000, 1_500_000_000  # of an archive: pictures and sounds of two thousand slides; unpacked
LONGEST_PART, DEEPEST = 120, 6  # characters of a name in an archive; folders in it
WIDE, HIGH = 480, 480  # px of a slide's picture
MOST_NOTES = 4000  # characters of a slide's notes that are shown
WORDS_A_SECOND = 2.5  # that voices say, about
UNSAFE = frozenset('\\:*?"<>|')


@dataclass(frozen=True)
class DeckFiles:
    """A deck in its folder."""

    deck: Path  # the file, or the folder itself
    sources: Sources


def take_deck(file: Path, name: str, folder: Path) -> dict[str, Any]:
    """Put a deck or a .zip of one into a folder, with pictures of its slides; what is in it.

    name: of the file in it, without ending. What stands at the folder is replaced, or left as it is on an error.
    Raises: UserError naming the slide.
    """
    remove_leftovers(folder)
    with whole(folder) as place:
        place.mkdir(parents=True)
        if file.suffix.lower() == ".zip":
            _unpack(file, place)
        else:
            shutil.copyfile(file, place / f"{name}{file.suffix.lower()}")
        try:
            files = find_deck(place)
            found = _look_at(files, place / SLIDES) | {"files": _relative(files, place)}
        except UserError as error:
            raise UserError(str(error).replace(f"{place}/", "").replace(str(place), name)) from error
        (place / SLIDES / ABOUT).write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return found


def find_deck(folder: Path) -> DeckFiles:
    """The deck of a folder. Raises: UserError when there is none, or more than one."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    slides = [path for path in files if path.suffix.lower() in (*PPTX, ".pdf")]
    pictures, sounds = numbered_files(folder, PICTURES), numbered_files(folder, SOUNDS)
    texts = set(numbered_files(folder, SCRIPTS).values()) if pictures else set()
    scripts = [path for path in files if path.suffix.lower() in SCRIPTS and path not in texts]
    main = slides or ([] if pictures and not scripts else scripts)
    if len(main) > 1:
        raise UserError(f"{main[0].name} and {main[1].name}: are two decks; give them one by one")
    if not main and not pictures:
        raise UserError("no deck is in it; give a .pptx, a .pdf with a .md, a .md, or pictures named 01.png, 02.png")
    fonts = next((path.parent for path in sorted(folder.rglob("*")) if path.suffix.lower() in FONTS), None)
    script = scripts[0] if slides and len(scripts) == 1 else None
    return DeckFiles(main[0] if main else folder, Sources(script, folder if main and sounds else None, fonts=fonts))


def _relative(files: DeckFiles, folder: Path) -> dict[str, str]:
    """Options of `present` that name a deck's files, as paths in its folder."""
    sources = files.sources
    named = {"deck": files.deck, "script": sources.script, "sounds": sources.sounds, "fonts": sources.fonts}
    return {name: str(path.relative_to(folder)) for name, path in named.items() if path is not None}


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack what may be part of a deck. Names stay, since scripts name their pictures. Raises: UserError."""
    try:
        with zipfile.ZipFile(archive) as source:
            parts = [part for part in source.infolist() if not part.is_dir() and not _is_hidden(part.filename)]
            if len(parts) > MOST_FILES or sum(part.file_size for part in parts) > MOST_BYTES:
                most = f"{MOST_FILES} files or {MOST_BYTES // 1_000_000} MB"
                raise UserError(f"the archive unpacks to more than {most}; leave out what is no slide")
            paths = [_safe(part.filename) for part in parts]
            top = {path.parts[0] for path in paths if len(path.parts) > 1}
            inside = len(top) == 1 and all(len(path.parts) > 1 for path in paths)
            for part, path in zip(parts, paths, strict=True):
                if part.flag_bits & 1:
                    raise UserError("the archive is encrypted; pack it without a password")
                place = folder / (path.relative_to(path.parts[0]) if inside else path)
                place.parent.mkdir(parents=True, exist_ok=True)
                with source.open(part) as packed, place.open("xb") as file:
                    shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, FileExistsError, ValueError) as error:
        raise UserError("the archive is damaged; pack it again as .zip") from error


def _is_hidden(name: str) -> bool:
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _safe(name: str) -> PurePosixPath:
    """A name of an archive, as a path that stays in its folder. Raises: UserError."""
    path = PurePosixPath(name)
    good = all(part.isprintable() and not UNSAFE & set(part) and len(part) <= LONGEST_PART for part in path.parts)
    if not good or path.is_absolute() or ".." in path.parts or not 1 <= len(path.parts) <= DEEPEST:
        raise UserError(f"the archive holds a file named {name[:60]!r}, which cannot be one of a deck; rename it")
    return path


def _look_at(files: DeckFiles, pictures: Path) -> dict[str, Any]:
    """Slides and what is said over them; problems are a slide's own, so that all are seen at once."""
    pictures.mkdir()
    with tempfile.TemporaryDirectory(prefix="avatar-studio-") as folder:
        deck = open_deck(files.deck, files.sources, Path(folder))
        slides, directed = [], []
        for scene in deck.scenes:
            place = pictures / f"{scene.number:04d}.jpg"
            deck.pictures.draw(scene.number, -1, WIDE, HIGH).save(place, "JPEG", quality=82)
            said, problem = _directions(deck, scene)
            if said is not None:
                directed.append((scene, said))
            slides.append(_describe(scene, said, problem) | {"picture": place.name})
        problem = "" if len(directed) < len(slides) else _problem(deck, directed)
    return {
        "file": files.deck.name,
        "drawn_by": deck.drawn_by,
        "remarks": list(deck.remarks),
        "front": {key: str(value) for key, value in deck.front.items()},
        "slides": slides,
        "problem": problem,
    }


def _directions(deck: Deck, scene: Scene) -> tuple[Directed | None, str]:
    where = f"slide {scene.number}"
    try:
        return read_directions(scene, where), ""
    except UserError as error:
        return None, str(error).removeprefix(f"{where}, ").removeprefix(f"{where}: ")


def _problem(deck: Deck, directed: list[tuple[Scene, Directed]]) -> str:
    try:
        check_directions(deck, directed)
    except UserError as error:
        return str(error).replace(f"{deck.path}, ", "")
    return ""


def _describe(scene: Scene, said: Directed | None, problem: str) -> dict[str, Any]:
    words = len(scene.notes.split())
    return {
        "number": scene.number,
        "title": scene.title,
        "notes": scene.notes[:MOST_NOTES],
        "problem": problem,
        "recorded": scene.sound is not None,
        "film": bool(scene.films),
        "silent": bool(said and not (said.passages or scene.sound or scene.films)),
        "seconds": round(words / WORDS_A_SECOND, 1),
    }
