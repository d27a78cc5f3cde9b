"""Parts of a film, coded alike, become one: pictures are copied, not coded again."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar.core.encode import SOUND
from avatar.core.files import UserError, whole
from avatar.core.media_command import input_options, started, telling_line


@dataclass(frozen=True)
class Chapter:
    """A chapter of a film."""

    title: str
    start: float  # s
    stop: float


def join_parts(
    parts: Sequence[tuple[Path, int]],
    sound: Path,
    out: Path,
    *,
    fps: float,
    chapters: Sequence[Chapter] = (),
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a film of parts (files that this program coded, and their frames) with a sound. Raises: UserError."""
    with tempfile.TemporaryDirectory(prefix="avatar-present-") as folder, whole(out) as temporary:
        names, table = Path(folder) / "parts.txt", Path(folder) / "chapters.txt"
        names.write_text(_list(parts, Path(folder), fps), encoding="utf-8")
        table.write_text(_chapters(chapters), encoding="utf-8")
        kind = out.suffix.lower()
        # this list is our own, so that it may name files, which others' may not
        arguments = [
            "-v",
            "error",
            "-f",
            "concat",
            "-safe",
            "0",
            "-protocol_whitelist",
            "file,pipe",
            "-i",
            f"file:{names}",
        ]
        arguments += [*input_options(sound), "-f", "ffmetadata", "-i", f"file:{table}", "-map", "0:v", "-map", "1:a"]
        arguments += ["-map_metadata", "2", "-map_chapters", "2", "-c:v", "copy"]
        arguments += [text for name, value in SOUND[kind].items() for text in (FLAGS[name], str(value))]
        arguments += ["-movflags", "+faststart+use_metadata_tags", "-video_track_timescale", str(round(fps * 512))]
        arguments += [text for name, value in (metadata or {}).items() for text in ("-metadata", f"{name}={value}")]
        with started([*arguments, "-f", kind[1:], f"file:{temporary}"]) as running:
            running.output.read()
            said = running.messages()
        if not temporary.is_file() or not temporary.stat().st_size:
            raise UserError(f"{out}: the film could not be joined ({telling_line(said, 'ffmpeg gave up')})")


FLAGS = {"acodec": "-c:a", "audio_bitrate": "-b:a"}
"""Names of ffmpeg-python, as options of the program."""


def _list(parts: Sequence[tuple[Path, int]], folder: Path, fps: float) -> str:
    """A list for ffmpeg's `concat`; links with plain names stand for the files, whose names may be anything."""
    lines = ["ffconcat version 1.0"]
    for number, (path, frames) in enumerate(parts):
        link = folder / f"{number:06d}{path.suffix}"
        link.symlink_to(path.absolute())
        lines += [f"file {link.name}", f"duration {frames / fps:.6f}"]
    return "\n".join(lines) + "\n"


def _chapters(chapters: Sequence[Chapter]) -> str:
    lines = [";FFMETADATA1"]
    for one in chapters:
        title = "".join(f"\\{letter}" if letter in "=;#\\\n" else letter for letter in one.title)
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={round(one.start * 1000)}", f"END={round(one.stop * 1000)}"]
        lines.append(f"title={title}")
    return "\n".join(lines) + "\n"
