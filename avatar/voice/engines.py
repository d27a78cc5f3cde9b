"""Engines by name, and `speak`: passages in, chunks of sound with phone times out, one sentence after the other."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avatar.core.emotion import nearest
from avatar.core.files import UserError
from avatar.voice.passages import Chunk, Passage, Voice, silence
from avatar.voice.script import read_script, shorten_first

LEAST_SPEED, MOST_SPEED = 0.5, 2.0
BETWEEN = 0.12  # s of silence after a sentence, beside what the voice leaves
FIRST = 40  # letters of a live answer's first passage, where it can be cut at a clause
MOST_HASTE = 1.35  # times the speed, so that words fit between a subtitle's times
LATE = 0.3  # s by which words may come after their subtitle without a warning
CLONED = "command"  # the engine that takes a reference recording
SCRIPTS = {
    "hi": {"DEVANAGARI"}, "ja": {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK"}, "zh": {"CJK"},
}  # fmt: skip
"""Beside Latin letters, those that a language is written with; other languages of Kokoro need Latin ones alone."""
SHORT = {"en": "en-us", "pt": "pt-br", "cmn": "zh", "zh-cn": "zh", "fr-fr": "fr", "es-es": "es", "jp": "ja"}


@dataclass(frozen=True)
class VoiceChoice:
    """Who speaks: an engine and what it needs."""

    voice: str = "hibari"  # ENGINE or ENGINE:NAME
    language: str | None = None  # such as en-us; None: the engine's first, or what a voice's name says
    url: str | None = None  # of http
    files: Path | None = None  # with the voices of kokoro
    model: Path | None = None  # of kokoro, instead of the packaged one
    like: Path | None = None  # folder with a recording that a program is to sound like
    consent: str | None = None  # of the person in it
    silent: bool = False  # lips alone

    @property
    def engine(self) -> str:
        """A key of ENGINES."""
        return self.voice.partition(":")[0]

    @property
    def name(self) -> str:
        """Which of the engine's voices; empty for its usual one."""
        return self.voice.partition(":")[2]


def _hibari(choice: VoiceChoice) -> Voice:
    from avatar.voice.hibari import HibariVoice

    _check_language(choice, ("en-us",))
    if choice.name not in ("", "heart"):
        raise UserError(f"voice hibari: has no '{choice.name}'; it has heart")
    return HibariVoice()


def _kokoro(choice: VoiceChoice) -> Voice:
    from avatar.voice.kokoro import LANGUAGES, KokoroVoice

    by_letter = {settings.letter: code for code, settings in LANGUAGES.items()}
    own = by_letter.get(choice.name[:1], "en-us") if choice.name[2:3] == "_" else "en-us"
    language = _check_language(replace(choice, language=choice.language or own), tuple(LANGUAGES))
    return KokoroVoice(language, choice.name, choice.files, choice.model)


def _espeak(choice: VoiceChoice) -> Voice:
    from avatar.voice.espeak import EspeakVoice

    language, _, variant = choice.name.partition("+")
    name = f"+{variant}" if variant else ""
    wanted = choice.language or language or "en-us"
    return EspeakVoice(wanted, f"{wanted}{name}" if name else "")


def _http(choice: VoiceChoice) -> Voice:
    from avatar.voice.server import ServerVoice

    if not choice.url:
        raise UserError("voice http: which server is not known; --voice-url http://HOST:PORT/v1/audio/speech")
    return ServerVoice(choice.url, choice.name, _language(choice))


def _command(choice: VoiceChoice) -> Voice:
    from avatar.voice.program import ProgramVoice

    return ProgramVoice(choice.name, _language(choice), choice.like)


ENGINES: dict[str, Callable[[VoiceChoice], Voice]] = {
    "hibari": _hibari,
    "kokoro": _kokoro,
    "espeak": _espeak,
    "http": _http,
    "command": _command,
}


def _language(choice: VoiceChoice) -> str:
    code = (choice.language or "en-us").lower().replace("_", "-")
    return SHORT.get(code, code)


def _check_language(choice: VoiceChoice, known: Sequence[str]) -> str:
    if (language := _language(choice)) not in known:
        raise UserError(
            f"language '{choice.language}': {choice.engine} has no voice for it; it has {', '.join(known)}; "
            "--voice espeak has 100 others"
        )
    return language


def open_voice(choice: VoiceChoice) -> Voice:
    """The voice that was chosen. Raises: UserError when it is missing, or may not be used."""
    if choice.engine not in ENGINES:
        raise UserError(f"voice '{choice.engine}': is not known; {nearest(choice.engine, ENGINES)}")
    if choice.like is not None:
        if choice.engine != CLONED:
            raise UserError(f"--voice-like: {choice.engine} clones no voices; use --voice command:PROGRAM")
        if not choice.like.is_dir():
            raise UserError(f"{choice.like}: is no folder; --voice-like takes one with a recording of the voice")
        if not (choice.consent or "").strip():
            raise UserError("--voice-like: whose voice it is must have agreed; say who and to what by --voice-consent")
    voice = ENGINES[choice.engine](choice)
    if not choice.silent:
        return voice
    from avatar.voice.untimed import SilentVoice

    return SilentVoice(voice)


def speak(
    text: str | Path | Sequence[Passage], voice: Voice, *, speed: float = 1.0, live: bool = False
) -> Iterator[Chunk]:
    """Sound of a script, a chunk for each passage or pause, in order and without gaps.

    live: begin with a short passage, so that its sound is there at once. Memory does not grow with the text's length.
    Raises: UserError.
    """
    if not LEAST_SPEED <= speed <= MOST_SPEED:
        raise UserError(f"speed {speed:g}: must lie between {LEAST_SPEED} and {MOST_SPEED}")
    passages = read_script(text) if isinstance(text, (str, Path)) else list(text)
    check_scripts(passages, voice.language)
    return _speak(shorten_first(passages, FIRST) if live else passages, voice, speed)


def _speak(passages: Sequence[Passage], voice: Voice, speed: float) -> Iterator[Chunk]:
    clock = 0.0
    for number, passage in enumerate(passages):
        wait = passage.pause if passage.start is None else passage.start - clock
        if passage.start is not None and wait < -LATE:
            warnings.warn(
                f"'{passage.text[:40]}' comes {-wait:.1f} s after its subtitle; shorten the words", stacklevel=2
            )
        chunk = _fit(passage, voice, speed * passage.speed, passage.stop and passage.stop - max(clock, clock + wait))
        gap = BETWEEN if number + 1 < len(passages) and passages[number + 1].start is None else 0.0
        for one in (silence(wait, chunk.rate), chunk, silence(gap, chunk.rate)):
            if len(one.pcm):
                clock += one.seconds
                yield one


def _fit(passage: Passage, voice: Voice, speed: float, room: float | None) -> Chunk:
    """A passage, spoken faster where it is longer than its room, s."""
    speed = min(MOST_SPEED, max(LEAST_SPEED, speed))
    chunk = voice.say(passage, speed)
    if room is None or chunk.seconds <= room:
        return chunk
    haste = min(MOST_HASTE, chunk.seconds / max(room, 0.1))
    return voice.say(passage, min(MOST_SPEED, speed * haste))


def check_scripts(passages: Sequence[Passage], language: str) -> None:
    """Warn of words in a script that a language is not written with, and that its voice leaves out.

    Raises: UserError when most letters are. espeak-ng reads all scripts, so its other languages are not checked.
    """
    from avatar.voice.kokoro import LANGUAGES

    if language not in LANGUAGES:
        return
    known = {"LATIN", "FULLWIDTH"} | SCRIPTS.get(language, set())
    strange: list[str] = []
    letters = foreign = 0
    for passage in passages:
        for word in passage.text.split():
            mine = [unicodedata.name(one, "?").split()[0] in known for one in word if one.isalpha()]
            letters, foreign = letters + len(mine), foreign + mine.count(False)
            if not all(mine) and len(strange) < 3:
                strange.append(word[:12])
    if foreign * 2 > letters:
        raise UserError(f"text: most of it ('{strange[0]}') is not in a script of {language}; choose its --language")
    if strange:
        warnings.warn(f"text: {', '.join(strange)}: not in a script of {language}; it may be left out", stacklevel=3)
