"""Phones -> articulation of the lips, by dominance functions (Cohen and Massaro 1993, Modeling coarticulation)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import torch
from torch import Tensor

ARTICULATION = ("opening", "width", "protrusion", "lip_to_teeth", "lip_closure")
SILENCE = "pau"
LIP_LEAD = 1  # motion frames by which people's lips run before `articulate`, whose dominance knows no anticipation


@dataclass(frozen=True)
class Phone:
    """One phone of a recording, in ARPABET (flite's set, lower case; `pau` is silence) and five vowels beside it."""

    symbol: str
    start: float  # s
    stop: float  # s


# target of each articulation (width .5 is at rest), and dominance: how little neighbouring phones change it
_TARGETS: dict[str, tuple[float, float, float, float, float, float]] = {
    "pau": (0.04, 0.50, 0.10, 0.0, 0.3, 0.6),
    "aa": (0.95, 0.50, 0.10, 0.0, 0.0, 1.0),
    "ae": (0.85, 0.70, 0.00, 0.0, 0.0, 1.0),
    "ah": (0.60, 0.50, 0.10, 0.0, 0.0, 0.8),
    "ao": (0.75, 0.25, 0.60, 0.0, 0.0, 1.0),
    "aw": (0.80, 0.40, 0.40, 0.0, 0.0, 1.0),
    "ax": (0.40, 0.50, 0.10, 0.0, 0.0, 0.5),
    "axr": (0.35, 0.40, 0.40, 0.0, 0.0, 0.6),
    "ay": (0.80, 0.60, 0.00, 0.0, 0.0, 1.0),
    "eh": (0.60, 0.65, 0.00, 0.0, 0.0, 0.9),
    "er": (0.35, 0.35, 0.50, 0.0, 0.0, 0.8),
    "ey": (0.50, 0.75, 0.00, 0.0, 0.0, 1.0),
    "ih": (0.40, 0.65, 0.00, 0.0, 0.0, 0.7),
    "iy": (0.30, 0.90, 0.00, 0.0, 0.0, 1.0),
    "ow": (0.55, 0.15, 0.80, 0.0, 0.0, 1.0),
    "oy": (0.60, 0.30, 0.60, 0.0, 0.0, 1.0),
    "uh": (0.35, 0.25, 0.60, 0.0, 0.0, 0.9),
    "uw": (0.25, 0.05, 1.00, 0.0, 0.0, 1.1),
    "a": (0.90, 0.55, 0.05, 0.0, 0.0, 1.0),  # open, central: most languages' only one
    "o": (0.50, 0.15, 0.75, 0.0, 0.0, 1.0),
    "oe": (0.45, 0.20, 0.75, 0.0, 0.0, 1.0),  # front and rounded, as in French feu
    "ue": (0.22, 0.08, 0.95, 0.0, 0.0, 1.1),  # front and rounded, as in French rue
    "ii": (0.30, 0.60, 0.00, 0.0, 0.0, 0.9),  # close, neither spread nor rounded, as in Russian and Japanese
    "b": (0.00, 0.50, 0.15, 0.0, 1.0, 2.4),
    "p": (0.00, 0.50, 0.15, 0.0, 1.0, 2.4),
    "m": (0.00, 0.50, 0.15, 0.0, 1.0, 2.4),
    "f": (0.10, 0.55, 0.10, 1.0, 0.2, 1.8),
    "v": (0.10, 0.55, 0.10, 1.0, 0.2, 1.8),
    "w": (0.12, 0.05, 1.00, 0.0, 0.1, 1.6),
    "r": (0.25, 0.30, 0.60, 0.0, 0.0, 1.0),
    "sh": (0.20, 0.30, 0.75, 0.0, 0.0, 1.2),
    "zh": (0.20, 0.30, 0.75, 0.0, 0.0, 1.2),
    "ch": (0.20, 0.30, 0.75, 0.0, 0.0, 1.2),
    "jh": (0.20, 0.30, 0.75, 0.0, 0.0, 1.2),
    "s": (0.15, 0.65, 0.00, 0.0, 0.0, 0.9),
    "z": (0.15, 0.65, 0.00, 0.0, 0.0, 0.9),
    "th": (0.20, 0.55, 0.00, 0.1, 0.0, 0.8),
    "dh": (0.20, 0.55, 0.00, 0.1, 0.0, 0.8),
    # consonants of the tongue: the lips do what the neighbouring phones ask for
    "t": (0.20, 0.55, 0.05, 0.0, 0.0, 0.45),
    "d": (0.20, 0.55, 0.05, 0.0, 0.0, 0.45),
    "n": (0.20, 0.55, 0.05, 0.0, 0.0, 0.45),
    "l": (0.30, 0.55, 0.05, 0.0, 0.0, 0.35),
    "k": (0.30, 0.50, 0.05, 0.0, 0.0, 0.25),
    "g": (0.30, 0.50, 0.05, 0.0, 0.0, 0.25),
    "ng": (0.30, 0.50, 0.05, 0.0, 0.0, 0.25),
    "hh": (0.35, 0.50, 0.10, 0.0, 0.0, 0.12),
    "y": (0.25, 0.70, 0.00, 0.0, 0.0, 0.60),
}
_OTHER = (0.25, 0.55, 0.05, 0.0, 0.0, 0.35)  # a consonant in between
_FROM_IPA = {
    symbol: phone
    for phone, symbols in {
        "a": "a ä ɐ", "aa": "ɑ ɒ", "ae": "æ", "ah": "ʌ ɜ", "ao": "ɔ", "ax": "ə ɘ ɵ ᵊ", "axr": "ɚ", "er": "ɝ",
        "eh": "ɛ", "ey": "e", "ih": "ɪ", "iy": "i", "o": "o ɤ", "oe": "ø œ ɶ", "ue": "y ʏ ɥ", "uh": "ʊ", "uw": "u ʉ",
        "ii": "ɨ ɯ", "b": "b ɓ", "p": "p", "m": "m ɱ", "f": "f ɸ", "v": "v ʋ β ⱱ", "w": "w ʍ", "r": "ɹ ɻ",
        "sh": "ʃ ʂ ɕ", "zh": "ʒ ʐ ʑ", "s": "s", "z": "z", "th": "θ", "dh": "ð",
        "t": "t ʈ", "d": "d ɖ", "n": "n ɲ ɳ", "l": "l r ɾ ʎ ɭ ɽ ɬ ɫ", "k": "k c q", "g": "ɡ g ɟ ɢ", "ng": "ŋ ɴ",
        "hh": "h x ʁ ʀ ɣ χ ħ ɦ ç ʔ ʕ", "y": "j ʝ",
    }.items()
    for symbol in symbols.split()
}  # fmt: skip
_DECAY = 0.045  # s in which a phone's dominance falls by e outside it: lips lead and lag by about a short phone
CLASSES = (*_TARGETS, "other")
"""Phones that the encoder classifies."""


def from_ipa(text: str) -> list[str]:
    """Phones of one IPA symbol: two for a diphthong or an affricate, `t` for anything unknown.

    Marks of length, tone, stress and colour are left out, and so is a name of a language in brackets.
    """
    if text.startswith("("):
        return []
    plain = unicodedata.normalize("NFD", text)
    found = [_FROM_IPA.get(unicodedata.normalize("NFC", symbol)) for symbol in plain]
    phones = [phone for phone in found if phone]
    return [phone for index, phone in enumerate(phones) if index == 0 or phone != phones[index - 1]] or ["t"]


def articulate(phones: list[Phone], *, fps: float, seconds: float) -> Tensor:
    """Articulation [T, 5] in 0..1 (columns: ARTICULATION) at times (t + 0.5) / fps."""
    times = (torch.arange(round(seconds * fps)) + 0.5) / fps
    if not phones:
        return torch.tensor(_TARGETS["pau"][:5]).expand(len(times), 5).clone()
    targets = torch.tensor([_TARGETS.get(phone.symbol, _OTHER) for phone in phones])
    start = torch.tensor([phone.start for phone in phones])
    stop = torch.tensor([phone.stop for phone in phones])
    outside = torch.maximum(start - times[:, None], times[:, None] - stop).clamp_min(0)
    dominance = targets[:, 5] * torch.exp(-outside / _DECAY)
    return (dominance / dominance.sum(1, keepdim=True).clamp_min(1e-9)) @ targets[:, :5]


def classify(phones: list[Phone], *, fps: float, seconds: float) -> Tensor:
    """Index into CLASSES of the phone at each time (t + 0.5) / fps, [T] int64; at least one phone."""
    times = (torch.arange(round(seconds * fps)) + 0.5) / fps
    stops = torch.tensor([phone.stop for phone in phones])
    index = torch.searchsorted(stops, times).clamp(max=len(phones) - 1)
    known = [CLASSES.index(phone.symbol) if phone.symbol in _TARGETS else len(_TARGETS) for phone in phones]
    return torch.tensor(known)[index]
