"""Symbols of phonemizers -> phones with times; usual durations where a voice gives none."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from avatar.core.articulation import SILENCE, Phone, from_ipa
from avatar.voice.passages import Part, Spoken

# One letter for a diphthong or an affricate, as misaki writes them and Kokoro was trained with.
MISAKI = {
    "A": ("ey",), "I": ("ay",), "O": ("ow",), "Q": ("ow",), "W": ("aw",), "Y": ("oy",), "ʤ": ("jh",), "ʧ": ("ch",),
    "ʦ": ("t", "s"), "ʣ": ("d", "z"), "ʨ": ("ch",), "ʥ": ("jh",), "ᵻ": ("ih",), "ᵊ": ("ax",), "T": ("t",),
    "ʔ": (), "g": ("g",), "S": ("s",),
}  # fmt: skip
PAUSES = ';:,.!?—…"()“”'
_SECONDS = {
    **dict.fromkeys(("aa", "ae", "ao", "a", "er"), 0.13), **dict.fromkeys(("ay", "aw", "oy", "ey", "ow"), 0.15),
    **dict.fromkeys(("eh", "ah", "iy", "uw", "o", "oe", "ue"), 0.11), **dict.fromkeys(("ih", "uh", "ii"), 0.08),
    **dict.fromkeys(("ax", "axr"), 0.06), **dict.fromkeys(("s", "sh", "f", "ch", "th"), 0.11),
    **dict.fromkeys(("p", "t", "k", "b", "d", "g", "jh"), 0.075), **dict.fromkeys(("m", "n", "ng"), 0.07),
    SILENCE: 0.25,
}  # fmt: skip
"""About the inherent durations of Klatt (1979, Synthesis by rule of segmental durations), at a usual rate; a comma."""
OTHER_SECONDS = 0.065
STOP_PAUSE = 0.4  # s at the end of a sentence


def is_mark(symbol: str) -> bool:
    """Whether a symbol is no sound of its own: stress, length, tone, a tie or an accent that stands alone."""
    return symbol.isspace() or (unicodedata.category(symbol) in ("Lm", "Mn", "Sk", "So", "Sm", "Cf") and symbol != "ᵊ")


def symbols_to_phones(symbol: str) -> list[str]:
    """Phones of one symbol; empty for a mark."""
    if symbol in MISAKI:
        return list(MISAKI[symbol])
    if symbol in PAUSES:
        return [SILENCE]
    return [] if is_mark(symbol) or symbol.isdigit() else from_ipa(symbol)


def timed_phones(symbols: str, times: Sequence[float]) -> tuple[Phone, ...]:
    """Phones of symbols whose borders are times [len(symbols) + 1] s.

    A mark belongs to the sound that it stands before (stress) or after (length, tone); a phone that is said twice in a
    row is one.
    """
    found: list[Phone] = []
    begun: float | None = None  # where a mark of stress began, whose time is the next sound's
    for symbol, (start, stop) in zip(symbols, pairwise(times), strict=True):
        names = symbols_to_phones(symbol)
        if not names:
            if symbol in "ˈˌ":
                begun = start if begun is None else begun
            elif found:
                found[-1] = Phone(found[-1].symbol, found[-1].start, stop)
            continue
        start, begun = (start if begun is None else begun), None
        length = (stop - start) / len(names)
        found += [Phone(name, start + i * length, start + (i + 1) * length) for i, name in enumerate(names)]
    return tuple(found)


def usual_seconds(symbol: str) -> float:
    """How long a symbol usually takes, s; a mark of length as long as half a vowel."""
    if symbol == "ː":
        return 0.05
    if symbol in ".!?…":
        return STOP_PAUSE
    return sum(_SECONDS.get(name, OTHER_SECONDS) for name in symbols_to_phones(symbol))


def spread(
    parts: Sequence[Part], phonemes: Sequence[str], start: float, stop: float | None, speed: float = 1.0
) -> tuple[tuple[Phone, ...], tuple[Spoken, ...]]:
    """Phones and parts by usual durations, from `start` on.

    phonemes: of each part, empty where they are not known: then only its letters count.
    stop: s that the last sound ends at; durations are scaled to it. None: they stay, at a speed.
    """
    lengths = [[usual_seconds(symbol) for symbol in text] for text in phonemes]
    whole = [sum(part) or OTHER_SECONDS * len(parts[i].text) for i, part in enumerate(lengths)]
    last = next((usual_seconds(text[-1]) for text in phonemes[-1:] if text and text[-1] in PAUSES), 0.0)
    spoken_seconds = max(sum(whole) - last, 1e-3)
    scale = 1 / speed if stop is None else max(stop - start, 0.0) / spoken_seconds
    phones: list[Phone] = []
    spoken: list[Spoken] = []
    clock = start
    for part, text, each, total in zip(parts, phonemes, lengths, whole, strict=True):
        times = [clock]
        for seconds in each:
            times.append(times[-1] + seconds * scale)
        made = timed_phones(text, times)
        phones += made
        spoken.append(spoken_part(part, made, clock, clock + total * scale))
        clock += total * scale
    return tuple(phones), tuple(spoken)


def spoken_part(part: Part, phones: Sequence[Phone], start: float, stop: float) -> Spoken:
    """A part from its first sound to its last; start, stop: where it has none."""
    sounds = [phone for phone in phones if phone.symbol != SILENCE]
    return Spoken(part, sounds[0].start, sounds[-1].stop) if sounds else Spoken(part, start, stop)
