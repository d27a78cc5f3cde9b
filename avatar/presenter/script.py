"""Scripts in Markdown: scenes between lines of `---`, with front matter, titles, notes, pictures and clips."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar.core.files import UserError, check_readable
from avatar.core.lines import parse_mapping
from avatar.presenter.directions import LAYOUTS
from avatar.presenter.layouts import ASPECTS

MOST_BYTES = 20_000_000  # of a script
FRONT = ("layout", "aspect", "title", "author", "date", "lang")
"""Keys of the front matter: the first two are the film's, the others pandoc's, which nothing here needs."""
CLIPS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
_BREAK = re.compile(r"^-{3,}\s*$")
_TITLE = re.compile(r"^#{1,3}\s+(.+?)\s*#*\s*$")
_MEDIA = re.compile(r"!\[[^\]\n]*\]\(\s*<?([^()\n<>]+?)>?(?:\s+\"[^\"\n]*\")?\s*\)(?:\{[^}\n]*\})?")
_OPENS = re.compile(r"^:{3,}\s*\{?\.?\s*(\w+)\s*\}?\s*:*\s*$")
_CLOSES = re.compile(r"^:{3,}\s*$")


@dataclass(frozen=True)
class ScriptScene:
    """A scene of a script."""

    line: int  # of the file, where it begins
    title: str = ""
    body: str = ""  # what stands on the slide
    notes: str = ""  # what is said
    media: tuple[Path, ...] = ()  # pictures and clips, in order


@dataclass(frozen=True)
class Script:
    """A script."""

    scenes: tuple[ScriptScene, ...]
    front: Mapping[str, Any]


def read_script(path: Path) -> Script:
    """Read a script. Where it has no `::: notes` at all, all its text is said. Raises: UserError naming the line."""
    check_readable(path, "script")
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: is larger than {MOST_BYTES // 1_000_000} MB; a script is text")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text in UTF-8; save it as UTF-8") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first, front = _front(lines, path)
    blocks: list[tuple[int, list[str]]] = [(first + 1, [])]
    for number, line in enumerate(lines[first:], first + 1):
        if _BREAK.match(line):
            blocks.append((number + 1, []))
        else:
            blocks[-1][1].append(line)
    with_notes = any(found[1] == "notes" for line in lines if (found := _OPENS.match(line)))
    scenes = [_scene(block, start, path, with_notes) for start, block in blocks if any(map(str.strip, block))]
    if not scenes:
        raise UserError(f"{path}: holds no scene; write text between lines of ---")
    return Script(tuple(scenes), front)


def _front(lines: list[str], path: Path) -> tuple[int, dict[str, Any]]:
    """Lines that the front matter takes, and what stands in it."""
    if not lines or not _BREAK.match(lines[0]):
        return 0, {}
    end = next((index for index, line in enumerate(lines[1:], 1) if _BREAK.match(line) or line.strip() == "..."), None)
    inside = lines[1:end]
    if end is None or not any(re.match(r"^\w[\w-]*\s*:", line) for line in inside):
        return 1, {}  # a line between scenes
    front = parse_mapping("\n".join(inside), str(path), "front matter")
    for key, value in front.items():
        if key not in FRONT:
            raise UserError(f"{path}: the front matter's '{key}' is not known; there are {', '.join(FRONT)}")
        known = {"layout": LAYOUTS, "aspect": tuple(ASPECTS)}.get(key)
        if known and value not in known:
            raise UserError(f"{path}: the front matter's {key} is '{value}'; write one of {', '.join(known)}")
    return end + 1, front


def _scene(lines: list[str], start: int, path: Path, with_notes: bool) -> ScriptScene:
    title, body, notes = "", list[str](), list[str]()
    media: list[Path] = []
    inside = ""
    opened = 0
    for number, line in enumerate(lines, start):
        if found := _OPENS.match(line):
            inside, opened = found[1], number
            continue
        if inside and _CLOSES.match(line):
            inside = ""
            continue
        if inside == "notes":
            notes.append(line)
            continue
        for found in _MEDIA.finditer(line):
            media.append(_file(found[1], path, number))
        line = _MEDIA.sub("", line)
        if not title and (found := _TITLE.match(line)):
            title = found[1].replace("*", "")
        elif not inside or inside != "notes":
            body.append(line)
    if inside:
        raise UserError(f"{path}, line {opened}: '::: {inside}' is not closed; write ':::' after it")
    shown = "\n".join(body).strip("\n")
    said = "\n".join(notes) if with_notes else shown
    return ScriptScene(start, title, shown if with_notes else "", said, tuple(media))


def _file(name: str, script: Path, line: int) -> Path:
    """A file that a script names, which lies in its folder. Raises: UserError."""
    folder = script.parent.resolve()
    place = (folder / name).resolve()
    if "://" in name or folder not in place.parents:
        raise UserError(f"{script}, line {line}: {name}: is not in the script's folder; put it there")
    check_readable(place, f"file ({script}, line {line})")
    return place
