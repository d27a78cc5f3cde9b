"""Which filmed frame is shown when: forwards, and where the footage is too short to and fro, or on by a jump back.

A jump joins two frames whose whole pictures, heads, eyes and speeds are alike; over six frames one is morphed into the
other while both go on moving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.media import Stretch, VideoInfo, read_order, read_small
from avatar.core.motion_space import Motion
from preprocess.morph import between

TURN_WITHIN = 3.0  # s at either end of the footage in which it turns, where the head is calmest
JUMP_WITHIN = 10.0  # s at either end of the footage that a jump joins
MORPH = 6  # frames of a jump
SMALL = 8  # times smaller that pictures are compared
MOST_UNLIKE = 3.5  # usual steps of the picture between two frames that are joined: with more a morph shows
WEIGHTS = {"picture": 1.0, "head": 1.0, "speed": 5.0, "lids": 5.0, "gaze": 5.0, "open": 10.0}
"""Of a jump's cost. `open` is of the lids' distance from open: half-shut ones would be seen twice in a morph."""

Array = np.ndarray


@dataclass(frozen=True)
class Order:
    """The frames of the footage that the frames of a film show."""

    shown: Tensor  # [N] int64
    other: Tensor  # [N] int64, the frame that it is morphed into; the same where there is none
    share: Tensor  # [N] 0..1, how far

    def __len__(self) -> int:
        return len(self.shown)

    def read(self, video: Path, fps: float, start: float) -> Iterator[Array]:
        """The frames, NV12 [3 H / 2, W]; start: s in the file, of frame 0."""
        morphed = (self.share > 0).tolist()
        others = read_order(video, self.other[self.share > 0].tolist(), fps=fps, start=start)
        filmed = read_order(video, self.shown.tolist(), fps=fps, start=start)
        for frame, mixed, share in zip(filmed, morphed, self.share.tolist(), strict=True):
            yield between(frame, next(others), share) if mixed else frame


def plain(shown: Tensor) -> Order:
    """Frames without a morph."""
    return Order(shown, shown, torch.zeros(len(shown)))


def to_and_fro(filmed: Motion, count: int, part: range) -> Order:
    """Frames for a film of `count` frames: a part of the footage forwards, and where it is too short to and fro.

    It turns where the head is calmest within the last and the first seconds: a turn at a frame is an acceleration of
    twice its speed, and hands and clothes run backwards unnoticed.
    """
    if count <= len(part):
        return plain(part.start + torch.arange(count))
    first, last = _calmest_ends(filmed[slice(part.start, part.stop)])
    there = torch.arange(first, last)
    cycle = torch.cat([there, there.flip(0) + 1])  # first .. last - 1, last .. first + 1: no frame is shown twice
    beginning = torch.arange(last)
    rounds = -(-(count - len(beginning)) // max(1, len(cycle)))
    shown = torch.cat([beginning, cycle.roll(-len(there)).repeat(max(0, rounds))])[:count]
    return plain(part.start + shown)


def _calmest_ends(filmed: Motion) -> tuple[int, int]:
    """The frames near the beginning and the end of the footage where head and shoulders move least."""
    place = _place(filmed)
    speed = (place[2:] - place[:-2]).norm(dim=1)
    speed = torch.cat([speed[:1], speed, speed[-1:]]) if len(speed) else torch.zeros(len(filmed))
    reach = min(round(TURN_WITHIN * filmed.fps), len(filmed) // 3)
    first = int(speed[: reach + 1].argmin())
    last = len(filmed) - 1 - int(speed.flip(0)[: reach + 1].argmin())
    return first, max(last, first + 1)


def _place(filmed: Motion) -> Tensor:
    """Where head and shoulders are [T, 8], about in cm."""
    return torch.cat([filmed.translation, 10 * filmed.rotation[:, :, 2], 0.02 * filmed.torso[:, :2]], 1)


def loop(count: int, part: range, jump: tuple[int, int]) -> Order:
    """Frames for a film of `count` frames: a part of the footage, at `jump` from one frame back to another, and so on.

    The morph begins at the frame that is jumped from, and ends before the one that is jumped to.
    """
    leave, enter = jump
    smooth = torch.arange(1, MORPH + 1) / (MORPH + 1)
    smooth = smooth * smooth * (3 - 2 * smooth)
    shown, other, share = [torch.arange(part.start, leave)], [torch.arange(part.start, leave)], [torch.zeros(0)]
    share[0] = torch.zeros(len(shown[0]))
    rounds = -(-(count - len(shown[0])) // max(1, leave - enter + MORPH))
    for _ in range(max(0, rounds)):
        plain_part = torch.arange(enter, leave)
        shown += [torch.arange(leave, leave + MORPH), plain_part]
        other += [torch.arange(enter - MORPH, enter), plain_part]
        share += [smooth, torch.zeros(len(plain_part))]
    return Order(*(torch.cat(parts)[:count] for parts in (shown, other, share)))


def find_jump(video: Path, info: VideoInfo, filmed: Motion, part: range, start: float) -> tuple[int, int] | None:
    """The frames near a part's end and beginning that a jump joins best; None where no two are enough alike.

    filmed: the footage's motion, at the film's rate; start: s in the file, of its first frame.
    """
    reach = min(round(JUMP_WITHIN * filmed.fps), len(part) // 3)
    if reach < 2 * MORPH:
        return None
    late = range(part.stop - reach, part.stop - MORPH)
    early = range(part.start + MORPH, part.start + reach)
    from_, to = (_small(video, info, frames, filmed.fps, start) for frames in (late, early))
    usual = float((to[1:] - to[:-1]).square().mean(1).sqrt().median().clamp_min(0.1))
    squares = from_.square().mean(1)[:, None] + to.square().mean(1) - 2 * from_ @ to.T / to.shape[1]
    unlike = squares.clamp_min(0).sqrt() / usual
    cost = WEIGHTS["picture"] * unlike + _motion_cost(filmed, late, early)
    cost = torch.where(unlike <= MOST_UNLIKE, cost, torch.inf)
    best = int(cost.argmin())
    if not bool(cost.flatten()[best].isfinite()):
        return None
    return late[best // len(early)], early[best % len(early)]


def _small(video: Path, info: VideoInfo, frames: range, fps: float, start: float) -> Tensor:
    """Small pictures of frames [n, P] grey levels."""
    begin = start + (frames.start - 0.25) / fps
    stretch = Stretch(max(0.0, begin), begin + (len(frames) + 1) / fps)
    width, height = max(2, info.width // SMALL), max(2, info.height // SMALL)
    pictures = islice(read_small(video, width=width, height=height, fps=fps, stretch=stretch), len(frames))
    found = [picture.mean(-1).ravel() for picture in pictures]
    found += [found[-1]] * (len(frames) - len(found))
    return torch.from_numpy(np.stack(found)).float()


def _motion_cost(filmed: Motion, late: range, early: range) -> Tensor:
    """What a jump costs by head, speeds, lids and gaze [late, early], in usual steps."""
    place, lids, gaze = _place(filmed), filmed.eyes[:, :2], filmed.eyes[:, 2:]
    speed = torch.gradient(place, dim=0)[0]
    step = speed.norm(dim=1).median().clamp_min(1e-3)

    def apart(values: Tensor) -> Tensor:
        return torch.cdist(values[late.start : late.stop], values[early.start : early.stop])

    cost = WEIGHTS["head"] * apart(place) / step + WEIGHTS["speed"] * apart(speed) / step
    cost = cost + WEIGHTS["lids"] * apart(lids) + WEIGHTS["gaze"] * apart(gaze)
    shut = WEIGHTS["open"] * (lids.median(0).values - lids).clamp_min(0).mean(1)
    return cost + shut[late.start : late.stop, None] + shut[early.start : early.stop]
