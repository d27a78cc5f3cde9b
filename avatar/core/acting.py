"""What a face shows beside speech, and from when on: what tags in a text, live messages and curves become."""

from __future__ import annotations

from dataclasses import dataclass

from avatar.core.emotion import Emotion


@dataclass(frozen=True)
class Act:
    """Something that a face is to show. Times are in s."""

    start: float
    stop: float
    emotion: Emotion | None = None  # from the start on, until another is named; None: as before
    look: str | None = None  # likewise: a key of `avatar.core.emotion.LOOKS`
    emphasised: bool = False  # from start to stop: brows go up, the head nods
