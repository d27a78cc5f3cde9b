"""Photometric registration: the pose that makes what is drawn most like a picture, everything else frozen.

The trackers of AD-NeRF and its successors fit the pose of test frames to the picture too, so that their figures leave
out how well a pose is known; figures with and without it tell blur of the renderer from error of the track.
Gauss-Newton with numerical derivatives (Lucas & Kanade 1981), which works for any renderer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.geometry import exponential
from avatar.core.motion_space import Motion, concatenate

Draw = Callable[[Motion], Tensor]
"""Pictures [T, S, S, 3] uint8 of T frames of a motion."""

TURN, MOVE, SHIFT, SCALE = 0.004, 0.05, 0.5, 0.002
"""Steps of the derivatives: radians, cm, px, the torso's log-scale and roll. Each moves edges by about half a pixel."""
STEPS = torch.tensor([TURN] * 3 + [MOVE] * 2 + [4 * MOVE] + [SHIFT] * 2 + [SCALE] * 2)
ROUNDS = 4  # of Gauss-Newton, at most
POOL = 2  # px that are averaged: derivatives then hold over more than a pixel, and noise is halved
OUTLIER = 20.0  # grey levels: errors beyond count less (Geman & McClure 1987), as those of hair and hands
DAMPING = 1e-3  # of the mean diagonal: what does not change the picture stays
FARTHEST = 12.0  # steps, in all: six pixels; farther off it is not this minimum


def register(motion: Motion, truth: Tensor, draw: Draw) -> Motion:
    """The motion of one frame with the pose of head and torso that draws a picture [S, S, 3] uint8 best.

    Expression and eyes stay. A pose is taken only where the error falls, so that the result is never worse.
    """
    target, moved = _small(truth[None])[0], torch.zeros(len(STEPS))
    drawn = _small(draw(motion))[0]
    for _ in range(ROUNDS):
        here = _moved(motion, moved)
        around = _small(draw(concatenate([_moved(motion, moved + step) for step in torch.eye(len(STEPS))])))
        jacobian, error = (around - drawn).flatten(1), (target - drawn).flatten()
        weight = 1 / (1 + (error / OUTLIER).square()).square()
        normal = (jacobian * weight) @ jacobian.T
        normal += DAMPING * normal.diagonal().mean() * torch.eye(len(normal))
        step = torch.linalg.solve(normal, (jacobian * weight) @ error)
        tried = (moved + step).clamp(-FARTHEST, FARTHEST)
        better = _small(draw(_moved(motion, tried)))[0]
        if (target - better).square().mean() >= (target - drawn).square().mean():
            return here
        moved, drawn = tried, better
    return _moved(motion, moved)


def _moved(motion: Motion, steps: Tensor) -> Motion:
    """One frame, its head turned and moved and its torso shifted, scaled and rolled by so many `STEPS` [10]."""
    turn, move, torso = (steps * STEPS).split([3, 3, 4])
    return replace(
        motion,
        rotation=exponential(turn[None]) @ motion.rotation,
        translation=motion.translation + move,
        torso=motion.torso + torso,
    )


def _small(pictures: Tensor) -> Tensor:
    """Pictures [T, S, S, 3] uint8 averaged over `POOL` px [T, 3, s, s] float."""
    return functional.avg_pool2d(pictures.permute(0, 3, 1, 2).float(), POOL)
