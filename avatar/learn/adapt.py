"""Adaptation of the generic encoder to one person: decoder, amplitude, lag, blinks, own motion."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.avatar_file import SpeakingStyle
from avatar.core.eyes import are_shut, count_blinks, eyelid_closure
from avatar.core.lips import CURVES, read_lips
from avatar.core.motion_space import MotionSpace, load_space
from avatar.core.speech_model import Calibration, KernelRegression, PostNet, SpeechModel
from avatar.core.take import Track
from avatar.learn.postnet import train_postnet_for
from avatar.learn.regression import RegressionRows, fit_regression, in_half_precision
from avatar.learn.synthetic_samples import synthetic_rows
from avatar.motion.behaviour import DETREND_FRAMES, detrend, slope_on
from avatar.motion.encoder import Encoder, load_encoder, to_whole_frames
from avatar.motion.features import DEFAULT_FEATURES, compute
from avatar.motion.head_motion import prosody_features
from avatar.motion.regression import predict
from avatar.motion.regression_inputs import center_articulation, regression_inputs

MOST_LAG = 8  # frames
LAG_COST = 0.004  # correlation that a frame of lag must gain: neighbouring lags are nearly as good
SYNTHETIC_WEIGHT = 0.1  # of all synthetic samples against all frames of the clip (docs/figures.md)
MOST_FRAMES = 20000  # of longer clips every second, third... frame is used
DETREND_SHARE, LEAST_DETREND = 1 / 16, 20  # of the clip, and in frames: slower changes of the lips' width are smiles
LIPS_ALONE = 1e-3  # cm that a mode of the lids may move lips
LEAST_TO_MEASURE, MEASURED = 150, 0.25  # frames; share of them that the amplitude gain is measured on
WANTED_AMPLITUDE = 0.9  # of the person's own range of lip opening
DEFAULT_AMPLITUDE_GAIN, MOST_AMPLITUDE_GAIN = 1.3, 1.7  # where a clip is too short to measure; whatever is measured
DEFAULT_BLINKS = (0.25, 0.2)  # a second, seconds each: where the clip shows none


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
    """Adapt the packaged encoder, or another, to the sound [n] at 16 kHz and track of a clip, by `frames` only."""
    space, encoder = load_space(), encoder or load_encoder()
    features, reading = compute(audio, encoder.features), read_lips(space.basis)[:, : len(CURVES)]
    chosen = torch.tensor(frames)
    slope = lid_slope(track, chosen) * lid_modes(space)
    target = track.expression - eyelid_closure(track.eyes)[:, None] * slope
    inputs = regression_inputs(encoder, features)
    lag = find_lag(center_articulation(inputs)[:, 0], track, chosen)
    own = _pair(inputs, detrend_expression(target[chosen], reading), chosen - lag)
    synthetic = []
    if encoder.features == DEFAULT_FEATURES:  # synthetic samples are stored as these features
        weight = SYNTHETIC_WEIGHT * len(own.targets)
        synthetic = [synthetic_rows(encoder, center_articulation(own.inputs), own.targets, weight)]
    decoder: KernelRegression | PostNet
    if calibration == "adversarial":
        decoder, gain = train_postnet_for([rows.inputs for rows in (own, *synthetic)], own.targets, seed=seed), 1.0
    else:
        decoder = in_half_precision(fit_regression([own, *synthetic]))
        gain = estimate_amplitude_gain(own, synthetic, reading[:, 0])
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
    the clip gets shorter. reading: [K, 3] lip curves of a unit of each mode.
    """
    width = list(CURVES).index("width")
    read, along = reading[:, width : width + 1], torch.linalg.pinv(reading.T)[:, width]
    steady = detrend(expression)
    wanted = detrend(expression @ read, max(LEAST_DETREND, min(DETREND_FRAMES, DETREND_SHARE * len(expression))))
    return steady + (wanted - steady @ read) * along


def _pair(inputs: Tensor, target: Tensor, input_frames: Tensor) -> RegressionRows:
    """Training rows: inputs [T, I] at frames [N], with targets [N, K]."""
    inside = (input_frames >= 0) & (input_frames < len(inputs))
    input_frames, target = input_frames[inside], target[inside]
    every = max(1, -(-len(target) // MOST_FRAMES))
    return RegressionRows(inputs[input_frames[::every]], target[::every], 1.0)


def estimate_amplitude_gain(own: RegressionRows, synthetic: list[RegressionRows], opening: Tensor) -> float:
    """Gain that brings predicted lip opening to the person's range on unseen speech: 1 or more.

    Least squares shrinks towards the mean on inputs it was not fitted to. Measured on the last part of the clip with a
    regression fitted to the first. opening: [K] lip opening of a unit of each mode.
    """
    count = len(own.targets)
    if count < LEAST_TO_MEASURE:
        return DEFAULT_AMPLITUDE_GAIN
    border = int(count * (1 - MEASURED))
    earlier = RegressionRows(own.inputs[:border], own.targets[:border], own.weight)
    predicted = predict(fit_regression([earlier, *synthetic]), own.inputs[border:]) @ opening
    ratio = predicted.std() / (own.targets[border:] @ opening).std().clamp_min(1e-6)
    return float((WANTED_AMPLITUDE / ratio.clamp_min(1e-3)).clamp(1.0, MOST_AMPLITUDE_GAIN))


def lid_slope(track: Track, frames: Tensor) -> Tensor:
    """Change of expression [K] from open to shut eyelids, by regression: blinks are subtracted, and added again."""
    return slope_on(eyelid_closure(track.eyes)[frames], track.expression[frames], least=1e-3)


def lid_modes(space: MotionSpace) -> Tensor:
    """1 for modes that leave the lips alone, 0 for others [K]: lips move during a few blinks by chance."""
    moved = space.basis[:, space.lips].norm(dim=-1).mean(1)
    return (moved < LIPS_ALONE).float()


def measure_blinks(track: Track, frames: Tensor) -> tuple[float, float]:
    """Blinks per second, and seconds of a blink."""
    shut, starts = are_shut(track.eyes[frames]), count_blinks(track.eyes[frames])
    if starts == 0:
        return DEFAULT_BLINKS
    # the lids take about as long again to fall and to rise as they are more than half shut
    length = float(min(0.5, max(0.12, 2 * float(shut.sum()) / starts / track.fps)))
    return min(1.0, starts * track.fps / len(frames)), length


def find_lag(opening: Tensor, track: Track, frames: Tensor) -> int:
    """Frames by which the picture is later than the sound: where predicted opening [T] fits the tracked lips best."""
    points, (upper, lower) = track.landmarks[..., :2], CURVES["opening"]
    tracked = (points[:, upper] - points[:, lower]).norm(dim=-1)
    frames = frames[(frames >= MOST_LAG) & (frames < min(len(opening), len(tracked)) - MOST_LAG)]
    if len(frames) < 4 * MOST_LAG:
        return 0
    lags = range(-MOST_LAG, MOST_LAG + 1)
    pairs = [torch.stack([opening[frames - lag], tracked[frames]]) for lag in lags]
    scores = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]) - LAG_COST * torch.tensor(list(lags)).abs()
    return lags[int(scores.nan_to_num(-1).argmax())]
