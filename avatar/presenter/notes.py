"""Speaker notes, in Markdown or plain, as text that a voice can say. Lines stay lines, so that errors can name them."""

from __future__ import annotations

import re

from avatar.voice.tags import CAPTION

ENDS = ".!?…:;,。！？،؟؛।॥"  # marks after which a line needs none
PRIVATE = re.compile("[\ue000-\uf8ff]")  # letters of symbol fonts; this program marks cues with them
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.*?)\s*#*$")
_ITEM = re.compile(r"^\s*(?:[-*+•‣◦▪]|\d{1,3}[.)])\s+(.*)$")
_QUOTE = re.compile(r"^\s*>\s?")
_RULE = re.compile(r"^\s*(?:[-*_]\s*){3,}$|^\s*\|?(?:\s*:?-{2,}:?\s*\|)+\s*:?-*:?\s*$")
_IMAGE = re.compile(r"!\[[^\]\n]*\]\([^()\n]*\)")
_LINK = re.compile(r"(?<!\\)\[([^\[\]\n]+)\]\(\s*<?[^()\s]*>?(?:\s+\"[^\"\n]*\")?\s*\)")
_ADDRESS = re.compile(r"<?\bhttps?://(?:www\.)?([\w.-]+)[^\s<>]*>?")
_STRONG = re.compile(r"(\*{2,3}|_{2,3})(?=\S)(.+?)(?<=\S)\1")
_UNDERLINED = re.compile(r"(?<![\w\\])_(?=\S)([^_\n]+?)(?<=\S)_(?!\w)")
_CODE = re.compile(r"`+([^`\n]+)`+")
_STRUCK = re.compile(r"~~[^~\n]+~~")
_HTML = re.compile(r"</?[a-zA-Z][^<>\n]{0,200}>|<!--.*?-->")
_LAST_TAGS = re.compile(r"((?:\s*(?<!\\)\[[^\[\]\n]*\])*)\s*$")


def sayable(notes: str, *, paragraphs: bool = False) -> str:
    """Notes with the marks of Markdown replaced: `*words*` alone is left, which is emphasis; links are their words.

    paragraphs: each line is one, as in speaker notes of PowerPoint; else only headings and items of lists end.
    """
    plain = PRIVATE.sub("", notes).replace("\r\n", "\n").replace("\r", "\n").replace("\v", "\n").replace("\xa0", " ")
    return "\n".join(_line(line, paragraphs) for line in plain.split("\n"))


def _line(line: str, paragraph: bool) -> str:
    if _RULE.match(line):
        return ""
    line = _QUOTE.sub("", line)
    block = _HEADING.match(line) or _ITEM.match(line)
    text = _inline(block[1] if block else line)
    if "|" in text and line.strip().startswith("|"):
        text = ", ".join(cell.strip() for cell in text.strip().strip("|").split("|"))
        paragraph = True
    return _ended(text) if block or paragraph else text


def _inline(text: str) -> str:
    text = _HTML.sub("", _IMAGE.sub("", text))
    text = _ADDRESS.sub(lambda found: found[1], _LINK.sub(lambda found: found[1], text))
    text = _STRONG.sub(lambda found: f"*{found[2].strip('*_')}*", text)
    text = _STRUCK.sub("", _CODE.sub(lambda found: found[1].replace("*", r"\*"), text))
    return _UNDERLINED.sub(lambda found: f"*{found[1]}*", text)


def _ended(text: str) -> str:
    """A line with a full stop before its last tags, where it has words and no mark there."""
    tags = _LAST_TAGS.search(text)
    assert tags is not None, "matches what is empty, too"
    words = text[: tags.start()].rstrip()
    if not any(letter.isalnum() for letter in words) or words.rstrip('*_"”’»)')[-1:] in ENDS:
        return text
    return f"{words}.{tags[1]}"


def title_of(text: str) -> str:
    """The first line of a slide's text, no longer than a caption."""
    line = next((one.strip() for one in re.split(r"[\n\v\r]", text) if one.strip()), "")
    return line if len(line) <= CAPTION else f"{line[: CAPTION - 1].rstrip()}…"
