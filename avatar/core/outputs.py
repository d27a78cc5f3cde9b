"""What may be written where: an output that would destroy something is refused before any work."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from avatar.core.files import UserError, check_writable, is_stream

HEAD = 1 << 16  # bytes of a file that say of what kind it is; metadata of safetensors, which may be long, come first
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # with one of these a QuickTime or MP4 file begins
OTHER_FORMATS = ("avatar/", "motion/")  # safetensors files with endings of their own


def check_output(
    path: Path, inputs: Iterable[Path | str] = (), *, endings: Sequence[str] = (), force: bool | None = None
) -> None:
    """Raise UserError unless a file may be written at `path`.

    It is refused where it is one of the inputs or lies in one (links are followed), where its ending is not among
    `endings` (in either case; none: any), where a folder is in the way, and where a file of another kind than the
    ending's stands, which `force` replaces (None: the caller has no such option). A pipe or device such as /dev/stdout
    is written into, whatever its name.
    """
    check_inputs(path, inputs)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    if not is_stream(path):
        ending = path.suffix.lower()
        if endings and ending not in endings:
            raise UserError(f"{path}: cannot be written as '{ending}'; use {' or '.join(endings)}")
        if path.exists() and not force and not _is_of_kind(path, ending):
            advice = "choose another name or remove it" if force is None else "choose another name, or --force"
            raise UserError(f"{path}: exists and is not such {ending or 'weights'} as this program writes; {advice}")
    check_writable(path)


def check_output_folder(path: Path, inputs: Iterable[Path | str] = ()) -> None:
    """Raise UserError unless a folder may be made at `path`; what stands in one that exists is the caller's matter."""
    check_inputs(path, inputs)
    if os.path.lexists(path) and not path.is_dir():
        raise UserError(f"{path}: is not a folder; choose another name")
    check_writable(path)


def check_inputs(path: Path, inputs: Iterable[Path | str]) -> None:
    """Raise UserError when a place is one of the inputs, or lies in a folder of them; links are followed."""
    for one in inputs:
        if is_same(path, one):
            raise UserError(f"{path}: is what is read; choose another output")
        if os.path.isdir(one) and Path(os.path.realpath(one)) in Path(os.path.realpath(path)).parents:
            raise UserError(f"{path}: lies in {one}, which is read; choose another output")


def files_among(*given: object) -> list[Path | str]:
    """Those of what a function was given that are names of files, not what stands in them."""
    return [one for one in given if isinstance(one, (Path, str))]


def is_same(path: Path | str, other: Path | str) -> bool:
    """Whether two names are of one file or folder: links are followed, and hard links are one file."""
    try:
        status = os.stat(path)
        return os.path.samefile(path, other) and not stat.S_ISCHR(status.st_mode)  # /dev/null may be read and written
    except OSError:
        return os.path.realpath(path) == os.path.realpath(other)


def _is_of_kind(path: Path, ending: str) -> bool:
    """Whether a file is what this program writes with such an ending; an empty one is of every kind."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read, so that it is not replaced; choose another name") from error
    return not head or KINDS.get(ending, _is_weights)(head)


def _format(head: bytes) -> str | None:
    """The format that a safetensors file names, empty where it names none; None for another file."""
    size = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or not 2 <= size < 1 << 27:
        return None
    start = head.find(b'"format":')
    try:
        return str(json.JSONDecoder().raw_decode(head[start + 9 :].decode("utf-8", "ignore").lstrip())[0])
    except ValueError:
        return ""


def _is_weights(head: bytes) -> bool:
    found = _format(head)
    return found is not None and not found.startswith(OTHER_FORMATS)


def _begins(*texts: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(texts)


KINDS: dict[str, Callable[[bytes], bool]] = {
    ".avatar": lambda head: (_format(head) or "").startswith("avatar/"),
    ".motion": lambda head: (_format(head) or "").startswith("motion/"),
    ".mp4": lambda head: head[4:8] in BOXES,
    ".mov": lambda head: head[4:8] in BOXES,
    ".webm": _begins(b"\x1a\x45\xdf\xa3"),
    ".png": _begins(b"\x89PNG\r\n\x1a\n"),
    ".ply": _begins(b"ply\n"),
    ".srt": _begins(b"1\n"),
    ".vtt": _begins(b"WEBVTT\n"),
    ".csv": _begins(b"seconds,", b"Timecode,BlendshapeCount,"),
    ".json": lambda head: b'"seen_before"' in head[:400],  # of an evaluation, not any JSON
    ".html": _begins(b"<!doctype html><html lang=en><meta charset=utf-8>"),
}
"""Ending -> whether what begins so is of the kind that is written with it; other endings hold weights."""


def unsigned_name(out: Path) -> Path:
    """Where a film, or a folder of pictures, lies until it is signed, and stays when that fails."""
    return out.with_name(f"{out.stem}.unsigned{out.suffix}" if out.suffix else f"{out.name}_unsigned")


def beside(out: Path | str, ending: str) -> Path:
    """A file or folder that lies beside an output, with another ending; of an unsigned film, beside what it becomes."""
    out = Path(out)
    return out.with_name(out.stem.removesuffix(".unsigned") + ending)
