"""Texts to synthesize: grammatical, meaningless English sentences, and random words of other languages."""

from __future__ import annotations

import random
from functools import cache
from importlib.resources import files

_SUBJECTS = (
    "the captain", "my brother", "a young painter", "our neighbour", "the nurse", "somebody", "an old fisherman",
    "the mayor", "a puppy", "Victoria", "the whole family", "Bob", "few people", "the weather", "a yellow balloon",
)  # fmt: skip
_VERBS = (
    "brought", "watched", "remembers", "would rather move", "has painted", "never believed", "keeps pushing",
    "swapped", "might prefer", "sold", "waves at", "found", "is measuring", "chose", "bumps into", "explores",
)  # fmt: skip
_OBJECTS = (
    "five purple bowls", "the broken umbrella", "a cup of warm milk", "seven wooden shoes", "the loud thunder",
    "a beautiful picture", "the judge's big mirror", "fresh bread and butter", "every word of the song",
    "a heavy box of apples", "the view over the valley", "two thousand paper boats", "a strange machine",
)  # fmt: skip
_PLACES = (
    "by the river", "on Monday morning", "without a sound", "above the theatre", "for almost an hour",
    "during the football game", "in March", "before we wake up", "near the village church", "although it rained",
    "behind the museum", "with great pleasure",
)  # fmt: skip


def random_sentence(rng: random.Random) -> str:
    """A grammatical, meaningless English sentence of 5 to 15 words."""
    parts = [rng.choice(_SUBJECTS), rng.choice(_VERBS), rng.choice(_OBJECTS)]
    if rng.random() < 0.7:
        parts.append(rng.choice(_PLACES))
    if rng.random() < 0.3:
        parts += ["and", rng.choice(_SUBJECTS), rng.choice(_VERBS), rng.choice(_OBJECTS)]
    return " ".join(parts) + rng.choice(".?!")


@cache
def read_words() -> dict[str, list[str]]:
    """Everyday words by language, under espeak-ng's names of languages."""
    text = (files("avatar") / "assets" / "words.txt").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {line[0]: line[1:] for line in lines}


def random_words(language: str, rng: random.Random) -> str:
    """Four to nine words of a language, sometimes with a comma among them."""
    words = rng.choices(read_words()[language], k=rng.randint(4, 9))
    if rng.random() < 0.4:
        words[len(words) // 2] += ","
    return " ".join(words) + rng.choice(".?!")
