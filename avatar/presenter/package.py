"""A .pptx file is checked before anything reads it, and copied without what leads out of it."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

from avatar.core.files import UserError, check_readable

MOST_PARTS = 20_000  # files in the package; a deck of 500 slides has about 3000
MOST_BYTES, MOST_XML = 1_500_000_000, 60_000_000  # unpacked: of all parts; of one that is parsed
MOST_RATIO, SMALL = 200, 20_000_000  # unpacked against packed bytes, of parts that are larger than this
MOST_SLIDES = 2000
OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # how files of Office before 2007 begin, and encrypted ones of today
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
DOCTYPE = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
EXTERNAL = re.compile(rb"<Relationship\b[^>]*TargetMode\s*=\s*[\"']External[\"'][^>]*>")
TARGET = re.compile(rb"Target\s*=\s*(\"[^\"]*\"|'[^']*')")
CONVERT = {
    ".ppt": "open it in PowerPoint or LibreOffice and save it as .pptx",
    ".pps": "open it in PowerPoint or LibreOffice and save it as .pptx",
    ".key": "open it in Keynote and export it to PowerPoint (.pptx) or PDF",
    ".odp": "open it in LibreOffice Impress and save it as .pptx, or export it as PDF",
}
"""Endings of decks that are not read, and how they are converted."""


def check_kind(path: Path) -> None:
    """Raise UserError for a kind of deck that is not read, saying how it is converted."""
    if (advice := CONVERT.get(path.suffix.lower())) is not None:
        raise UserError(f"{path}: {path.suffix.lower()} files are not read; {advice}")


def copy_package(path: Path, copy: Path) -> int:
    """Copy a .pptx to where nothing in it leads to other files or the network; returns how many such links it had.

    Links on words are kept: they are never followed. Macros are copied and never run: nothing here can run them.
    Raises: UserError for a file that is encrypted, damaged, no deck, or larger than a deck is.
    """
    check_kind(path)
    check_readable(path, "deck")
    _check_container(path)
    links = 0
    try:
        with (
            zipfile.ZipFile(path) as source,
            zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
        ):
            parts = source.infolist()
            _check_parts(path, parts)
            for part in parts:
                if part.is_dir():
                    continue
                data = source.read(part)
                if part.filename.endswith((".xml", ".rels")):
                    _check_xml(path, part, data)
                if part.filename.endswith(".rels"):
                    data, found = _without_links(data)
                    links += found
                target.writestr(part.filename, data)
    except UserError:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:80]
        raise UserError(f"{path}: is damaged ({reason}); open it in PowerPoint and save it again") from error
    return links


def _check_container(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(1 << 20)
    if head.startswith(OLE):
        if ENCRYPTED in head or ENCRYPTED in path.read_bytes()[: 1 << 26]:
            raise UserError(f"{path}: is encrypted; open it with its password and save it without one")
        raise UserError(f"{path}: is of PowerPoint before 2007 (.ppt); {CONVERT['.ppt']}")
    if not head:
        raise UserError(f"{path}: is empty; save the deck again")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: is no .pptx file; save the deck as .pptx, or export it as PDF")


def _check_parts(path: Path, parts: list[zipfile.ZipInfo]) -> None:
    if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > MOST_BYTES:
        raise UserError(f"{path}: unpacks to more than a deck has ({MOST_BYTES // 1_000_000} MB); compress its media")
    names = {part.filename for part in parts}
    if "ppt/presentation.xml" not in names:
        raise UserError(f"{path}: is no PowerPoint deck; save the deck as .pptx, or export it as PDF")
    for part in parts:
        if part.flag_bits & 1:
            raise UserError(f"{path}: is encrypted; open it with its password and save it without one")
        xml = part.filename.endswith((".xml", ".rels"))
        bomb = part.file_size > SMALL and part.file_size > MOST_RATIO * max(1, part.compress_size)
        if bomb or (xml and part.file_size > MOST_XML):
            raise UserError(
                f"{path}: {part.filename[:60]} unpacks to {part.file_size // 1_000_000} MB, as no slide does"
            )
    if sum(bool(re.fullmatch(r"ppt/slides/slide\d+\.xml", name)) for name in names) > MOST_SLIDES:
        raise UserError(f"{path}: has more than {MOST_SLIDES} slides; split it")


def _check_xml(path: Path, part: zipfile.ZipInfo, data: bytes) -> None:
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]
    if DOCTYPE.search(data.replace(b"\0", b"") if wide else data):
        raise UserError(
            f"{path}: {part.filename[:60]} declares entities, as no program does that saves slides; refused"
        )


def _without_links(data: bytes) -> tuple[bytes, int]:
    """A part with relationships, of which those out of the package lead nowhere; how many there were."""
    found = 0

    def cut(match: re.Match[bytes]) -> bytes:
        nonlocal found
        if b"/hyperlink" in match[0]:
            return match[0]
        found += 1
        return TARGET.sub(b'Target="about:blank"', match[0])

    return EXTERNAL.sub(cut, data), found
