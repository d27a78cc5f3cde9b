"""Audio features: sound [n] at 16 kHz -> frames [t, D] at 100 Hz, the same offline and in a stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.motion.hubert import Hubert

SAMPLE_RATE = 16000
FEATURE_RATE = 100  # frames a second
HOP = SAMPLE_RATE // FEATURE_RATE
WINDOW = 512  # samples of the autocorrelation: 32 ms, two periods of the lowest pitch
MEL_WINDOW = 400  # samples of the spectrum: 25 ms, as Whisper has it
BANDS = 80
MAX_HZ = 8000.0  # half the sample rate
LINEAR_HZ, BAND_HZ = 1000.0, 200 / 3  # of the mel scale of Slaney: linear up to there, a mel being so many hertz
LOG_STEP = math.log(6.4) / 27  # from there on, the logarithm of a mel
PITCH_HZ = (65.0, 400.0)  # of adult voices, and most children's
VOICED = 0.5  # normalized autocorrelation above which a frame has a pitch
PITCH_CENTER_HZ = 160.0  # about the middle of that range, in octaves: log pitch is 0 there
FLOOR = 1e-5  # of powers before the logarithm
AT_ONCE = 20 * SAMPLE_RATE  # samples: memory stays flat
DEFAULT_FEATURES = "whisper"


class Features(Protocol):
    """A stream of feature frames."""

    width: int  # D

    def push(self, pcm: Tensor) -> Tensor:
        """The frames [t, D] that more samples [n] complete."""
        ...

    def flush(self) -> Tensor:
        """The frames still open at the end of the sound."""
        ...


class LogMel:
    """80 log-mel bands, log energy, voicing and log pitch at 100 frames a second [t, 83].

    Frame i is centred at sample (i + 0.5) * 160. Chunks of any size give the same frames. Window and bands are those
    of Whisper, whose layers take them (`avatar.motion.whisper`).
    """

    width = BANDS + 3

    def __init__(self) -> None:
        self._window = torch.hann_window(WINDOW, periodic=True)
        self._mel_window = torch.hann_window(MEL_WINDOW, periodic=True)
        self._bands, self._own = mel_bands(), _autocorrelation(self._window)
        lead = (WINDOW - HOP) // 2  # half a window of silence before the first frame
        self._pending = torch.zeros(lead)

    def push(self, pcm: Tensor) -> Tensor:
        """Samples [n] -1..1 at 16 kHz -> the frames [t, 83] that they complete."""
        self._pending = torch.cat([self._pending, pcm])
        count = max(0, (len(self._pending) - WINDOW) // HOP + 1)
        if count == 0:
            return torch.zeros(0, self.width)
        frames = self._pending.unfold(0, WINDOW, HOP)
        self._pending = self._pending[count * HOP :].clone()
        return self._transform(frames)

    def flush(self) -> Tensor:
        """The frames still open at the end of the sound."""
        left = len(self._pending) - (WINDOW - HOP) // 2
        missing = math.ceil(max(0, left) / HOP) * HOP + (WINDOW - HOP) - len(self._pending)
        return self.push(torch.zeros(max(0, missing)))

    def _transform(self, frames: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(frames * self._window, n=2 * WINDOW)
        power = spectrum.real.square() + spectrum.imag.square()
        edge = (WINDOW - MEL_WINDOW) // 2
        narrow = torch.fft.rfft(frames[:, edge : edge + MEL_WINDOW] * self._mel_window).abs().square()
        mel = (narrow @ self._bands + FLOOR).log()
        energy = (frames.square().mean(1) + FLOOR).log()
        pitch, voicing = _pitch(power, self._own)
        return torch.cat([mel / 4, energy[:, None] / 4, voicing[:, None], pitch[:, None]], 1)


def _autocorrelation(window: Tensor) -> Tensor:
    """Of a window [512], at lags below its length; held above a twentieth of its energy."""
    own = torch.fft.irfft(torch.fft.rfft(window, n=2 * WINDOW).abs().square())[:WINDOW]
    return own.clamp_min(own[0] * 0.05)


def _pitch(power: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Log pitch about 160 Hz (0 where unvoiced) and voicing 0..1 [t] each, from the autocorrelation.

    Normalized by the window's `own` (Boersma 1993, Accurate short-term analysis of the fundamental frequency).
    """
    correlation = torch.fft.irfft(power)[:, :WINDOW] / own
    correlation = correlation / (correlation[:, :1] + FLOOR)
    low, high = int(SAMPLE_RATE / PITCH_HZ[1]), int(SAMPLE_RATE / PITCH_HZ[0])
    strength, lag = correlation[:, low:high].max(1)
    voicing = strength.clamp(0, 1)
    pitch = (SAMPLE_RATE / (lag + low)).log() - math.log(PITCH_CENTER_HZ)
    return torch.where(voicing > VOICED, pitch, torch.zeros_like(pitch)), voicing


def mel_bands() -> Tensor:
    """Triangular filters [MEL_WINDOW / 2 + 1, BANDS] from 0 to 8000 Hz, each of about unit sum.

    On the mel scale of Slaney 1998, Auditory Toolbox.
    """
    corner = LINEAR_HZ / BAND_HZ
    mels = torch.linspace(0, corner + math.log(MAX_HZ / LINEAR_HZ) / LOG_STEP, BANDS + 2)
    edges = torch.where(mels < corner, mels * BAND_HZ, LINEAR_HZ * torch.exp(LOG_STEP * (mels - corner)))
    bins = torch.linspace(0, SAMPLE_RATE / 2, MEL_WINDOW // 2 + 1)
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp_min(0)
    return filters * 2 * SAMPLE_RATE / MEL_WINDOW / (edges[2:] - edges[:-2])


def _open_logmel(where: str) -> Features:
    return LogMel()


FEATURES: dict[str, Callable[[str], Features]] = {DEFAULT_FEATURES: _open_logmel, "hubert": Hubert}


def open_features(name: str) -> Features:
    """A stream of features: `whisper` (the input of its layers), or `hubert:FOLDER`, a model of the user's.

    Raises: UserError.
    """
    kind, _, where = name.partition(":")
    if kind not in FEATURES:
        raise UserError(f"features '{name}' are not known; there are: {', '.join(FEATURES)}")
    return FEATURES[kind](where)


def compute(pcm: Tensor, name: str = DEFAULT_FEATURES) -> Tensor:
    """All frames [t, D] of a recording [n] at once. Raises: UserError, as `open_features`."""
    feature = open_features(name)
    return torch.cat([*(feature.push(part) for part in pcm.split(AT_ONCE)), feature.flush()])
