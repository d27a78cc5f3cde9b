"""hibari: a small English voice in one package (Apache-2.0, distilled from Kokoro's af_heart)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from avatar.core.files import UserError
from avatar.voice.english import phonemize_english
from avatar.voice.graph import INSTALL, MOST_TOKENS, RATE, check_digest, halves, make_chunk, open_graph, tokenize
from avatar.voice.passages import Chunk, Passage, join, silence

DIGEST = "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8"
DURATIONS = "/Clip_output_0"


class HibariVoice:
    """The voice of the package hibari-tts 0.2.1."""

    rate = RATE
    language = "en-us"

    def __init__(self) -> None:
        """Raises: UserError when the package is missing or is another version."""
        try:
            import hibari
            from hibari import dsp
        except ImportError as error:
            raise UserError(f"voice hibari: is not installed; {INSTALL}") from error
        assets = Path(hibari.__file__).parent / "assets"
        model = (assets / "hibari.onnx").read_bytes()
        check_digest(model, DIGEST, "voice hibari")
        self._graph, self._signal = open_graph(model, DURATIONS), dsp
        self._vocabulary: dict[str, int] = json.loads((assets / "vocab.json").read_text(encoding="utf-8"))

    def phonemize(self, text: str) -> str:
        """Phonemes of a text."""
        return phonemize_english(text, british=False)

    def say(self, passage: Passage, speed: float) -> Chunk:
        """Sound of a passage; the same passage sounds the same."""
        tokens = tokenize([self.phonemize(part.text) for part in passage.parts], self._vocabulary)
        if not tokens.numbers:
            return silence(0.0, RATE)
        if len(tokens.numbers) > MOST_TOKENS and (both := halves(passage)):
            return join([self.say(half, speed) for half in both])
        inputs = {"ids": np.array([[0, *tokens.numbers, 0]]), "speed": np.array([speed], np.float32)}
        *spectra, durations = self._graph.run(None, inputs)
        pcm = self._signal.synth(*(one[0] for one in spectra), np.random.default_rng(0))
        return make_chunk(passage, tokens, pcm, durations, speed)
