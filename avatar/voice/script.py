"""Scripts: text or files of any kind -> passages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from avatar.core.files import UserError, check_readable
from avatar.voice.markup import read_markup
from avatar.voice.passages import Passage
from avatar.voice.subtitles import read_subtitles
from avatar.voice.tags import CLAUSE, length, read_tags, speakable, to_passages

MOST_LETTERS = 5_000_000  # of a script: weeks of speech; what is longer is no script
SUBTITLES, MARKUP = (".srt", ".vtt"), (".ssml", ".xml")


def read_script(text: str | Path) -> list[Passage]:
    """The passages of a text, or of a .txt, .ssml, .srt or .vtt file. Raises: UserError naming line and mistake."""
    where, ending = "text", ""
    if isinstance(text, Path):
        where, ending, text = str(text), text.suffix.lower(), _read(text)
    if len(text) > MOST_LETTERS:
        raise UserError(f"{where}: has {len(text)} letters; give at most {MOST_LETTERS}")
    if ending in SUBTITLES:
        passages = read_subtitles(text, where)
    elif ending in MARKUP or text.lstrip().startswith("<speak"):
        passages = list(to_passages(read_markup(text, where)))
    else:
        passages = list(to_passages(read_tags(text, where)))
    if not any(speakable(passage.text) for passage in passages):
        raise UserError(f"{where}: holds nothing to say; give words")
    return passages


def _read(path: Path) -> str:
    check_readable(path, "text file")
    data = path.read_bytes()
    for encoding in ("utf-8-sig", "utf-16"):
        if encoding == "utf-16" and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            continue
        try:
            return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path}: is no text in UTF-8; save it as UTF-8")


def shorten_first(passages: list[Passage], most: int) -> list[Passage]:
    """The same passages, the first cut after its first clause where it has one, so that its sound is there sooner."""
    first = passages[0]
    words = first.parts[0].text
    cuts = [mark.end() for mark in CLAUSE.finditer(words) if 8 <= mark.end() < len(words)]
    if length(first.text) <= most or not cuts or first.start is not None:
        return passages
    head, tail = (replace(first.parts[0], text=text.strip()) for text in (words[: cuts[0]], words[cuts[0] :]))
    rest = replace(first, parts=(tail, *first.parts[1:]), pause=0.0)
    return [replace(first, parts=(head,)), rest, *passages[1:]]
