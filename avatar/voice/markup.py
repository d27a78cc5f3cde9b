"""The common subset of SSML (W3C, Speech Synthesis Markup Language 1.1) as events of a script."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree  # entities are refused before it reads
from collections.abc import Iterator
from dataclasses import replace

from avatar.core.emotion import nearest
from avatar.core.files import UserError
from avatar.voice.passages import Part
from avatar.voice.tags import PARAGRAPH, Event, Pause, Said, read_seconds, read_tags

BREAKS = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.4, "strong": 0.8, "x-strong": 1.5}  # s
RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.6}
LEAST_RATE, MOST_RATE = 0.5, 2.0
PLAIN = ("speak", "p", "s", "w", "token", "voice", "lang", "say-as", "phoneme", "mark")
KNOWN = (*PLAIN, "break", "emphasis", "prosody", "sub")


def read_markup(text: str, where: str) -> Iterator[Event]:
    """Events of an SSML document. Raises: UserError for what is no XML, declares entities or has unknown elements."""
    if "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.S):
        raise UserError(f"{where}: declares entities or a document type; leave '<!...>' out")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise UserError(f"{where}: is no valid SSML ({error}); close every element") from error
    if _name(root) != "speak":
        raise UserError(f"{where}: begins with <{_name(root)}>; SSML begins with <speak>")
    yield from _walk(root, Said(Part("")), where)


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _walk(element: ElementTree.Element, way: Said, where: str) -> Iterator[Event]:
    name = _name(element)
    if name not in KNOWN:
        raise UserError(f"{where}: the element <{name}> is not supported; {nearest(name, KNOWN)}")
    if name == "break":
        yield Pause(_pause(element, where))
        return
    if name == "emphasis":
        way = replace(
            way, part=replace(way.part, emphasised=element.get("level", "moderate") in ("moderate", "strong"))
        )
    if name == "prosody" and (rate := element.get("rate")):
        way = replace(way, speed=way.speed * _rate(rate, where))
    alias = element.get("alias") if name == "sub" else None
    yield from _say(alias or element.text or "", way, where)
    for child in [] if alias else element:
        yield from _walk(child, way, where)
        yield from _say(child.tail or "", way, where)
    if name in ("p", "s"):
        yield Pause(PARAGRAPH if name == "p" else 0.0)


def _say(text: str, way: Said, where: str) -> Iterator[Event]:
    for event in read_tags(text.replace("\n", " "), where):
        if isinstance(event, Pause):
            yield event
        else:
            part = replace(event.part, emphasised=way.part.emphasised or event.part.emphasised)
            yield replace(way, part=part)


def _pause(element: ElementTree.Element, where: str) -> float:
    strength = element.get("strength", "medium")
    if strength not in BREAKS:
        raise UserError(f"{where}: <break strength='{strength}'> is not known; {nearest(strength, BREAKS)}")
    try:
        return read_seconds(element.get("time", f"{BREAKS[strength]}s"))
    except UserError as error:
        raise UserError(f"{where}: <break time>: {error}") from error


def _rate(text: str, where: str) -> float:
    if text in RATES:
        return RATES[text]
    found = re.fullmatch(r"([+-]?)(\d+(?:\.\d+)?)(%?)", text.strip())
    value = float(found[2]) / (100 if found[3] else 1) if found else 0.0
    if found and found[1]:
        value = 1 + (value if found[1] == "+" else -value)
    if not LEAST_RATE <= value <= MOST_RATE:
        raise UserError(f"{where}: <prosody rate='{text}'> must lie between {LEAST_RATE} and {MOST_RATE}, or be a word")
    return value
