"""Subtitles, SubRip (.srt) and WebVTT (.vtt): passages that keep their times, and captions written from phone times."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from avatar.core.files import UserError
from avatar.voice.passages import Passage, Spoken
from avatar.voice.tags import CAPTION, length, pieces, read_tags, to_passages

CaptionKind = Literal["srt", "vtt", "burn"]
LINE = CAPTION // 2  # letters
GAP = 1.2  # s of silence that ends a caption
LONGEST = 6.0  # s of a caption
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_SPAN = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_STYLING = re.compile(r"</?[^<>\n]{0,80}>|\{\\[^}\n]*\}")


@dataclass(frozen=True)
class Caption:
    """Words on the screen."""

    text: str
    start: float  # s
    stop: float


def read_subtitles(text: str, where: str) -> list[Passage]:
    """Passages at their times. Raises: UserError naming the line of what is no subtitle."""
    found: list[Passage] = []
    block: list[str] = []
    span: tuple[float, float] | None = None
    first = 1
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if match := _SPAN.match(line):
            span, block, first = (_seconds(match.groups()[:4]), _seconds(match.groups()[4:])), [], number + 1
            if span[1] <= span[0]:
                raise UserError(f"{where}, line {number}: ends before it begins; correct its times")
            if found and (before := found[-1].start) is not None and span[0] < before:
                raise UserError(f"{where}, line {number}: begins before the one above it; sort the subtitles by time")
        elif line.strip():
            block.append(line)
        elif span is not None:
            found += _timed(" ".join(block), span, where, first)
            span, block = None, []
    if not found:
        raise UserError(f"{where}: holds no subtitle; each needs a line such as 00:00:01,000 --> 00:00:02,500")
    return found


def _timed(text: str, span: tuple[float, float], where: str, line: int) -> list[Passage]:
    plain = html.unescape(_STYLING.sub("", text))
    passages = list(to_passages(read_tags(plain, where, line)))
    if passages:
        passages[0] = replace(passages[0], start=span[0], pause=0.0)
        passages[-1] = replace(passages[-1], stop=span[1])
    return passages


def _seconds(groups: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = groups
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")


def make_captions(spoken: Iterable[Spoken]) -> Iterator[Caption]:
    """Parts in order of time, s from the film's beginning, as captions: each from its first phone to its last."""
    held: list[Spoken] = []
    for one in spoken:
        if held and _too_much([*held, one]):
            yield _caption(held)
            held = []
        held.append(one)
    if held:
        yield _caption(held)


def _too_much(parts: list[Spoken]) -> bool:
    letters = length(" ".join(one.part.text for one in parts))
    ends = parts[-2].part.text.rstrip('"”’»)')[-1:] in ".!?…。！？"
    return (
        letters > CAPTION
        or parts[-1].start - parts[-2].stop > GAP
        or parts[-1].stop - parts[0].start > LONGEST
        or (ends and letters > LINE)
    )


def _caption(parts: list[Spoken]) -> Caption:
    words = " ".join(one.part.text for one in parts)
    return Caption("\n".join(pieces(words, LINE)), parts[0].start, parts[-1].stop)


def write_captions(captions: Iterable[Caption], kind: Literal["srt", "vtt"]) -> str:
    """The file's content."""
    comma, lines = "," if kind == "srt" else ".", [] if kind == "srt" else ["WEBVTT", ""]
    for number, one in enumerate(captions, 1):
        text = one.text if kind == "srt" else html.escape(one.text, quote=False)
        span = f"{_clock(one.start, comma)} --> {_clock(one.stop, comma)}"
        lines += [*([str(number)] if kind == "srt" else []), span, text, ""]
    return "\n".join(lines)


def _clock(seconds: float, comma: str) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3600000:02d}:{whole // 60000 % 60:02d}:{whole // 1000 % 60:02d}{comma}{whole % 1000:03d}"
