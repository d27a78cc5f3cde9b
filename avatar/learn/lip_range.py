"""How much less far lips move when they are predicted than the person's own did, measured on speech not fitted to.

Least squares shrinks what it cannot predict: a gain for each lip position gives back the person's energy between 1 and
8 Hz, and the lower half of the gap goes most of the way to the person's own quantiles, so that lips do close.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.lips import POSITIONS, read_lip_positions
from avatar.core.motion_space import load_space
from avatar.core.speech_model import LipRange
from avatar.learn.people_lips import moving_with

FPS = 25.0
WINDOW, LEAST_WINDOW = 64, 24  # frames of a periodogram, and of the shortest run that has one
BINS = 128  # of its transform: .2 Hz apart
SPEECH_HZ = (
    1.0,
    6.0,
)  # below is mood, which sound does not predict, above is the tracker's tremor, too
TREMOR_HZ = 10.5  # from here on all is the tracker's
LEAST_SHARE = 0.02  # of the energy at a frequency that is the person's, whatever the tremor is
MAX_GAIN = 1.7  # what asks for more has too little speech to measure by
DEFAULT_GAIN = 1.3  # of clips too short to measure: those of 8 and 20 s measure 1.26 and 1.18, shorter ones shrink more
QUANTILES = torch.linspace(0.005, 0.5, 21)  # of gaps: the lower half
CLOSING_SHARE = 0.7  # of the way from predicted quantiles to the person's own: all of it costs correlation


def measure_lip_range(predicted: Tensor, own: Tensor, frames: Tensor) -> LipRange:
    """The range of expressions predicted [N, K] without having been fitted to, whose truth is `own` [N, K].

    frames: [N] of the clip, in order.
    """
    reading = read_lip_positions(load_space().basis)
    said, shown = (predicted - own.mean(0)) @ reading, (own - own.mean(0)) @ reading
    gain = match_energy(said, shown, frames)
    gaps, wanted = ((values[:, 0]).quantile(QUANTILES) for values in (said * gain, shown))
    closing = CLOSING_SHARE * (wanted - wanted[-1] - gaps + gaps[-1])  # medians agree: a smile is not a gap
    return LipRange(gain, gaps, closing, moving_with(own, reading))


def default_lip_range(own: Tensor) -> LipRange:
    """The range of a person seen too briefly to measure it, with expressions `own` [N, K]."""
    reading = read_lip_positions(load_space().basis)
    gaps = ((own - own.mean(0)) @ reading[:, 0]).quantile(QUANTILES)
    gain = torch.full((len(POSITIONS),), DEFAULT_GAIN)
    return LipRange(gain, gaps, torch.zeros_like(gaps), moving_with(own, reading))


def match_energy(predicted: Tensor, own: Tensor, frames: Tensor) -> Tensor:
    """Gains [L], 1 to MAX_GAIN, that give curves [N, L] the energy of `own` [N, L] in speech, without its tremor."""
    found = mean_spectrum(predicted, frames), mean_spectrum(own, frames)
    if found[0] is None or found[1] is None:
        return torch.full((predicted.shape[1],), DEFAULT_GAIN)
    frequency = torch.fft.rfftfreq(BINS, 1 / FPS)
    speech = (frequency >= SPEECH_HZ[0]) & (frequency <= SPEECH_HZ[1])
    said, shown = found[0][speech], found[1][speech]
    tremor = found[1][frequency >= TREMOR_HZ].mean(0)
    wanted = torch.maximum(shown - tremor, LEAST_SHARE * shown)
    return (wanted.sum(0) / said.sum(0).clamp_min(1e-12)).sqrt().clamp(1.0, MAX_GAIN)


def mean_spectrum(curves: Tensor, frames: Tensor) -> Tensor | None:
    """Mean periodogram [BINS / 2 + 1, L] of curves [N, L] without their trends; None where no run is long enough.

    Hann windows of WINDOW frames that follow each other, half overlapping (Welch 1967); frames: [N], in order.
    """
    borders = (frames.diff() != 1).nonzero()[:, 0] + 1
    found = []
    for run in curves.tensor_split(borders):
        length = min(WINDOW, len(run))
        if length >= LEAST_WINDOW:
            found += [_periodogram(part.T) for part in run.unfold(0, length, WINDOW // 2)]
    return torch.stack(found).mean(0) if found else None


def _periodogram(part: Tensor) -> Tensor:
    """[BINS / 2 + 1, L] of [n, L]."""
    time = torch.linspace(-1, 1, len(part))[:, None]
    level = part - part.mean(0)
    level = level - time * (time * level).sum(0) / time.square().sum()
    window = torch.hann_window(len(part), periodic=False)[:, None]
    return torch.fft.rfft(level * window, BINS, dim=0).abs().square() / window.square().sum()
