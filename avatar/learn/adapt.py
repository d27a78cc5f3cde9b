"""Adaptation of the generic encoder to one person: decoder, range of lips, lag, blinks, own motion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avatar.core.avatar_file import SpeakingStyle
from avatar.core.eyes import are_shut, count_blinks, eyelid_closure
from avatar.core.lips import CURVES, read_lips
from avatar.core.motion_space import MotionSpace, load_space
from avatar.core.speech_model import Calibration, KernelRegression, LipRange, PostNet, SpeechModel
from avatar.core.take import Track
from avatar.learn.lip_range import default_lip_range, measure_lip_range
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
SYNTHETIC_WEIGHT = 0.15  # of all synthetic samples against all frames of the clip: more costs the own clip (figures.md)
MAX_FRAMES = 20000  # of longer clips every second, third... stretch is used: so many inputs take 155 MB
STRETCH = 250  # frames of it: 10 s
DETREND_SHARE, MIN_DETREND = 1 / 16, 20  # of the clip, frames: the deviation of the filter (docs/figures.md)
LIPS_ALONE = 1e-3  # cm per standard deviation: a mode that moves the lips by less is one of the lids
MEASURABLE = 150  # frames: with fewer, none can be spared to measure the range of lips by
PARTS = 4  # of the clip, each of which is predicted by a regression fitted to the others, to measure it
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
    lips = None
    if calibration == "adversarial":
        decoder = train_postnet_for([rows.inputs for rows in (own, *synthetic)], own.targets, seed=seed)
    else:
        decoder = in_half_precision(fit_person([own, *synthetic], people))
        lips = find_lip_range([own, *synthetic], people)
    voice = None
    if encoder.features == DEFAULT_FEATURES:
        prosody = prosody_features(to_whole_frames(features))
        voice = prosody[(chosen - lag).clamp(0, len(prosody) - 1)]
    weights = {name: tensor.half() for name, tensor in encoder.state_dict().items()}
    mean, opening = target[chosen].mean(0), reading[:, 0].contiguous()
    model = SpeechModel(encoder.features, weights, decoder, mean, slope, opening, voice, lips)
    blinks, length = measure_blinks(track, chosen)
    return model, SpeakingStyle(blinks, length, lag / track.fps, track.motion()[chosen])


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
    every = max(1, -(-int(inside.sum()) // MAX_FRAMES))
    used = inside & (torch.arange(len(inside)) // STRETCH % every == 0)
    frames = input_frames[used]
    return RegressionRows(inputs[frames], target[used], 1.0, frames)


def fit_person(examples: Sequence[RegressionRows], people: PeopleLips | None) -> KernelRegression:
    """The regression of a person, whose own rows are the first examples, with other people's lips in it."""
    regression = fit_regression(examples)
    return blend_people(regression, examples[0], people) if people else regression


def find_lip_range(examples: Sequence[RegressionRows], people: PeopleLips | None) -> LipRange:
    """How far the person's lips move against those predicted: of each part of the clip from the others.

    examples, people: as of `fit_person`; the person's own rows have frames.
    """
    own, *synthetic = examples
    count = len(own.targets)
    if count < MEASURABLE or own.frames is None:
        return default_lip_range(own.targets)
    predicted = torch.empty_like(own.targets)
    for part in torch.arange(count).tensor_split(PARTS):
        others = torch.ones(count, dtype=torch.bool)
        others[part] = False
        rows = RegressionRows(own.inputs[others], own.targets[others], own.weight, own.frames[others])
        predicted[part] = predict(fit_person([rows, *synthetic], people), own.inputs[part])
    return measure_lip_range(predicted, own.targets, own.frames)


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
