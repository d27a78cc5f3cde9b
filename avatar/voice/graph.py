"""Speech graphs in ONNX whose durations, one a token, are made an output: exact times of phones for nothing."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np

from avatar.core.files import UserError
from avatar.voice.passages import Chunk, Part, Passage
from avatar.voice.phones import PAUSES, spoken_part, timed_phones

RATE = 24_000  # Hz, of Kokoro and of what is distilled from it
SAMPLES_PER_UNIT = 600  # of a duration: 25 ms
INSTALL = "pip install 'avatar-builder[voices]'"
MOST_TOKENS = 510
AHEAD = 0.06  # s at speed 1 by which the sound runs before its tokens' durations, as measured (docs/lab/words.md)
LEAD = 0.08  # s of silence that is left before the first sound; the models make a third of a second
EMPHASIS = 1.35  # times the amplitude of emphasised words: 2.6 dB, as louder as people make them
EMPHASIS_RAMP = 0.03  # s


def open_graph(model: bytes, durations: str) -> Any:
    """An ONNX Runtime session on two threads, with a tensor of the graph as its last output.

    Raises: UserError when ONNX Runtime is not installed, or the bytes are no such graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"voice: ONNX Runtime is not installed; {INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 3
    try:
        return onnxruntime.InferenceSession(model + _output(durations), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise UserError(
            f"voice: the model is no speech graph with durations ({str(error).splitlines()[0][:120]})"
        ) from error


def check_digest(model: bytes, expected: str, what: str) -> None:
    """Raise UserError unless bytes have a SHA-256."""
    if (found := hashlib.sha256(model).hexdigest()) != expected:
        raise UserError(f"{what}: its SHA-256 is {found[:12]}..., expected {expected[:12]}...; install it again")


def _output(name: str) -> bytes:
    """Bytes that, behind those of a ModelProto, add a float output to its graph: messages that follow are merged."""
    kind = _field(1, b"\x08\x01")  # TypeProto.tensor_type.elem_type = FLOAT
    value = _field(1, name.encode()) + _field(2, kind)  # ValueInfoProto
    return _field(7, _field(12, value))  # ModelProto.graph, GraphProto.output


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


class Tokens(NamedTuple):
    """A passage as a model takes it."""

    symbols: str  # phonemes that the model knows
    numbers: list[int]  # of the symbols
    ends: list[int]  # where each part ends among them


def tokenize(phonemes: list[str], vocabulary: dict[str, int]) -> Tokens:
    """Phonemes of parts, joined, as a model takes them."""
    symbols, ends = "", []
    for text in phonemes:
        known = "".join(symbol for symbol in text.strip() if symbol in vocabulary)
        if known and symbols and known[0] not in PAUSES:
            symbols += " "
        symbols += known
        ends.append(len(symbols))
    return Tokens(symbols, [vocabulary[symbol] for symbol in symbols], ends)


def make_chunk(passage: Passage, tokens: Tokens, pcm: np.ndarray, durations: np.ndarray, speed: float) -> Chunk:
    """Sound [n] and durations [1 + symbols + 1] of what a graph said at a speed, the silence before it cut off.

    Raises: UserError when they do not fit together, since then no time can be trusted.
    """
    symbols, _, ends = tokens
    durations = durations.reshape(-1)
    if len(durations) != len(symbols) + 2 or round(float(durations.sum())) * SAMPLES_PER_UNIT != len(pcm):
        raise UserError("voice: the model's durations are not those of its sound; give the model that is documented")
    borders = np.concatenate([[0], np.cumsum(durations)]) * SAMPLES_PER_UNIT
    borders[1:-1] -= min(AHEAD / speed * RATE, borders[1])
    cut = int(max(0, borders[1] - LEAD * RATE))
    times = ((borders[1:-1] - cut) / RATE).tolist()
    spoken, first = [], 0
    for part, end in zip(passage.parts, ends, strict=True):
        made = timed_phones(symbols[first:end], times[first : end + 1])
        spoken.append(spoken_part(part, made, times[first], times[end]))
        first = end
    pcm = pcm[cut:].astype(np.float32)
    for one in spoken:
        if one.part.emphasised:
            pcm = pcm * _louder(len(pcm), one.start, one.stop)
    return Chunk(pcm.clip(-1, 1), RATE, timed_phones(symbols, times), tuple(spoken), timed=True)


def _louder(count: int, start: float, stop: float) -> np.ndarray:
    times = np.arange(count, dtype=np.float32) / RATE
    inside = np.minimum(times - start, stop - times) / EMPHASIS_RAMP + 0.5
    return 1 + (EMPHASIS - 1) * inside.clip(0, 1)


def halves(passage: Passage) -> tuple[Passage, Passage] | None:
    """A passage in two, where it has several parts or words."""
    parts = passage.parts
    if len(parts) == 1:
        words = parts[0].text.split()
        if len(words) < 2:
            return None
        middle = len(words) // 2
        first, second = (Part(" ".join(some), parts[0].emphasised) for some in (words[:middle], words[middle:]))
        parts = (first, second)
    middle = len(parts) // 2
    return Passage(parts[:middle]), Passage(parts[middle:])
