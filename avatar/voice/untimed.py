"""Phonemes for voices that give none, and a voice without sound: lips by usual durations."""

from __future__ import annotations

import shutil

from avatar.core.files import UserError
from avatar.voice import espeak
from avatar.voice.passages import Chunk, Passage, Voice, silence
from avatar.voice.phones import spread

RATE = 16_000  # Hz of silence


def known_phonemes(text: str, language: str) -> str:
    """Phonemes of a text by espeak-ng; empty where it is not installed or has no such language."""
    if not (shutil.which("espeak-ng") or shutil.which("espeak")) or language not in espeak.voices():
        return ""
    return espeak.phonemize(text, language)


class SilentVoice:
    """Moves lips as another voice would, by usual durations, without sound."""

    rate = RATE

    def __init__(self, voice: Voice) -> None:
        """voice: who converts text to phonemes."""
        self.language, self._voice = voice.language, voice

    def phonemize(self, text: str) -> str:
        """Phonemes of a text."""
        return self._voice.phonemize(text)

    def say(self, passage: Passage, speed: float) -> Chunk:
        """Silence of a passage's length, with its phones. Raises: UserError when nothing says how they are spoken."""
        phonemes = [self.phonemize(part.text) for part in passage.parts]
        if not any(phonemes):
            raise UserError(f"--silent: this voice gives no phonemes; {espeak.INSTALL}, or use --voice hibari")
        phones, spoken = spread(passage.parts, phonemes, 0.0, None, speed)
        seconds = phones[-1].stop if phones else 0.0
        return Chunk(silence(seconds, RATE).pcm, RATE, phones, spoken)
