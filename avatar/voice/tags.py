"""Tagged text -> events -> passages: tags, emphasis, sentences."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from avatar.core.emotion import EMOTIONS, NEUTRAL, nearest, parse_emotion, parse_look
from avatar.core.files import UserError
from avatar.voice.passages import Part, Passage

CAPTION = 84  # letters of a part: two lines of 42, as broadcasters have them
MOST = 340  # letters of a passage: voices were trained on a few hundred phonemes
WIDE = 3  # letters that a Chinese, Japanese or Korean one counts as
PARAGRAPH, USUAL_PAUSE, MOST_PAUSE = 0.4, 0.5, 60.0  # s: at an empty line; of [pause]; longest
_TITLES = frozenset(
    (
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "sr",
        "jr",
        "vs",
        "no",
        "fig",
        "approx",
        "dept",
        "inc",
        "ltd",
        "bzw",
        "ca",
        "nr",
    )
)
_SENTENCE = re.compile(r"[.!?…]+[\"”’»)\]]*(?=\s)|[。！？।]+[”」』）]*|\n\s*\n")
CLAUSE = re.compile(r"[,;:—–]+[\"”’»)]*(?=\s)|[，、；：]")
_MARK = re.compile(r"\\([\\\[\]*])|\[([^\[\]\n]*)\]|([\[*])")
GLUED = ".,;:!?…)”’»\"'。！？，"  # marks that stand right after a word
TAGS = (*EMOTIONS, NEUTRAL, "pause", "look")


@dataclass(frozen=True)
class Said:
    """Words of a script, said in one way."""

    part: Part
    speed: float = 1.0


@dataclass(frozen=True)
class Pause:
    """Silence."""

    seconds: float


Event = Said | Pause


def speakable(text: str) -> bool:
    """Whether there is a letter or a digit."""
    return any(letter.isalnum() for letter in text)


def read_tags(text: str, where: str, line: int = 1) -> Iterator[Event]:
    """Plain text with [tags] and *emphasis* as events. Raises: UserError naming the line."""
    style, emphasised, opened, at = Part(""), False, "", 0
    for mark in _MARK.finditer(text):
        here = f"{where}, line {line + text.count(chr(10), 0, mark.start())}"
        escaped, tag, bare = mark.groups()
        if bare == "*" and not _is_emphasis(text, mark.start(), closes=emphasised):
            continue
        yield Said(replace(style, text=text[at : mark.start()], emphasised=emphasised))
        at = mark.end()
        if escaped:
            yield Said(replace(style, text=escaped, emphasised=emphasised))
        elif bare == "[":
            raise UserError(
                f"{here}: the tag '[{_head(text[at:])}' is not closed; write ']' after it, or '\\[' for a ["
            )
        elif bare == "*":
            emphasised, opened = not emphasised, f"{here}: '*{_head(text[at:])}'"
        elif (found := read_tag(tag, here)) is not None:
            if isinstance(found, Pause):
                yield found
            else:
                style = replace(style, emotion=found.emotion or style.emotion, look=found.look or style.look)
    if emphasised:
        raise UserError(f"{opened} is not closed; write '*' after the words, or '\\*' for a *")
    yield Said(replace(style, text=text[at:]))


def _is_emphasis(text: str, at: int, *, closes: bool) -> bool:
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    return bool(before.strip()) if closes else bool(after.strip()) and not before.isalnum() and after != "*"


def _head(text: str) -> str:
    return text.split("\n")[0][:20]


def read_tag(tag: str, here: str) -> Pause | Part | None:
    """What stands between brackets: a pause, or a part with emotion or look. Raises: UserError."""
    name = re.match(r"[^\s:]*", tag.strip().lower()).group()  # type: ignore[union-attr]
    rest = tag.strip()[len(name) :].lstrip(" :")
    try:
        if name == "pause":
            return Pause(read_seconds(rest) if rest else USUAL_PAUSE)
        if name == "look":
            return Part("", look=parse_look(rest))
        if name in (*EMOTIONS, NEUTRAL):
            return Part("", emotion=parse_emotion(f"{name}:{rest}" if rest else name))
    except UserError as error:
        raise UserError(f"{here}: [{tag}]: {error}") from error
    raise UserError(f"{here}: the tag [{tag[:40]}] is not known; {nearest(name, TAGS)}; '\\[' writes a [")


def read_seconds(text: str) -> float:
    """`0.5s`, `500ms` or `0.5` -> seconds. Raises: UserError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|)", text.strip().lower())
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else -1.0
    if not 0 <= seconds <= MOST_PAUSE:
        raise UserError(f"'{text.strip()}' must be a time from 0 to {MOST_PAUSE:g} s, such as 0.5s")
    return seconds


def to_passages(events: Iterable[Event], *, most: int = MOST) -> Iterator[Passage]:
    """Events in order -> passages of a sentence each; long ones are cut at clauses, else between words."""
    held: list[Part] = []
    pause, speed = 0.0, 1.0

    def cut() -> Iterator[Passage]:
        nonlocal held, pause
        for parts in _in_passages(held, most):
            yield Passage(tuple(parts), pause, speed)
            pause = 0.0
        held = []

    for event in events:
        if isinstance(event, Pause):
            yield from cut()
            pause += event.seconds
            continue
        if event.speed != speed:
            yield from cut()
            speed = event.speed
        for sentence, ends in _sentences(event.part.text):
            if not sentence.strip():
                pause = max(pause, PARAGRAPH) if ends and not held else pause
            else:
                held.append(replace(event.part, text=" ".join(sentence.split())))
            if ends:
                yield from cut()
    yield from cut()


def _sentences(text: str) -> Iterator[tuple[str, bool]]:
    """Pieces of text, and whether a sentence ends after each."""
    at = 0
    for end in _SENTENCE.finditer(text):
        word = re.search(r"(\S*)$", text[at : end.start()]).group(1).lower()  # type: ignore[union-attr]
        initial = end.group() == "." and (word.strip("(\"'") in _TITLES or (len(word) == 1 and word.isalpha()))
        if not initial:
            yield text[at : end.end()], True
            at = end.end()
    yield text[at:], False


def length(text: str) -> int:
    """Letters of a text, wide ones counted as three."""
    return sum(WIDE if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _in_passages(parts: list[Part], most: int) -> Iterator[list[Part]]:
    """Parts no longer than a caption, in groups that are no longer than a passage."""
    group: list[Part] = []
    for part in parts:
        for text in pieces(part.text, CAPTION):
            if not speakable(text):
                if group:  # a mark after a tag or an emphasis
                    gap = "" if text[0] in GLUED else " "
                    group[-1] = replace(group[-1], text=group[-1].text + gap + text)
                continue
            if group and sum(length(one.text) for one in group) + length(text) > most:
                yield group
                group = []
            group.append(replace(part, text=text))
    if group:
        yield group


def pieces(text: str, most: int) -> list[str]:
    """Text cut into pieces of so many letters at most, at the last clause that fits, else between words or letters."""
    found: list[str] = []
    start = 0
    while len(window := _head_of(text, start, most)) < len(text) - start:
        clauses = [mark.end() for mark in CLAUSE.finditer(window) if mark.end() > len(window) // 3]
        if not clauses and text[start + len(window)].isspace():
            clauses = [len(window)]
        at = clauses[-1] if clauses else window.rfind(" ", 1)
        at = at if at > 0 else len(window)
        found.append(window[:at].strip())
        start += at
        start += len(text[start : start + most]) - len(text[start : start + most].lstrip())
    return [*found, window.strip()] if window.strip() else found


def _head_of(text: str, start: int, most: int) -> str:
    """The longest part of a text from `start` on that has so many letters at most, at least one."""
    room, end = most, start
    while end < len(text) and (room := room - length(text[end])) >= 0:
        end += 1
    return text[start : max(end, start + 1)]
