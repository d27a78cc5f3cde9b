"""Where one scene's motion ends, the next one's begins: the head comes to rest, and all goes on without a jump."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from avatar.core.geometry import exponential, to_vector
from avatar.core.motion_space import Motion, concatenate

HEAD_RATE, FACE_RATE, LID_RATE = 6.0, 15.0, 30.0  # 1 / s at which offsets of head, expression, lids and gaze decay
RESTING, SLOWEST = (
    14,
    0.25,
)  # frames of the pause after a scene in which the head slows down; to what share of its speed
FRAMES = 60  # in which they do: what is left of a head's offset then is 1e-5 of it


def meet(before: Motion | None, motion: Motion) -> Motion:
    """A scene's motion that goes on where the last frames of the one before it were; the rest of it stays as it is.

    The offset between the two decays as a critically damped spring does, from the offset and the difference of speeds
    at the join, so that neither position nor speed of the head jumps (inertialization, Bollo 2018).
    """
    if before is None or not len(before) or not len(motion):
        return motion
    count = min(FRAMES, len(motion))
    head, rest = motion[slice(0, count)], motion[slice(count, None)]
    last, earlier = (
        before[slice(len(before) - 1, None)],
        before[slice(max(0, len(before) - 2), max(1, len(before) - 1))],
    )
    time = torch.arange(count, dtype=torch.float32)[:, None]

    def gone(offset: Tensor, speed: Tensor, rate: float) -> Tensor:
        """What is left [T, n] of an offset [1, n], whose change a frame is `speed`."""
        each = rate / motion.fps
        return (offset + (speed + each * offset) * time) * torch.exp(-each * time)

    def follow(name: str, rate: float, *, speeds: bool) -> Tensor:
        now, old, older = (getattr(one, name) for one in (head, last, earlier))
        speed = (old - older) - (now[1:2] - now[:1] if count > 1 else 0 * now[:1]) if speeds else 0 * now[:1]
        start = old + (old - older if speeds else 0) - now[:1]
        return now + gone(start, speed, rate)

    turned = to_vector(last.rotation @ head.rotation[:1].mT)
    before_speed = to_vector(last.rotation @ earlier.rotation.mT)
    own_speed = to_vector(head.rotation[1:2] @ head.rotation[:1].mT) if count > 1 else torch.zeros(1, 3)
    offset = gone(turned + before_speed, before_speed - own_speed, HEAD_RATE)
    eyes = follow("eyes", LID_RATE, speeds=False)
    eyes = torch.cat([eyes[:, :2].clamp(0, 1), eyes[:, 2:]], 1)
    joined = replace(
        head,
        expression=follow("expression", FACE_RATE, speeds=False),
        eyes=eyes,
        rotation=exponential(offset) @ head.rotation,
        translation=follow("translation", HEAD_RATE, speeds=True),
        torso=follow("torso", HEAD_RATE, speeds=True),
    )
    return concatenate([joined, rest])


def rest(motion: Motion) -> Motion:
    """A scene's motion whose head and shoulders slow down in its last frames, as a speaker's do between two thoughts.

    They go the same way, sampled at times that pass ever slower, so that no join comes amid a quick turn.
    """
    count = min(RESTING, len(motion) - 1)
    if count < 1:
        return motion
    share = torch.arange(1, count + 1) / count
    speeds = 1 - (1 - SLOWEST) * share * share * (3 - 2 * share)
    start = len(motion) - 1 - count
    times = start + speeds.cumsum(0)
    before = times.long().clamp(max=len(motion) - 2)
    part = (times - before)[:, None]

    def between(values: Tensor) -> Tensor:
        slowed = torch.lerp(values[before], values[before + 1], part)
        return torch.cat([values[: start + 1], slowed])

    turn = to_vector(motion.rotation[before + 1] @ motion.rotation[before].mT)
    rotation = torch.cat([motion.rotation[: start + 1], exponential(part * turn) @ motion.rotation[before]])
    return replace(motion, rotation=rotation, translation=between(motion.translation), torso=between(motion.torso))
