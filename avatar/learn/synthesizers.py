"""Speech synthesizers that give phone times: flite (recorded English voices) and espeak-ng (any language)."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from scipy.signal import resample_poly
from torch import Tensor

from avatar.core.articulation import SILENCE, Phone, from_ipa
from avatar.core.files import UserError
from avatar.motion.features import SAMPLE_RATE

FLITE_VOICES = ("slt", "rms", "kal16", "awb")
ESPEAK_VARIANTS = (
    "", "+m1", "+m3", "+m4", "+m5", "+m6", "+f1", "+steph", "+anika", "+Annie", "+Andy", "+m7", "+belinda",
)  # fmt: skip
UNVOICED_STOPS = ("p", "t", "k")  # espeak-ng gives the time of their burst; their closure is the silence before it
MAX_STOP_CLOSURE = 0.09  # s: longer silence is a pause
SILENT = 200  # of 32768: below any sound that espeak-ng makes
ESPEAK_WORDS_PER_MINUTE = 165  # at speed 1, somewhat below its own default of 175
_RETRIEVE, _PHONEMES_IN_IPA, _PHONEME, _UTF8 = 2, 3, 7, 1
_RATE, _PITCH, _RANGE = 1, 3, 4


@dataclass(frozen=True)
class Utterance:
    """A synthesized recording and its phones."""

    pcm: Tensor  # [n] 16 kHz
    phones: list[Phone]
    voice: str


@dataclass(frozen=True)
class VoiceSettings:
    """How a synthesizer speaks, as SSML's prosody element has it."""

    rate: float = 1.0  # times the voice's own
    pitch: float = 0.5  # 0..1; espeak-ng only
    pitch_range: float = 0.5  # 0..1, monotonous to lively; espeak-ng only


def synthesize(text: str, voice: str, settings: VoiceSettings | None = None) -> Utterance:
    """Synthesize a text, with the times of its phones.

    voice: `flite:slt`, or `espeak:de+f1` (language, then a variant).

    Raises: UserError when the synthesizer or the voice is missing.
    """
    engine, _, name = voice.partition(":")
    run = {"flite": _run_flite, "espeak": _run_espeak}[engine]
    return run(text, name, settings or VoiceSettings())


def _run_flite(text: str, name: str, settings: VoiceSettings) -> Utterance:
    binary = shutil.which("flite")
    if binary is None:
        raise UserError("flite is not installed; the training corpus needs it (Debian: apt-get install flite)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        options = ["--setf", f"duration_stretch={1 / settings.rate}", "-psdur"]
        command = [binary, "-voice", name, *options, "-t", text, "-o", str(path)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rate, samples = wavfile.read(path)
    phones, start = [], 0.0
    for item in printed.split():
        symbol, _, stop = item.rpartition(":")
        phones.append(Phone(symbol, start, float(stop)))
        start = float(stop)
    return Utterance(_to_pcm(samples, rate), phones, f"flite:{name}")


def _to_pcm(samples: np.ndarray, rate: int) -> Tensor:
    pcm = samples.astype(np.float32) / 32768
    if rate != SAMPLE_RATE:
        pcm = resample_poly(pcm, SAMPLE_RATE, rate).astype(np.float32)
    return torch.from_numpy(pcm)


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@functools.cache
def _load_espeak() -> tuple[ctypes.CDLL, int]:
    """The library and its sample rate in Hz; one a process, since it holds its state in globals."""
    try:
        import espeakng_loader

        path, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()
    except ImportError:
        path, data = ctypes.util.find_library("espeak-ng"), None
    if path is None:
        raise UserError("espeak-ng is missing; the training corpus needs it: pip install 'avatar-builder[corpus]'")
    library = ctypes.CDLL(path)
    return library, library.espeak_Initialize(_RETRIEVE, 0, data, _PHONEMES_IN_IPA)


def _run_espeak(text: str, name: str, settings: VoiceSettings) -> Utterance:
    library, rate = _load_espeak()
    parts: list[np.ndarray] = []
    marks: list[tuple[int, str]] = []

    def collect(wave, count, events) -> int:  # type: ignore[no-untyped-def]
        if wave and count:
            parts.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type:
            if events[index].type == _PHONEME:
                marks.append((events[index].sample, events[index].id.string.decode("utf-8", "ignore")))
            index += 1
        return 0

    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(name.encode()) != 0:
        raise UserError(f"{name}: espeak-ng has no such voice; `espeak-ng --voices` lists them")
    library.espeak_SetParameter(_RATE, round(ESPEAK_WORDS_PER_MINUTE * settings.rate), 0)
    library.espeak_SetParameter(_PITCH, round(100 * settings.pitch), 0)
    library.espeak_SetParameter(_RANGE, round(100 * settings.pitch_range), 0)
    content = text.encode()
    library.espeak_Synth(content, len(content) + 1, 0, 1, 0, _UTF8, None, None)
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return Utterance(_to_pcm(samples, rate), _to_phones(samples, marks, rate), f"espeak:{name}")


def _to_phones(samples: np.ndarray, marks: list[tuple[int, str]], rate: int) -> list[Phone]:
    """Marks (sample, IPA; empty for a pause) -> phones; a diphthong becomes its two vowels, half the time each."""
    starts = [_stop_closure(samples, start, rate) if ipa.startswith(UNVOICED_STOPS) else start for start, ipa in marks]
    phones: list[Phone] = []
    for (_, ipa), start, stop in zip(marks, starts, [*starts[1:], len(samples)], strict=True):
        symbols = from_ipa(ipa) if ipa else [SILENCE]
        length = (stop - start) / max(1, len(symbols))
        for index, symbol in enumerate(symbols if stop > start else []):
            phones.append(Phone(symbol, (start + index * length) / rate, (start + (index + 1) * length) / rate))
    return phones


def _stop_closure(samples: np.ndarray, burst: int, rate: int) -> int:
    """The sample where a stop's closure, the silence before its burst, begins; to 5 ms."""
    hop, start = rate // 200, burst
    while (
        burst - start < MAX_STOP_CLOSURE * rate and start >= hop and np.abs(samples[start - hop : start]).max() < SILENT
    ):
        start -= hop
    return start
