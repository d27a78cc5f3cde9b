"""A program of the user's as a voice: text on stdin, a wav file on stdout. Cloning engines are called this way."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from avatar.core.files import UserError
from avatar.voice.passages import Chunk, Passage
from avatar.voice.phones import spread
from avatar.voice.untimed import known_phonemes
from avatar.voice.wav import read_wav, sounding

TIMEOUT = 300.0  # s for a passage: cloning engines on a processor are slow


class ProgramVoice:
    """PROGRAM LANGUAGE SPEED [FOLDER]: the folder holds the recording whose voice is to be taken on."""

    rate = 24_000

    def __init__(self, program: str, language: str, reference: Path | None) -> None:
        """reference: a folder with a recording. Raises: UserError when there is no such program."""
        found = shutil.which(program)
        if found is None:
            raise UserError(f"voice command: '{program}' is no program that can be run; give its path, and chmod +x it")
        self.language = language
        self._program, self._reference = found, [str(reference)] if reference else []

    def phonemize(self, text: str) -> str:
        """Phonemes of a text, where espeak-ng is installed."""
        return known_phonemes(text, self.language)

    def say(self, passage: Passage, speed: float) -> Chunk:
        """Sound of a passage. Raises: UserError when the program fails or writes something else."""
        command = [self._program, self.language, f"{speed:g}", *self._reference]
        try:
            done = subprocess.run(command, input=passage.text.encode(), capture_output=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{self._program}: did not answer within {TIMEOUT:g} s") from error
        except OSError as error:
            raise UserError(f"{self._program}: cannot be run ({error.strerror or error})") from error
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise UserError(
                f"{self._program}: failed with {done.returncode} ({lines[-1][:160] if lines else 'no reason'})"
            )
        pcm, rate = read_wav(done.stdout, self._program)
        phonemes = [self.phonemize(part.text) for part in passage.parts]
        return Chunk(pcm, rate, *spread(passage.parts, phonemes, *sounding(pcm, rate)))
