"""Adaptation of the generic encoder to one person: decoder, amplitude, lag, blinks, own motion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avatar.core.avatar_file import SpeakingStyle
from avatar.core.eyes import are_shut, count_blinks, eyelid_closure
from avatar.core.lips import CURVES, read_lips
from avatar.core.motion_space import MotionSpace, load_space
from avatar.core.speech_model import Calibration, KernelRegression, PostNet, SpeechModel
from avatar.core.take import Track
from avatar.learn.people_lips import PeopleLips, blend_people, load_people_lips
from avatar.learn.postnet import train_postnet_for
from avatar.learn.regression import RegressionRows, fit_regression, in_half_precision
from avatar.learn.synthetic_samples import synthetic_rows
from avatar.motion.behaviour import DETREND_FRAMES, detrend, slope_on
from avatar.motion.encoder import Encoder, load_encoder, to_whole_frames
from avatar.motion.features import DEFAULT_FEATURES, compute
from avatar.motion.head_motion import prosody_features
from avatar.motion.regression import predict
from avatar.motion.regression_inputs import lip_articulation, regression_inputs
from avatar.motion.sync import open_sync

SEEN = 0.3  # confidence of the tracker from which a frame counts in the lag
SYNTHETIC_WEIGHT = 0.1  # of all synthetic samples against all frames of the clip: more costs the own clip (figures.md)
MAX_FRAMES = 20000  # of longer clips every second, third... frame is used: so many inputs take 155 MB
DETREND_SHARE, MIN_DETREND = 1 / 16, 20  # of the clip, frames: the deviation of the filter (docs/figures.md)
LIPS_ALONE = 1e-3  # cm per standard deviation: a mode that moves the lips by less is one of the lids
MEASURABLE, MEASURED = 150, 0.25  # frames: with fewer, none can be spared to measure the gain; the share that is
TARGET_AMPLITUDE = 0.9  # of the person's own range of lip opening: the rest of it is not predicted, and would be noise
DEFAULT_GAIN = 1.3  # of clips too short to measure: those of 8 and 20 s measure 1.26 and 1.18, shorter ones shrink more
MAX_GAIN = 1.7  # what asks for more has too little speech in its last part to measure by
DEFAULT_BLINKS = (0.25, 0.2)  # per second, seconds each, where the clip shows none: 15 a minute, as people do at rest


@torch.no_grad()
def adapt(
    audio: Tensor,
    track: Track,
    *,
    frames: list[int],
    seed: int,
    encoder: Encoder | None = None,
    calibration: Calibration = "regression",
) -> tuple[SpeechModel, SpeakingStyle]:
    """Adapt the packaged encoder, or another, to the sound [n] at 16 kHz and track of a clip.

    frames: indices of the frames to fit on, in the order of time; seed: of the post-net's training, the regression
    draws nothing.
    """
    lag = find_lag(audio, track, torch.tensor(frames))
    space, encoder = load_space(), encoder or load_encoder()
    people = load_people_lips(encoder)
    features, reading = compute(audio, encoder.features), read_lips(space.basis)[:, : len(CURVES)]
    chosen = torch.tensor(frames)
    slope = lid_slope(track, chosen) * lid_modes(space)
    target = track.expression - eyelid_closure(track.eyes)[:, None] * slope
    inputs = regression_inputs(encoder, features)
    own = _pair(inputs, detrend_expression(target[chosen], reading), chosen - lag)
    synthetic = []
    if encoder.features == DEFAULT_FEATURES:  # synthetic samples are stored as these features
        weight = SYNTHETIC_WEIGHT * len(own.targets)
        synthetic = [synthetic_rows(encoder, lip_articulation(own.inputs), own.targets, weight)]
    decoder: KernelRegression | PostNet
    if calibration == "adversarial":
        decoder, gain = train_postnet_for([rows.inputs for rows in (own, *synthetic)], own.targets, seed=seed), 1.0
    else:
        decoder = in_half_precision(fit_person([own, *synthetic], people))
        gain = estimate_amplitude_gain([own, *synthetic], people, reading[:, 0])
    voice = None
    if encoder.features == DEFAULT_FEATURES:
        prosody = prosody_features(to_whole_frames(features))
        voice = prosody[(chosen - lag).clamp(0, len(prosody) - 1)]
    weights = {name: tensor.half() for name, tensor in encoder.state_dict().items()}
    model = SpeechModel(
        encoder.features, weights, decoder, target[chosen].mean(0), slope, reading[:, 0].contiguous(), voice
    )
    blinks, length = measure_blinks(track, chosen)
    return model, SpeakingStyle(blinks, length, lag / track.fps, track.motion()[chosen], gain)


def detrend_expression(expression: Tensor, reading: Tensor) -> Tensor:
    """Expressions [N, K], in the order of time, high-pass filtered, the lips' width at a higher cutoff.

    A smile spreads lips for seconds, and in a short clip correlates with the sound by chance; so the cutoff rises as
    the clip gets shorter. reading: [K, 3] lip curves (cm) of a unit of each mode.
    """
    width = list(CURVES).index("width")
    read, along = reading[:, width : width + 1], torch.linalg.pinv(reading.T)[:, width]
    detrended = detrend(expression)
    frames = max(MIN_DETREND, min(DETREND_FRAMES, DETREND_SHARE * len(expression)))
    target = detrend(expression @ read, frames)
    return detrended + (target - detrended @ read) * along


def _pair(inputs: Tensor, target: Tensor, input_frames: Tensor) -> RegressionRows:
    """Training rows: inputs [T, I] at frames [N], with targets [N, K]."""
    inside = (input_frames >= 0) & (input_frames < len(inputs))
    input_frames, target = input_frames[inside], target[inside]
    every = max(1, -(-len(target) // MAX_FRAMES))
    return RegressionRows(inputs[input_frames[::every]], target[::every], 1.0)


def fit_person(examples: Sequence[RegressionRows], people: PeopleLips | None) -> KernelRegression:
    """The regression of a person, whose own rows are the first examples, with other people's lips in it."""
    regression = fit_regression(examples)
    return blend_people(regression, examples[0], people) if people else regression


def estimate_amplitude_gain(examples: Sequence[RegressionRows], people: PeopleLips | None, opening: Tensor) -> float:
    """Gain that brings predicted lip opening to the person's range on unseen speech: 1 or more.

    Least squares shrinks towards the mean on inputs it was not fitted to. Measured on the last part of the clip with a
    regression fitted to the first; 1.3 for clips of under six seconds. examples, people: as of `fit_person`; opening:
    [K] lip opening (cm) of a unit of each mode.
    """
    own, *synthetic = examples
    count = len(own.targets)
    if count < MEASURABLE:
        return DEFAULT_GAIN
    border = int(count * (1 - MEASURED))
    earlier = RegressionRows(own.inputs[:border], own.targets[:border], own.weight)
    predicted = predict(fit_person([earlier, *synthetic], people), own.inputs[border:]) @ opening
    ratio = predicted.std() / (own.targets[border:] @ opening).std().clamp_min(1e-6)
    return float((TARGET_AMPLITUDE / ratio.clamp_min(1e-3)).clamp(1.0, MAX_GAIN))


def lid_slope(track: Track, frames: Tensor) -> Tensor:
    """Change of expression [K] from open to shut eyelids, by regression over frames [N] of a track.

    With it blinks are subtracted before the fit, and those of `avatar.motion.behaviour` are added.
    """
    return slope_on(eyelid_closure(track.eyes)[frames], track.expression[frames], least=1e-3)


def lid_modes(space: MotionSpace) -> Tensor:
    """1 for modes that leave the lips alone, 0 for others [K]: lips move during a few blinks by chance."""
    moved = space.basis[:, space.lips].norm(dim=-1).mean(1)
    return (moved < LIPS_ALONE).float()


def measure_blinks(track: Track, frames: Tensor) -> tuple[float, float]:
    """Blinks per second, at most 1, and seconds of a blink, .12 to .5, in frames [N] of a track."""
    shut, starts = are_shut(track.eyes[frames]), count_blinks(track.eyes[frames])
    if starts == 0:
        return DEFAULT_BLINKS
    # the lids take about as long again to fall and to rise as they are more than half shut
    length = float(min(0.5, max(0.12, 2 * float(shut.sum()) / starts / track.fps)))
    return min(1.0, starts * track.fps / len(frames)), length


def find_lag(audio: Tensor, track: Track, frames: Tensor) -> int:
    """Frames by which the picture is later than the sound [n] at 16 kHz, against real people's, in `frames` [N].

    By the sync expert; 0 where it is not sure that the lips follow the sound. 0 in Takes that were put in time.
    """
    chosen = torch.zeros(len(track), dtype=torch.bool)
    chosen[frames] = True
    found = open_sync(audio)(track.expression, chosen & (track.confidence > SEEN)).whole
    return round(-found.offset * track.fps) if found.follows else 0
