"""Speech in, motion out, in a stream: memory does not grow with length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from avatar.core.bundle import Habits
from avatar.core.motion_space import Motion
from avatar.core.recipe import Controls
from avatar.motion.adapt import closure
from avatar.motion.behaviour import Blinker, PoseWalk, apply_gains, project
from avatar.motion.decoder import CONTEXT, load_speaker
from avatar.motion.encoder import STRIDE
from avatar.motion.features import RATE, SAMPLE_RATE, LogMel

CHUNK = 50  # motion frames made at a time
FPS = RATE / STRIDE


def drive(
    tensors: dict[str, Tensor],
    habits: Habits,
    speech: Iterable[Tensor],
    *,
    fps: float,
    controls: Controls,
    seed: int,
) -> Iterator[Motion]:
    """Motion for sound [n] float32 16 kHz given in chunks of any size; `round(seconds * 25)` frames in all.

    Raises: ValueError when the avatar is not of 25 frames/s.
    """
    if fps != FPS:
        raise ValueError(f"drive works at {FPS:g} frames/s, the avatar has {fps:g}")
    generator = torch.Generator().manual_seed(seed)
    walk = PoseWalk(habits, controls.head, generator)
    blinker = Blinker(habits, controls.blink, fps, generator)
    slope = tensors["lid_slope"]
    own = habits.own.expression - closure(habits.own.eyes)[:, None] * slope
    for mouth in _mouths(tensors, speech):
        mouth = project(mouth, own, controls.lle)
        shut = blinker.take(len(mouth))
        pose = walk.take(len(mouth))
        expression = apply_gains(mouth, tensors["mean"], habits.mouth_reach, controls) + shut[:, None] * slope
        eyes = torch.cat([(1 - shut)[:, None].expand(-1, 2), pose.gaze], 1)
        yield Motion(expression, eyes, pose.rotation, pose.translation, pose.torso, fps)


def _mouths(tensors: dict[str, Tensor], speech: Iterable[Tensor]) -> Iterator[Tensor]:
    """Expression [T, K] of the mouth, chunk by chunk, each seen with enough sound before and after it."""
    speaker = load_speaker(tensors)
    feature = LogMel()
    held = torch.zeros(0, feature.width)
    before = 0  # motion frames at the start of `held` that were already given out
    samples = 0
    given = 0
    for pcm in speech:
        samples += len(pcm)
        held = torch.cat([held, feature.push(pcm)])
        while len(held) // STRIDE >= before + CHUNK + CONTEXT:
            window = held[: (before + CHUNK + CONTEXT) * STRIDE]
            yield speaker(window)[before : before + CHUNK]
            given += CHUNK
            keep = min(CONTEXT, before + CHUNK)
            held = held[(before + CHUNK - keep) * STRIDE :]
            before = keep
    held = torch.cat([held, feature.flush()])
    left = max(1, round(samples / SAMPLE_RATE * FPS)) - given
    if left <= 0:
        return
    missing = (before + left) * STRIDE - len(held)
    if missing > 0:
        last = held[-1:] if len(held) else torch.zeros(1, feature.width)
        held = torch.cat([held, last.expand(missing, -1)])
    yield speaker(held)[before : before + left]
