"""Parts of a film that get another speech: when, and which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from avatar.core.files import UserError
from avatar.core.lines import read_mapping
from avatar.core.named_files import FilePath
from avatar.core.recipe import Settings, parse

if TYPE_CHECKING:
    from avatar.core.speech_file import SpeechFile


class SegmentSettings(Settings):
    """A part of a film, as it stands in a file of them."""

    start: float = Field(ge=0, description="s of the film where it begins.")
    end: float = Field(gt=0, description="s of the film where it ends.")
    speech: FilePath = Field(description="Any sound or video file that ffmpeg reads.")


@dataclass(frozen=True)
class Segment:
    """A part of a film that gets another speech."""

    name: str
    start: float  # s of the film
    end: float
    speech: SpeechFile


def read_segments(given: Path | str | Mapping[str, Any]) -> list[Segment]:
    """Segments of a YAML file, or of its content: name -> start, end and speech; in order of time.

    Raises: UserError for a segment that ends before it begins, or that overlaps another.
    """
    from avatar.core.speech_file import SpeechFile  # which loads torch; the settings of a segment do not need it

    where = str(given) if isinstance(given, (Path, str)) else "segments"
    content = read_mapping(Path(given), "segments") if isinstance(given, (Path, str)) else dict(given)
    found = []
    for name, values in content.items():
        place = f"{where}, {name}"
        if not isinstance(values, dict) or "." in str(name):
            raise UserError(f"{place}: must be NAME: {{start: 12.5, end: 15, speech: FILE}}, without dots in the name")
        one = parse(SegmentSettings, values, place)
        if one.end <= one.start:
            raise UserError(f"{place}: ends at {one.end:g} s, before it begins; give end > start")
        found.append(Segment(str(name), one.start, one.end, SpeechFile(one.speech)))
    found.sort(key=lambda one: one.start)
    check_segments(found, where)
    return found


def check_segments(segments: Sequence[Segment], where: str) -> None:
    """Raise UserError where there is none, or two overlap; segments: in order of time."""
    if not segments:
        raise UserError(f"{where}: holds no segment; write NAME: {{start: 12.5, end: 15, speech: FILE}}")
    for first, second in pairwise(segments):
        if second.start < first.end:
            raise UserError(f"{where}: {second.name} begins at {second.start:g} s, before {first.name} ends")
