"""espeak-ng, a program that the user installs (GPL-3: run as a process of its own): a voice, and phonemes."""

from __future__ import annotations

import functools
import html
import re
import shutil
import subprocess

from avatar.core.files import UserError
from avatar.voice.passages import Chunk, Passage
from avatar.voice.phones import spread
from avatar.voice.wav import read_wav, sounding

INSTALL = "install espeak-ng (Debian: apt-get install espeak-ng)"
WORDS_PER_MINUTE = 165  # at speed 1, somewhat below its own default of 175
LEAST, MOST = 80, 450  # words a minute that it takes
TIMEOUT = 60.0  # s for a passage; a minute of its speech takes a tenth of a second
_MARKS = re.compile(r"([;:,.!?—…\"“”、。，！？；：।¡¿()]+)")
_ASCII = dict(zip("、，。！？；：।", ",,.!?;:.", strict=True)) | dict.fromkeys("¡¿()", "")
_FLAG = re.compile(r"\([^()]{2,7}\)")  # of a language that it changes to for a word
_TIES = {
    "a^ɪ": "I", "a^ʊ": "W", "d^z": "ʣ", "d^ʒ": "ʤ", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "s^s": "S", "t^s": "ʦ",
    "t^ʃ": "ʧ", "ɔ^ɪ": "Y",
}  # fmt: skip
"""Its diphthongs and affricates as one letter each, as misaki writes them."""


class EspeakVoice:
    """A voice of espeak-ng in any of its languages; phone times are by usual durations."""

    rate = 22_050

    def __init__(self, language: str, name: str = "") -> None:
        """name: another voice or variant of its list, such as `f2`. Raises: UserError when there is none."""
        self.language = language
        self._voice = name if "+" in name or name in voices() else f"{language}+{name}" if name else language
        if self._voice.split("+")[0] not in voices():
            raise UserError(f"language '{language}': espeak-ng has none of that name; `espeak-ng --voices` lists them")

    def say(self, passage: Passage, speed: float) -> Chunk:
        """Sound of a passage. Raises: UserError."""
        rate = min(MOST, max(LEAST, round(WORDS_PER_MINUTE * speed)))
        words = " ".join(
            f"<emphasis>{html.escape(part.text)}</emphasis>" if part.emphasised else html.escape(part.text)
            for part in passage.parts
        )
        data = run(["-v", self._voice, "-s", str(rate), "-m", "--stdout"], words)
        pcm, found = read_wav(data, "espeak-ng")
        start, stop = sounding(pcm, found)
        phonemes = [self.phonemize(part.text) for part in passage.parts]
        return Chunk(pcm, found, *spread(passage.parts, phonemes, start, stop))

    def phonemize(self, text: str) -> str:
        """IPA of a text."""
        return phonemize(text, self._voice)


def program() -> str:
    """Where it is. Raises: UserError when it is not installed."""
    found = shutil.which("espeak-ng") or shutil.which("espeak")
    if not found:
        raise UserError(f"voice: espeak-ng is not installed; {INSTALL}")
    return found


def run(arguments: list[str], text: str) -> bytes:
    """What it writes for a text, which is given on stdin so that no text is an option. Raises: UserError."""
    command = [program(), "-b", "1", *arguments, "--stdin"]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"voice: espeak-ng did not answer within {TIMEOUT:g} s") from error
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UserError(f"voice: espeak-ng failed ({reason[-1][:120] if reason else done.returncode})")
    return done.stdout


@functools.cache
def voices() -> frozenset[str]:
    """Languages and names that it speaks by."""
    lines = run(["--voices"], "").decode("utf-8", "replace").splitlines()[1:]
    found = {line.split()[1] for line in lines if len(line.split()) > 1}
    return frozenset(found | {code for line in lines for code in re.findall(r"\((\S+) \d+\)", line)})


def phonemize(text: str, voice: str) -> str:
    """Phonemes of a text as Kokoro was trained with them; punctuation stays, since it is part of the prosody."""
    found = ""
    for piece in _MARKS.split(text):
        if _MARKS.fullmatch(piece):
            found = found.rstrip() + "".join(_ASCII.get(mark, mark) for mark in piece)
        elif piece.strip():
            found += (" " if found else "") + _words(piece, voice)
    return found.strip()


@functools.lru_cache(maxsize=256)
def _words(text: str, voice: str) -> str:
    """Phonemes of words without punctuation."""
    printed = run(["-q", "--ipa", "--tie=^", "-v", voice], text).decode("utf-8", "replace")
    plain = _FLAG.sub("", printed.replace("\u0361", "^").replace("\u200d", "^").replace("(^", "(").replace("^)", ")"))
    for tied, letter in _TIES.items():
        plain = plain.replace(tied, letter)
    return " ".join(plain.replace("^", "").replace("-", "").split())
