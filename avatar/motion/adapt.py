"""The generic encoder made one person's: their lips, their lag, their blinks, their way of moving."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.bundle import Habits
from avatar.core.eyes import are_shut, count_blinks
from avatar.core.lips import CURVES, read_lips
from avatar.core.motion_space import MotionSpace, load_space
from avatar.core.take import Track
from avatar.motion.behaviour import DRIFT, slope_on, without_drift
from avatar.motion.decoder import Rows, Speaker, pack_speaker, solve
from avatar.motion.encoder import Encoder, load_encoder, to_whole_frames
from avatar.motion.features import USUAL, compute
from avatar.motion.inputs import gather, heard_articulation
from avatar.motion.postnet import calibrate
from avatar.motion.practice import practise
from avatar.motion.settings import Calibration
from avatar.motion.walk import listen

MOST_LAG = 8  # frames
PRACTICE = 0.1  # weight of practice with synthesized speech against everything else
MOST_FRAMES = 20000  # learned from; of longer clips every second, third... frame
MOOD, LEAST_MOOD = 1 / 16, 20  # of the clip, and in frames: what spreads lips more slowly is not speech
LIPS_ALONE = 1e-3  # cm that a mode of the lids may move lips
LEAST_TO_MEASURE, MEASURED = 150, 0.25  # frames; share of them that the reach is measured on
WANTED_REACH, USUAL_REACH, MOST_REACH = 0.9, 1.3, 1.7  # of the person's own range of lip opening
USUAL_BLINKS = (0.25, 0.2)  # a second, seconds each: where the clip shows none


@torch.no_grad()
def adapt(
    audio: Tensor,
    track: Track,
    *,
    fps: float,
    frames: list[int],
    seed: int,
    encoder: Encoder | None = None,
    calibration: Calibration = "regression",
) -> tuple[dict[str, Tensor], Habits]:
    """Adapt the packaged encoder, or another, to the sound [n] and track of a clip, learning from `frames` only.

    Returns: the tensors of the speech model (for the avatar file), and the person's habits.
    """
    space, encoder = load_space(), encoder or load_encoder()
    features, reading = compute(audio, encoder.features), read_lips(space.basis)[:, : len(CURVES)]
    chosen = torch.tensor(frames)
    slope = lid_slope(track, chosen) * lid_modes(space)
    target = track.expression - closure(track.eyes)[:, None] * slope
    heard = gather(encoder, features)
    lag = find_lag(heard_articulation(heard)[:, 0], track, chosen)
    own = _pair(heard, without_mood(target[chosen], reading), chosen - lag)
    practice = []
    if encoder.features == USUAL:  # other features are not known of what is practised
        weight = PRACTICE * len(own.targets)
        practice = [practise(encoder, heard_articulation(own.inputs), own.targets, weight)]
    if calibration == "adversarial":
        said = [rows.inputs for rows in (own, *practice)]
        net, reach = calibrate(said, own.targets, seed=seed), 1.0
        speaker = Speaker(encoder, net, target[chosen].mean(0))
    else:
        speaker = Speaker(encoder, solve([own, *practice]), target[chosen].mean(0))
        reach = find_reach(own, practice, reading[:, 0])
    habits = Habits(
        expression_mean=track.expression[chosen].mean(0),
        expression_std=track.expression[chosen].std(0),
        lag_seconds=lag / fps,
        own=track.motion()[chosen],
        mouth_reach=reach,
        **blink_habits(track, chosen),
    )
    tensors = pack_speaker(speaker) | {"lid_slope": slope, "lip_reading": reading[:, 0].contiguous()}
    if encoder.features == USUAL:
        voice = listen(to_whole_frames(features))
        tensors["own_voice"] = voice[(chosen - lag).clamp(0, len(voice) - 1)]
    return tensors, habits


def without_mood(expression: Tensor, reading: Tensor) -> Tensor:
    """Expressions [N, K], in the order of time, without what changes slowly in them, the lips' width least of all.

    A smile spreads lips for seconds. The fewer there are, the sooner that goes together, by chance, with what is heard:
    what counts as slow goes by how much is learned from. reading: [K, 3] curves of one unit of each mode.
    """
    width = list(CURVES).index("width")
    read, along = reading[:, width : width + 1], torch.linalg.pinv(reading.T)[:, width]
    steady = without_drift(expression)
    wanted = without_drift(expression @ read, max(LEAST_MOOD, min(DRIFT, MOOD * len(expression))))
    return steady + (wanted - steady @ read) * along


def _pair(heard: Tensor, target: Tensor, heard_at: Tensor) -> Rows:
    """The frames that are learned from: inputs `heard` [T, I] at frames [N], with targets [N, K]."""
    inside = (heard_at >= 0) & (heard_at < len(heard))
    heard_at, target = heard_at[inside], target[inside]
    every = max(1, -(-len(target) // MOST_FRAMES))
    return Rows(heard[heard_at[::every]], target[::every], 1.0)


def find_reach(own: Rows, practice: list[Rows], opening: Tensor) -> float:
    """How much further the lips open than a model says that has not learned from what it hears: 1 or more.

    A model that minimizes errors says less than it would have to. Measured on the last part of the clip with a model
    that has seen only the first. opening: [K] lip opening of one unit of each mode.
    """
    count = len(own.targets)
    if count < LEAST_TO_MEASURE:
        return USUAL_REACH
    border = int(count * (1 - MEASURED))
    earlier = Rows(own.inputs[:border], own.targets[:border], own.weight)
    said = solve([earlier, *practice])(own.inputs[border:]) @ opening
    ratio = said.std() / (own.targets[border:] @ opening).std().clamp_min(1e-6)
    return float((WANTED_REACH / ratio.clamp_min(1e-3)).clamp(1.0, MOST_REACH))


def closure(eyes: Tensor) -> Tensor:
    """How far the lids are shut [T], 0 open .. 1 shut, from eyes [T, 4]."""
    return (1 - eyes[:, :2].mean(1)).clamp(0, 1)


def lid_slope(track: Track, frames: Tensor) -> Tensor:
    """How expression [K] moves with the lids: regressed, so that blinks can be taken out of it and put back."""
    return slope_on(closure(track.eyes)[frames], track.expression[frames], least=1e-3)


def lid_modes(space: MotionSpace) -> Tensor:
    """1 for modes that leave the lips alone, 0 for others [K]: what lips did in a few blinks, they did by chance."""
    moved = space.basis[:, space.lips].norm(dim=-1).mean(1)
    return (moved < LIPS_ALONE).float()


def blink_habits(track: Track, frames: Tensor) -> dict[str, float]:
    """Blinks per second and the length of one, as this person does them."""
    shut, starts = are_shut(track.eyes[frames]), count_blinks(track.eyes[frames])
    if starts == 0:
        return {"blinks_per_second": USUAL_BLINKS[0], "blink_seconds": USUAL_BLINKS[1]}
    # the lids take about as long again to fall and to rise as they are more than half shut
    return {
        "blinks_per_second": min(1.0, starts * track.fps / len(frames)),
        "blink_seconds": float(min(0.5, max(0.12, 2 * float(shut.sum()) / starts / track.fps))),
    }


def find_lag(heard: Tensor, track: Track, frames: Tensor) -> int:
    """Frames by which the picture is later than the sound, where the opening that is heard [T] fits the lips best."""
    points, (upper, lower) = track.landmarks[..., :2], CURVES["opening"]
    seen = (points[:, upper] - points[:, lower]).norm(dim=-1)
    frames = frames[(frames >= MOST_LAG) & (frames < min(len(heard), len(seen)) - MOST_LAG)]
    if len(frames) < 4 * MOST_LAG:
        return 0
    lags = range(-MOST_LAG, MOST_LAG + 1)
    scores = torch.stack([torch.corrcoef(torch.stack([heard[frames - lag], seen[frames]]))[0, 1] for lag in lags])
    # neighbouring lags are nearly as good: a small lag is believed only for a clear gain
    scores = scores - 0.004 * torch.tensor(list(lags)).abs()
    return lags[int(scores.nan_to_num(-1).argmax())]
