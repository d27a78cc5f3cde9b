"""A voice behind an OpenAI-compatible `/v1/audio/speech`, at the URL that the user names and nowhere else."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from typing import Any

from avatar.core.files import UserError
from avatar.voice.passages import Chunk, Passage
from avatar.voice.phones import spread
from avatar.voice.untimed import known_phonemes
from avatar.voice.wav import read_wav, sounding

TIMEOUT = 60.0  # s without a byte
MOST_BYTES = 200_000_000  # of an answer: half an hour of sound
KEY = "AVATAR_VOICE_KEY"  # environment variable with a bearer token, sent to that URL alone
MODEL, VOICE = "tts-1", "alloy"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A server that sends text elsewhere is not followed: the user named this one."""

    def redirect_request(self, *_: Any) -> None:
        return None


class ServerVoice:
    """A voice of a server; phone times are by usual durations."""

    rate = 24_000

    def __init__(self, url: str, name: str, language: str) -> None:
        """name: MODEL/VOICE or VOICE. Raises: UserError for what is no http URL."""
        if not url.startswith(("http://", "https://")):
            raise UserError(f"voice http: '{url[:80]}' is no URL; --voice-url http://HOST:PORT/v1/audio/speech")
        self.language, self._url = language, url
        model, _, voice = name.rpartition("/")
        self._model, self._voice = model or MODEL, voice or VOICE
        self._open = urllib.request.build_opener(_NoRedirect).open

    def phonemize(self, text: str) -> str:
        """Phonemes of a text, where espeak-ng is installed."""
        return known_phonemes(text, self.language)

    def say(self, passage: Passage, speed: float) -> Chunk:
        """Sound of a passage. Raises: UserError when the server fails, is silent, or answers something else."""
        wanted = {"model": self._model, "voice": self._voice, "input": passage.text, "response_format": "wav"}
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        body = json.dumps(wanted | {"speed": round(speed, 3)}).encode()
        try:
            with self._open(urllib.request.Request(self._url, body, headers), timeout=TIMEOUT) as answer:
                data = answer.read(MOST_BYTES)
        except urllib.error.HTTPError as error:
            raise UserError(f"{self._url}: answered {error.code} {error.reason}; check URL, model and voice") from error
        except TimeoutError as error:
            raise UserError(
                f"{self._url}: did not answer within {TIMEOUT:g} s; try again or use another voice"
            ) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(f"{self._url}: cannot be reached ({reason}); is the server running?") from error
        pcm, rate = read_wav(data, self._url)
        phonemes = [self.phonemize(part.text) for part in passage.parts]
        return Chunk(pcm, rate, *spread(passage.parts, phonemes, *sounding(pcm, rate)))
