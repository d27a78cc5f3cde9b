"""The manner of speaking of another recording, put on a person."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from avatar.core.bundle import Habits
from avatar.core.geometry import mean_rotation
from avatar.core.motion_space import Motion
from avatar.motion.behaviour import resting


def restyle(
    speech: dict[str, Tensor], habits: Habits, other: dict[str, Tensor], theirs: Habits
) -> tuple[dict[str, Tensor], Habits]:
    """A person's speech model and habits, with the manner of another recording, of theirs or of somebody else.

    Lips, brows, blinks, head and shoulders move as in the recording; closed lips, usual pose and usual gaze stay the
    person's. speech, habits: of the person; other, theirs: what `avatar.motion.adapt` makes of the recording with the
    person's encoder.
    """
    reading = speech["lip_reading"]
    shift = resting(habits.own.expression, reading) - resting(theirs.own.expression, reading)
    moved = {"decoder.offset": other["decoder.offset"] + shift, "mean": other["mean"] + shift}
    decoder = {name: tensor for name, tensor in other.items() if name.startswith(("decoder.", "own_voice"))}
    own = recenter(theirs.own, habits.own)
    return speech | decoder | moved, replace(
        theirs,
        own=replace(own, expression=theirs.own.expression + shift),
        expression_mean=theirs.expression_mean + shift,
        lag_seconds=habits.lag_seconds,
    )


def recenter(motion: Motion, usual: Motion) -> Motion:
    """Head, shoulders and gaze of a motion, about the means of another."""
    turn = mean_rotation(usual.rotation) @ mean_rotation(motion.rotation).T
    gaze = motion.eyes[:, 2:] + usual.eyes[:, 2:].mean(0) - motion.eyes[:, 2:].mean(0)
    return replace(
        motion,
        rotation=turn @ motion.rotation,
        translation=motion.translation + usual.translation.mean(0) - motion.translation.mean(0),
        torso=motion.torso + usual.torso.mean(0) - motion.torso.mean(0),
        eyes=torch.cat([motion.eyes[:, :2], gaze], 1),
    )
