"""The generic encoder made one person's: their lips, their lag, their blinks, their way of moving."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.bundle import Habits
from avatar.core.motion_space import MotionSpace, load_space
from avatar.core.take import Track
from avatar.motion.decoder import Decoder, Speaker, pack_speaker
from avatar.motion.distort import distort
from avatar.motion.encoder import STRIDE, encode, load_encoder
from avatar.motion.features import compute

MOST_LAG = 8  # frames
CROP = 48
BATCH = 8
STEPS = 240  # at most
STEPS_PER_FRAME = 0.53  # a short clip is learned by heart sooner
DECODER_RATE = 2e-3
ENCODER_RATE = 2e-4
SHUT = 0.5  # mean lid openness of a blink
UPPER_LIP, LOWER_LIP, LEFT_CORNER, RIGHT_CORNER = 13, 14, 61, 291
LIP_WEIGHT = 3.0
LEAST_TO_MEASURE, MEASURED = 150, 0.25  # frames; share of them that the reach is measured on
WANTED_REACH, USUAL_REACH, MOST_REACH = 0.9, 1.3, 1.7  # of the person's own range of lip opening
USUAL_BLINKS = (0.25, 0.2)  # a second, seconds each: where the clip shows none


def adapt(audio: Tensor, track: Track, *, fps: float, frames: list[int], seed: int) -> tuple[dict[str, Tensor], Habits]:
    """Adapt the packaged encoder to the sound [n] and track of a clip, learning from `frames` only.

    Returns: the tensors of the speech model (for the avatar file), and the person's habits.
    """
    space = load_space()
    features = compute(audio)
    chosen = torch.tensor(frames)
    slope = lid_slope(track, chosen)
    target = track.expression - closure(track.eyes)[:, None] * slope
    lag = find_lag(features, track, chosen)
    mean, std = target[chosen].mean(0), target[chosen].std(0).clamp_min(1e-3)
    pairs = _align(features, (target - mean) / std, chosen, lag)
    steps = max(20, min(STEPS, round(STEPS_PER_FRAME * len(frames))))
    speaker = _fit(pairs, space, mean, std, seed, steps)
    habits = Habits(
        expression_mean=track.expression[chosen].mean(0),
        expression_std=track.expression[chosen].std(0),
        lag_seconds=lag / fps,
        own=track.motion()[chosen],
        mouth_reach=find_reach(pairs, space, mean, std, seed, steps // 2),
        **blink_habits(track, chosen),
    )
    return pack_speaker(speaker) | {"lid_slope": slope}, habits


def find_reach(
    pairs: tuple[Tensor, Tensor, Tensor], space: MotionSpace, mean: Tensor, std: Tensor, seed: int, steps: int
) -> float:
    """How much further the lips open than a model says that has not learned from what it hears: 1 or more.

    A model that minimizes errors says less than it would have to. Measured on the last part of the clip with a model
    that has seen only the first.
    """
    features, target, mask = pairs
    frames = torch.nonzero(mask).squeeze(1)
    if len(frames) < LEAST_TO_MEASURE:
        return USUAL_REACH
    border = int(frames[int(len(frames) * (1 - MEASURED))])
    earlier, later = mask.clone(), mask.clone()
    earlier[border:] = False
    later[:border] = False
    speaker = _fit((features, target, earlier), space, mean, std, seed, steps)
    with torch.no_grad():
        said = (speaker(features)[: len(target)] - mean) / std
    opening = lip_reader(space)[:, 0] * std
    ratio = (said @ opening)[later].std() / (target @ opening)[later].std().clamp_min(1e-6)
    return float((WANTED_REACH / ratio.clamp_min(1e-3)).clamp(1.0, MOST_REACH))


def closure(eyes: Tensor) -> Tensor:
    """How far the lids are shut [T], 0 open .. 1 shut, from eyes [T, 4]."""
    return (1 - eyes[:, :2].mean(1)).clamp(0, 1)


def lid_slope(track: Track, frames: Tensor) -> Tensor:
    """How expression [K] moves with the lids: regressed, so that blinks can be taken out of it and put back."""
    shut = closure(track.eyes)[frames]
    expression = track.expression[frames]
    centered = shut - shut.mean()
    return (centered @ (expression - expression.mean(0))) / centered.square().sum().clamp_min(1e-3)


def blink_habits(track: Track, frames: Tensor) -> dict[str, float]:
    """Blinks per second and the length of one, as this person does them."""
    shut = track.eyes[frames, :2].mean(1) < SHUT
    starts = int((shut[1:] & ~shut[:-1]).sum())
    if starts == 0:
        return {"blinks_per_second": USUAL_BLINKS[0], "blink_seconds": USUAL_BLINKS[1]}
    # the lids take about as long again to fall and to rise as they are more than half shut
    return {
        "blinks_per_second": min(1.0, starts * track.fps / len(frames)),
        "blink_seconds": float(min(0.5, max(0.12, 2 * float(shut.sum()) / starts / track.fps))),
    }


def find_lag(features: Tensor, track: Track, frames: Tensor) -> int:
    """Frames by which the picture is later than the sound, where the generic encoder fits the lips best."""
    with torch.no_grad():
        heard = encode(load_encoder(), features)[:, -5]
    points = track.landmarks[..., :2]
    seen = (points[:, UPPER_LIP] - points[:, LOWER_LIP]).norm(dim=-1)
    frames = frames[(frames >= MOST_LAG) & (frames < min(len(heard), len(seen)) - MOST_LAG)]
    if len(frames) < 4 * MOST_LAG:
        return 0
    lags = range(-MOST_LAG, MOST_LAG + 1)
    scores = torch.stack([torch.corrcoef(torch.stack([heard[frames - lag], seen[frames]]))[0, 1] for lag in lags])
    # neighbouring lags are nearly as good: a small lag is believed only for a clear gain
    scores = scores - 0.004 * torch.tensor(list(lags)).abs()
    return lags[int(scores.nan_to_num(-1).argmax())]


def _align(features: Tensor, target: Tensor, frames: Tensor, lag: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features [T * 4, D], targets [T, K] and mask [T] on the sound's clock."""
    count = min(len(features) // STRIDE, len(target))
    index = torch.arange(count) + lag
    inside = (index >= 0) & (index < len(target))
    index = index.clamp(0, len(target) - 1)
    usable = torch.zeros(len(target), dtype=torch.bool)
    usable[frames] = True
    return features[: count * STRIDE], target[index], usable[index] & inside


def _fit(
    pairs: tuple[Tensor, Tensor, Tensor], space: MotionSpace, mean: Tensor, std: Tensor, seed: int, steps: int
) -> Speaker:
    features, target, mask = pairs
    generator = torch.Generator().manual_seed(seed)
    encoder = load_encoder()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = Decoder(space.modes)
        rates = [DECODER_RATE, ENCODER_RATE]
        groups = [{"params": model.parameters()} for model in (decoder, encoder)]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
        read_lips = lip_reader(space) * std[:, None]
        for _ in range(steps):
            inputs, wanted, seen = _crops(features, target, mask, generator)
            hidden, articulation, _ = encoder(inputs)
            predicted = decoder(torch.cat([hidden, articulation], 1))
            loss = _loss(predicted, wanted, seen, read_lips)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Speaker(encoder, decoder, mean, std)


def _crops(features: Tensor, target: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    length = min(CROP, len(target))
    inputs, wanted, seen = [], [], []
    for _ in range(BATCH):
        start = int(torch.randint(len(target) - length + 1, (1,), generator=generator))
        window = features[start * STRIDE : (start + length) * STRIDE]
        # half of what is heard is another voice in another room: the lips must not depend on this one
        heard = distort(window, generator) if torch.rand(1, generator=generator) < 0.5 else window
        inputs.append(heard.T)
        wanted.append(target[start : start + length].T)
        seen.append(mask[start : start + length].float())
    return torch.stack(inputs), torch.stack(wanted), torch.stack(seen)


def lip_reader(space: MotionSpace) -> Tensor:
    """[K, 2]: lip opening and mouth width (cm) of one unit of each mode."""
    opening = space.basis[:, LOWER_LIP, 1] - space.basis[:, UPPER_LIP, 1]
    width = space.basis[:, RIGHT_CORNER, 0] - space.basis[:, LEFT_CORNER, 0]
    return torch.stack([opening, width], 1)


def _loss(predicted: Tensor, wanted: Tensor, seen: Tensor, read_lips: Tensor) -> Tensor:
    error = functional.smooth_l1_loss(predicted, wanted, reduction="none").mean(1)
    scale = (wanted.transpose(1, 2) @ read_lips).flatten(0, 1).std(0).clamp_min(1e-3)
    lips = ((predicted - wanted).transpose(1, 2) @ read_lips / scale).square().mean(2)
    return ((error + LIP_WEIGHT * lips) * seen).sum() / seen.sum().clamp_min(1)
