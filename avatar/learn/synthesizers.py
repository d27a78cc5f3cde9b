"""Speech synthesizers that know when they say what: flite (recorded English voices) and espeak-ng (any language)."""

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

FLITE = ("slt", "rms", "kal16", "awb")
VARIANTS = ("", "+m1", "+m3", "+m4", "+m5", "+m6", "+f1", "+steph", "+anika", "+Annie", "+Andy", "+m7", "+belinda")
STOPS = ("p", "t", "k")  # espeak-ng tells of their burst; the closure is the silence before it
LONGEST_CLOSURE = 0.09  # s
_RETRIEVE, _PHONEMES_IN_IPA, _PHONEME, _UTF8 = 2, 3, 7, 1
_SPEED, _PITCH, _RANGE = 1, 3, 4


@dataclass(frozen=True)
class Utterance:
    """A recording and its phones."""

    pcm: Tensor  # [n] 16 kHz
    phones: list[Phone]
    voice: str


@dataclass(frozen=True)
class Manner:
    """How something is said."""

    speed: float = 1.0  # times the usual
    pitch: float = 0.5  # 0..1; espeak-ng only
    melody: float = 0.5  # 0..1: how far the pitch moves; espeak-ng only


def synthesize(text: str, voice: str, manner: Manner | None = None) -> Utterance:
    """Say a text; phones with their times.

    voice: `flite:slt`, or `espeak:de+f1` (language, then a variant).

    Raises: UserError when the synthesizer or the voice is missing.
    """
    engine, _, name = voice.partition(":")
    speak = {"flite": _speak_flite, "espeak": _speak_espeak}[engine]
    return speak(text, name, manner or Manner())


def _speak_flite(text: str, name: str, manner: Manner) -> Utterance:
    binary = shutil.which("flite")
    if binary is None:
        raise UserError("flite is not installed; it makes the training voices (Debian: apt-get install flite)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        options = ["--setf", f"duration_stretch={1 / manner.speed}", "-psdur"]
        command = [binary, "-voice", name, *options, "-t", text, "-o", str(path)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rate, samples = wavfile.read(path)
    phones, start = [], 0.0
    for item in printed.split():
        symbol, _, stop = item.rpartition(":")
        phones.append(Phone(symbol, start, float(stop)))
        start = float(stop)
    return Utterance(_to_speech(samples, rate), phones, f"flite:{name}")


def _to_speech(samples: np.ndarray, rate: int) -> Tensor:
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
    """The library and its sample rate; one a process, since it holds its state in globals."""
    try:
        import espeakng_loader

        path, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()
    except ImportError:
        path, data = ctypes.util.find_library("espeak-ng"), None
    if path is None:
        raise UserError("espeak-ng is missing; it makes the training voices: pip install 'avatar-builder[voices]'")
    library = ctypes.CDLL(path)
    return library, library.espeak_Initialize(_RETRIEVE, 0, data, _PHONEMES_IN_IPA)


def _speak_espeak(text: str, name: str, manner: Manner) -> Utterance:
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
    library.espeak_SetParameter(_SPEED, round(165 * manner.speed), 0)
    library.espeak_SetParameter(_PITCH, round(100 * manner.pitch), 0)
    library.espeak_SetParameter(_RANGE, round(100 * manner.melody), 0)
    said = text.encode()
    library.espeak_Synth(said, len(said) + 1, 0, 1, 0, _UTF8, None, None)
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return Utterance(_to_speech(samples, rate), _to_phones(samples, marks, rate), f"espeak:{name}")


def _to_phones(samples: np.ndarray, marks: list[tuple[int, str]], rate: int) -> list[Phone]:
    """Marks (sample, IPA; empty for a pause) -> phones; a diphthong becomes its two vowels, half the time each."""
    starts = [_closure(samples, start, rate) if ipa.startswith(STOPS) else start for start, ipa in marks]
    phones: list[Phone] = []
    for (_, ipa), start, stop in zip(marks, starts, [*starts[1:], len(samples)], strict=True):
        symbols = from_ipa(ipa) if ipa else [SILENCE]
        length = (stop - start) / max(1, len(symbols))
        for index, symbol in enumerate(symbols if stop > start else []):
            phones.append(Phone(symbol, (start + index * length) / rate, (start + (index + 1) * length) / rate))
    return phones


def _closure(samples: np.ndarray, burst: int, rate: int) -> int:
    """Where the silence before a burst begins."""
    hop = rate // 200
    start = burst
    while burst - start < LONGEST_CLOSURE * rate and start >= hop and np.abs(samples[start - hop : start]).max() < 200:
        start -= hop
    return start
