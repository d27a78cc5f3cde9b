"""English text -> phonemes, by hibari's converter (Apache-2.0), which also says numbers, dates and abbreviations."""

from __future__ import annotations

import functools
from typing import Any

from avatar.core.files import UserError
from avatar.voice.graph import INSTALL


@functools.cache
def _converter(british: bool) -> Any:
    try:
        from hibari.g2p import G2P
    except ImportError as error:
        raise UserError(
            f"voice: hibari-tts, which converts English text to phonemes, is not installed; {INSTALL}"
        ) from error
    return G2P(british=british)


def phonemize_english(text: str, *, british: bool) -> str:
    """Phonemes of English text, as misaki writes them."""
    plain = text.replace("[", " ").replace("]", " ")  # its own markup of pronunciations
    return str(_converter(british)(plain))
