"""Text as a session's voice: `POST /v1/sessions/{id}/say`, and LiveTalking's `/human`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from avatar.core.files import UserError
from avatar.serve.hub import RefusedError, Session
from avatar.serve.live_avatar import MOST_SECONDS
from avatar.voice.engines import VoiceChoice, open_voice, speak
from avatar.voice.passages import Chunk, Voice

LOG = logging.getLogger(__name__)
ENGINES = ("hibari", "kokoro", "espeak")  # the others run programs, or ask servers, that clients would name
MOST_LETTERS = 5000  # of a request
MOST_VOICES = 8  # that stay open
ROOM_SECONDS = 0.05  # between two looks whether there is room for more sound


class Text(BaseModel):
    """Body of a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(min_length=1, max_length=MOST_LETTERS)
    voice: str = Field("hibari", pattern="^[a-z]+(:[A-Za-z0-9_+.-]{1,40})?$", max_length=60)
    language: str | None = Field(None, pattern="^[A-Za-z_-]{2,12}$")
    speed: float = Field(1.0, ge=0.5, le=2)


@dataclass(frozen=True)
class _Saying:
    """A text on its way."""

    session: Session
    text: Text
    voice: Voice
    clears: int  # of the session when it began: another number, and it was interrupted


class Speaker:
    """Voices of a server, each opened once."""

    def __init__(self) -> None:
        self._voices: dict[tuple[str, str | None], Voice] = {}
        self._lock = threading.Lock()

    def say(self, session: Session, text: Text) -> None:
        """Begin to say a text; its sound follows from a thread of its own, sentence by sentence. Takes a moment.

        Raises: UserError when the session has another rate than the voice; RefusedError when that is missing.
        """
        voice = self._open(text)
        if voice.rate != session.live.rate:
            raise UserError(f"the voice {text.voice} has {voice.rate} Hz; open the session with that rate")
        saying = _Saying(session, text, voice, session.live.clears)
        chunks = speak(text.text, voice, speed=text.speed, live=True)  # what is wrong with the text is said here
        threading.Thread(target=_push, args=(saying, chunks), name="say", daemon=True).start()

    def _open(self, text: Text) -> Voice:
        choice = VoiceChoice(voice=text.voice, language=text.language)
        if choice.engine not in ENGINES:
            raise UserError(f"voice '{choice.engine}': this server has {', '.join(ENGINES)}")
        key = (text.voice, text.language)
        with self._lock:
            if key not in self._voices:
                opened = _open_voice(choice)
                while len(self._voices) >= MOST_VOICES:
                    self._voices.pop(next(iter(self._voices)))
                self._voices[key] = opened
            return self._voices[key]


def _open_voice(choice: VoiceChoice) -> Voice:
    try:
        return open_voice(choice)
    except UserError as error:  # not installed, or without that language
        raise RefusedError(501, str(error)) from error


def _push(saying: _Saying, chunks: Iterator[Chunk]) -> None:
    session = saying.session
    try:
        for chunk in chunks:
            samples = _samples(chunk)
            for number, part in enumerate(np.array_split(samples, max(1, len(samples) // session.live.rate))):
                while session.live.buffered + len(part) / session.live.rate > MOST_SECONDS and not _over(saying):
                    time.sleep(ROOM_SECONDS)
                if _over(saying):
                    return
                session.push(part, None if number else chunk)
        session.live.end()
    except UserError as error:
        LOG.warning("a text was not said to its end", extra={"session": session.id[:6], "reason": str(error)})
        session.live.end()


def _over(saying: _Saying) -> bool:
    return bool(saying.session.closed) or saying.session.live.clears != saying.clears


def _samples(chunk: Chunk) -> np.ndarray:
    """Samples [n] int16 of a voice's sound."""
    return (32767 * np.clip(chunk.pcm, -1, 1)).astype(np.int16)
