"""Emotions by name: what a person writes, and what the motion model takes."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass

from avatar.core.files import UserError

NEUTRAL, AUTO = "neutral", "auto"
EMOTIONS = ("happy", "sad", "angry", "fear", "surprised", "disgusted", "contempt")
"""The seven that are read the same in all cultures (Ekman 1992; Ekman and Heider 1988 for contempt)."""
USUAL = 0.6  # strength of an emotion that is named without one
LOOKS = {
    "ahead": (0.0, 0.0), "left": (-0.55, 0.0), "right": (0.55, 0.0), "up": (0.0, -0.45), "down": (0.0, 0.45),
}  # fmt: skip
"""Where eyes may be sent: gaze x, y, -1..1, as `Motion.eyes` has it; left is the viewer's."""


@dataclass(frozen=True)
class Emotion:
    """An emotion and its strength, 0..1; neutral has none."""

    name: str = NEUTRAL
    strength: float = 0.0


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for a word near to a known one, else the known ones."""
    known = list(known)
    found = difflib.get_close_matches(word.lower(), known, 1)
    return f"did you mean {found[0]}?" if found else f"there are {', '.join(known)}"


def parse_emotion(text: str) -> Emotion:
    """`happy`, `happy:0.6` or `neutral` -> Emotion. Raises: UserError for another name or strength."""
    name, colon, value = text.strip().partition(":")
    name = name.strip().lower()
    if name == NEUTRAL:
        return Emotion()
    if name not in EMOTIONS:
        raise UserError(f"emotion '{name}': is not known; {nearest(name, (*EMOTIONS, NEUTRAL))}")
    try:
        strength = float(value) if colon else USUAL
    except ValueError:
        strength = math.nan
    if not 0 <= strength <= 1:
        raise UserError(f"emotion {name}: '{value.strip()}' must be a strength from 0 to 1, such as {name}:{USUAL}")
    return Emotion(name, strength)


def parse_look(text: str) -> str:
    """A direction of `LOOKS`. Raises: UserError for another."""
    name = text.strip().lower()
    if name not in LOOKS:
        raise UserError(f"look '{name}': is no direction; {nearest(name, LOOKS)}")
    return name
