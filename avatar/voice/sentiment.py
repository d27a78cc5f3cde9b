"""Emotions of English text, sentence by sentence, by VADER's lexicon (Hutto and Gilbert 2014; MIT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from avatar.core.emotion import Emotion
from avatar.core.files import UserError
from avatar.voice.graph import INSTALL
from avatar.voice.passages import Passage

CLEAR = 0.3  # valence, -1..1, from which a sentence is glad or not; VADER's own .05 takes most text
LEAST, SLOPE = 0.2, 0.6  # strength at no valence; added at full valence


def with_sentiment(passages: Sequence[Passage]) -> list[Passage]:
    """The same passages; parts that no tag gives an emotion have that of their sentence.

    Glad sentences are happy; others sad, or angry where they end in an exclamation mark.
    Raises: UserError when VADER is not installed.
    """
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise UserError(f"--emotion auto: the lexicon of English words is not installed; {INSTALL}") from error
    analyzer = SentimentIntensityAnalyzer()
    found = []
    for passage in passages:
        emotion = _emotion(float(analyzer.polarity_scores(passage.text)["compound"]), passage.text)
        parts = (part if part.emotion else replace(part, emotion=emotion) for part in passage.parts)
        found.append(replace(passage, parts=tuple(parts)))
    return found


def _emotion(valence: float, text: str) -> Emotion:
    if abs(valence) < CLEAR:
        return Emotion()
    angry = text.rstrip("\"'”’)").endswith("!")
    return Emotion("happy" if valence > 0 else "angry" if angry else "sad", LEAST + SLOPE * abs(valence))
