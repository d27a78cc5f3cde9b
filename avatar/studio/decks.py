"""Decks of a person on the server: what was given, how it looks, and the job that makes its film."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from avatar.core.files import remove_folder
from avatar.core.media_command import input_options, started
from avatar.core.named_files import BLUR, NAMED_LIGHTS
from avatar.studio.errors import RefusalError, not_found
from avatar.studio.films import moved, pick_avatar, voice_choice
from avatar.studio.library import ABOUT, SLIDES, Person, numbered, slug
from avatar.studio.processes import run_task
from avatar.studio.queue import Job
from avatar.studio.studio import Studio
from avatar.studio.uploads import Upload

ASPECTS = {"16:9": "", "9:16": "-upright", "1:1": "-square"}
"""What films of these shapes are called besides."""
LINES = {"small": 720, "usual": 1080, "large": 2160}
CHOICES = {
    "aspect": tuple(ASPECTS),
    "layout": ("corner", "side", "full", "slide"),
    "shape": ("cutout", "circle", "box"),
    "captions": ("vtt", "srt", "burn"),
    "light": NAMED_LIGHTS,
}
"""Options that are one of a few."""
SILENT = "3s"  # that slides without notes are shown


async def add_deck(studio: Studio, person: Person, upload: Upload, replaced: str = "") -> dict[str, Any]:
    """Take a deck that has come; replaced: the name of one whose new version it is. Raises: RefusalError.

    A new version's film has the name of the old one's, so that only slides that changed are made again.
    """
    folder, file = person.folder / "decks", studio.uploads.path(upload)
    async with studio.adding:  # so that no name is taken twice
        if replaced:
            place = person.pick(person.decks, replaced)
            _check_free(studio, place)
        else:
            base = slug(Path(upload.name).stem) or "deck"
            place = next(one for name in numbered(base) if not (one := folder / name).exists())
        folder.mkdir(exist_ok=True)
        found = await run_task("deck", {"file": str(file), "name": place.name, "folder": str(place)})
        studio.uploads.remove(upload)
    if error := found.get("error"):
        raise RefusalError("unusable", str(error).replace(str(file), upload.name))
    return describe_deck(person, place)


def remove_deck(studio: Studio, place: Path) -> None:
    """Delete a deck; its films stay. Raises: RefusalError while its film is in the queue."""
    _check_free(studio, place)
    remove_folder(place)


def _check_free(studio: Studio, place: Path) -> None:
    inside = f"{place.relative_to(studio.root)}/"
    if any(f"{job.get('deck', '')}/".startswith(inside) for job in studio.queue.jobs()):
        raise RefusalError("deck-busy", "a film of this deck is being made; wait for it, or cancel it", 409)


def describe_deck(person: Person, place: Path) -> dict[str, Any]:
    """A deck with its slides. Raises: RefusalError for one that was not looked at."""
    found = _about(place)
    base = f"/api/people/{quote(person.key)}/decks/{quote(place.name)}"
    stamp = (place / SLIDES / ABOUT).stat().st_mtime_ns
    slides = [one | {"picture": f"{base}/{one['picture']}?{stamp}"} for one in found["slides"]]
    return found | {"name": place.name, "slides": slides}


def _about(place: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((place / SLIDES / ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise not_found(place.name) from None


def slide_picture(place: Path, name: str) -> Path:
    """The picture of a slide. Raises: RefusalError."""
    if (found := next((one for one in (place / SLIDES).glob("*.jpg") if one.name == name), None)) is None:
        raise not_found(name)
    return found


def present_job(studio: Studio, person: Person, place: Path, values: dict[str, Any]) -> Job:
    """The job that makes a deck's film; one of the same name and shape is replaced. Raises: RefusalError."""
    shape = ASPECTS[_one_of(values, "aspect", tuple(ASPECTS)) or "16:9"]
    name = f"{place.name}{shape}{'-draft' if values.get('draft') else ''}"
    job: Job = {
        "id": f"{person.key}.film.{name}",
        "kind": "present",
        "avatar": _inside(studio, pick_avatar(person, values.get("avatar"))),
        "output": f"{person.key}/films/{name}.mp4",
        "silent": SILENT,
        "lines": LINES[_one_of(values, "size", tuple(LINES)) or "usual"],
    }
    if (studio.root / job["output"]).exists():
        job["force"] = True
    job |= {option: _inside(studio, place / file) for option, file in _about(place)["files"].items()}
    if background := str(values.get("background") or ""):
        own = background != BLUR
        job["background"] = _inside(studio, person.pick(person.files("backgrounds"), background)) if own else BLUR
    job |= {key: value for key, known in CHOICES.items() if (value := _one_of(values, key, known))}
    if values.get("voice"):
        job["voice"], job["language"] = voice_choice(values)
    if values.get("slides"):
        job["slides"] = str(values["slides"])
    job |= {key: True for key in ("draft", "read_titles") if values.get(key)}
    if values.get("use"):
        job["use"] = str(values["use"])
    return job | moved(values)


def _one_of(values: dict[str, Any], key: str, known: tuple[str, ...]) -> str | None:
    value = str(values.get(key) or "")
    if value and value not in known:
        raise RefusalError("setting", f"{key}: '{value[:20]}' is none of {', '.join(known)}")
    return value or None


def _inside(studio: Studio, path: Path) -> str:
    return str(path.relative_to(studio.root))


def chapters_of(film: Path) -> list[dict[str, Any]]:
    """Titles and beginnings, s, of a film's chapters, as ffmpeg writes them."""
    with started(["-v", "error", *input_options(film), "-f", "ffmetadata", "-"]) as running:
        text = running.output.read().decode("utf-8", "replace")
    found = []
    for block in text.split("[CHAPTER]")[1:]:
        values = dict(line.split("=", 1) for line in _unfolded(block) if "=" in line)
        over, _, under = values.get("TIMEBASE", "1/1000").partition("/")
        start = int(values.get("START", 0)) * int(over) / int(under)
        found.append({"title": values.get("title", "").strip(), "start": start})
    return found


def _unfolded(block: str) -> list[str]:
    """Lines of a block of ffmpeg's, in which a backslash stands before letters that would mean something."""
    lines, line, letters = list[str](), "", iter(block)
    for letter in letters:
        if letter == "\n":
            lines, line = [*lines, line], ""
        else:
            line += next(letters, "") if letter == "\\" else letter
    return [*lines, line]
