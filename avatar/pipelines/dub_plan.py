"""Which filmed frame each frame of a dubbed film shows, and how head and mouth move in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar
from avatar.core.eyes import eyelid_closure
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, load_space, resample
from avatar.core.take import Take
from avatar.motion.behaviour import speech_residual

KEPT_REASONS = ("not among the most informative seconds", "caption in the picture", "the lips do not follow the sound")
"""Spans that training leaves out and that can be dubbed all the same."""
FADE_SECONDS = 0.2  # in which the mouth goes over between filmed and drawn
TURN_WITHIN = 3.0  # s at either end of the footage in which it turns, where the head is calmest


@dataclass(frozen=True)
class Plan:
    """A dubbed film, frame by frame."""

    shown: Tensor  # [N] int64, frames of the footage at the film's rate
    own: Motion  # [N] as filmed
    new: Motion  # [N] as it is to look; differs in expression alone
    weight: Tensor  # [N] 0 the frame stays as it was filmed .. 1 dubbed


def plan_dub(avatar: Avatar, take: Take, tracked: Motion, speech: Motion, fps: float, *, rest: bool) -> Plan:
    """Lay speech over footage.

    tracked: the footage's motion in the avatar's camera, at the Take's rate; speech: the motion of the sound alone, at
    25 frames/s; rest: go on to the end of the footage where the speech is shorter.
    """
    filmed, said = resample(tracked, fps), resample(speech, fps)
    count = max(len(said), len(filmed)) if rest else len(said)
    shown = order_frames(filmed, count)
    own = filmed[shown]
    residual = resample(replace(tracked, expression=_beside_speech(avatar, tracked)), fps).expression[shown]
    mouth = said.expression[torch.arange(count).clamp_max(len(said) - 1)]
    expression = mouth + residual + eyelid_closure(own.eyes)[:, None] * avatar.speech.lid_slope
    usable = usable_frames(take)[(torch.arange(len(filmed)) / fps * take.fps).long().clamp_max(take.length - 1)]
    return Plan(shown, own, replace(own, expression=expression), fade(usable[shown], fps))


def usable_frames(take: Take) -> Tensor:
    """Whether the mouth can be replaced in each frame of a Take [T] bool: a face is there, and nothing before it."""
    usable = torch.ones(take.length, dtype=torch.bool)
    for span in take.excluded:
        if span.reason not in KEPT_REASONS:
            usable[span.start : span.stop] = False
    return usable


def order_frames(filmed: Motion, count: int) -> Tensor:
    """Frames of the footage for a film of `count` frames [count] int64: forwards, and where it is too short to and fro.

    It turns where the head is calmest within the last and the first seconds: a turn at a frame is an acceleration of
    twice its speed, and hands and clothes run backwards unnoticed.
    """
    length = len(filmed)
    if count <= length:
        return torch.arange(count)
    first, last = _calmest_ends(filmed)
    there = torch.arange(first, last)
    cycle = torch.cat([there, there.flip(0) + 1])  # first .. last - 1, last .. first + 1: no frame is shown twice
    beginning = torch.arange(last)
    rounds = -(-(count - len(beginning)) // max(1, len(cycle)))
    return torch.cat([beginning, cycle.roll(-len(there)).repeat(max(0, rounds))])[:count]


def fade(usable: Tensor, fps: float) -> Tensor:
    """Weights [N] 0..1 that are 0 wherever a frame is not usable and rise to 1 beside it."""
    distance = torch.full((len(usable),), torch.inf)
    for index in (~usable).nonzero().flatten().tolist():
        reach = round(FADE_SECONDS * fps)
        part = slice(max(0, index - reach), index + reach + 1)
        near = (torch.arange(len(usable))[part] - index).abs().float()
        distance[part] = torch.minimum(distance[part], near)
    level = (distance / (FADE_SECONDS * fps)).clamp(0, 1)
    return level * level * (3 - 2 * level)


def _calmest_ends(filmed: Motion) -> tuple[int, int]:
    """The frames near the beginning and the end of the footage where head and shoulders move least."""
    place = torch.cat([filmed.translation, 10 * filmed.rotation[:, :, 2], 0.02 * filmed.torso[:, :2]], 1)  # about cm
    speed = (place[2:] - place[:-2]).norm(dim=1)
    speed = torch.cat([speed[:1], speed, speed[-1:]]) if len(speed) else torch.zeros(len(filmed))
    reach = min(round(TURN_WITHIN * filmed.fps), len(filmed) // 3)
    first = int(speed[: reach + 1].argmin())
    last = len(filmed) - 1 - int(speed.flip(0)[: reach + 1].argmin())
    return first, max(last, first + 1)


def _beside_speech(avatar: Avatar, tracked: Motion) -> Tensor:
    """What the filmed face does beside speech [T, K]: brows, smile, asymmetry; the lips' curves do not feel it."""
    own = tracked.expression - eyelid_closure(tracked.eyes)[:, None] * avatar.speech.lid_slope
    return speech_residual(own, read_lips(load_space().basis))
