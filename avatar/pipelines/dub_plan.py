"""Which filmed frame each frame of a dubbed film shows, and how head and mouth move in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar
from avatar.core.eyes import eyelid_closure
from avatar.core.lips import read_lips
from avatar.core.media import probe
from avatar.core.motion_space import Motion, interpolate, load_space, resample
from avatar.core.take import Take
from avatar.motion.behaviour import speech_residual
from avatar.pipelines.footage_order import Order, find_jump, loop, plain, to_and_fro

KEPT_REASONS = ("not among the most informative seconds", "caption in the picture", "the lips do not follow the sound")
"""Spans that training leaves out and that can be dubbed all the same."""
FADE_SECONDS = 0.2  # in which the mouth goes over between filmed and drawn


@dataclass(frozen=True)
class Plan:
    """A dubbed film, frame by frame."""

    order: Order  # [N] frames of the footage at the film's rate
    own: Motion  # [N] as filmed
    new: Motion  # [N] as it is to look; differs in expression alone
    weight: Tensor  # [N] 0 the frame stays as it was filmed .. 1 dubbed
    impossible: Tensor  # [N] bool, frames that are to be dubbed and cannot be

    def __len__(self) -> int:
        return len(self.order)


@dataclass(frozen=True)
class Footage:
    """A clip of the avatar's person."""

    video: Path
    take: Take
    tracked: Motion  # in the avatar's camera, at the Take's rate

    @property
    def start(self) -> float:
        """Seconds of the video before the Take's first frame."""
        return self.take.first_source_frame / self.take.fps

    def usable(self, fps: float) -> Tensor:
        """Whether the mouth can be replaced in each frame of another rate [T] bool."""
        ratio = self.take.fps / fps
        at = torch.arange(max(1, round(len(self.tracked) / ratio))) * ratio
        return usable_frames(self.take)[at.long().clamp_max(self.take.length - 1)]


def plan_dub(avatar: Avatar, footage: Footage, speech: Motion, fps: float, *, rest: bool, calm: bool = False) -> Plan:
    """Lay speech over footage.

    speech: the motion of the sound alone, at 25 frames/s; rest: go on to the end of the footage where the speech is
    shorter; calm: show only a stretch in which the mouth can be replaced throughout.
    """
    said, usable = resample(speech, fps), footage.usable(fps)
    count = max(len(said), len(usable)) if rest else len(said)
    part = longest(usable) if calm else range(len(usable))
    mouth = said.expression[torch.arange(count).clamp_max(len(said) - 1)]
    return plan_mouth(avatar, footage, mouth, order_frames(footage, count, part, fps), fps)


def plan_mouth(avatar: Avatar, footage: Footage, mouth: Tensor, order: Order, fps: float) -> Plan:
    """Give the frames of an order these mouths: expressions [N, K] of speech alone."""
    filmed, slope = resample(footage.tracked, fps), avatar.speech.lid_slope
    beside = resample(replace(footage.tracked, expression=_beside_speech(avatar, footage.tracked)), fps)
    own, residual = (interpolate(one[order.shown], one[order.other], order.share) for one in (filmed, beside))
    expression = mouth + residual.expression + eyelid_closure(own.eyes)[:, None] * slope
    usable = footage.usable(fps)[order.shown]
    return Plan(order, own, replace(own, expression=expression), fade(usable, fps), ~usable)


def plan_segments(
    avatar: Avatar, footage: Footage, times: Sequence[tuple[float, float]], said: Sequence[Motion], fps: float
) -> Plan:
    """Lay speeches over parts of footage, from one second to another; beside them nothing is drawn.

    Within FADE_SECONDS of either end of a part the expression goes over from the filmed one; where its speech is over
    the mouth rests.
    """
    count = len(footage.usable(fps))
    mouth, share = torch.zeros(count, said[0].expression.shape[1]), torch.zeros(count)
    for (start, end), one in zip(times, said, strict=True):
        part = range(round(start * fps), min(count, round(end * fps)))
        at = torch.arange(len(part))
        mouth[part.start : part.stop] = resample(one, fps).expression[at.clamp_max(len(resample(one, fps)) - 1)]
        level = ((torch.minimum(at, len(part) - 1 - at) + 1) / (FADE_SECONDS * fps)).clamp(0, 1)
        share[part.start : part.stop] = level * level * (3 - 2 * level)
    plan = plan_mouth(avatar, footage, mouth, plain(torch.arange(count)), fps)
    expression = plan.own.expression + share[:, None] * (plan.new.expression - plan.own.expression)
    weight = plan.weight * (2 * share).clamp_max(1)  # drawn wholly before the mouth has gone half way
    new, impossible = replace(plan.new, expression=expression), plan.impossible & (share > 0)
    return replace(plan, new=new, weight=weight, impossible=impossible)


def order_frames(footage: Footage, count: int, part: range, fps: float) -> Order:
    """A part of the footage, as long as a film: looped by a jump where two frames are alike, else to and fro."""
    filmed = resample(footage.tracked, fps)
    if count > len(part):
        jump = find_jump(footage.video, probe(footage.video), filmed, part, footage.start)
        if jump:
            return loop(count, part, jump)
    return to_and_fro(filmed, count, part)


def longest(usable: Tensor) -> range:
    """The longest stretch of frames that are usable [T] bool."""
    edges = torch.diff(torch.cat([torch.zeros(1), usable.float(), torch.zeros(1)]))
    starts, stops = ((edges == sign).nonzero().flatten() for sign in (1, -1))
    best = int((stops - starts).argmax()) if len(starts) else -1
    return range(int(starts[best]), int(stops[best])) if best >= 0 else range(len(usable))


def usable_frames(take: Take) -> Tensor:
    """Whether the mouth can be replaced in each frame of a Take [T] bool: a face is there, and nothing before it."""
    usable = torch.ones(take.length, dtype=torch.bool)
    for span in take.excluded:
        if span.reason not in KEPT_REASONS:
            usable[span.start : span.stop] = False
    return usable


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


def _beside_speech(avatar: Avatar, tracked: Motion) -> Tensor:
    """What the filmed face does beside speech [T, K]: brows, smile, asymmetry; the lips' curves do not feel it."""
    own = tracked.expression - eyelid_closure(tracked.eyes)[:, None] * avatar.speech.lid_slope
    return speech_residual(own, read_lips(load_space().basis))
