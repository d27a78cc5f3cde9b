"""Style transfer: the manner of speaking of another recording, applied to a person."""

from __future__ import annotations

from dataclasses import replace

import torch

from avatar.core.avatar_file import SpeakingStyle
from avatar.core.geometry import mean_rotation
from avatar.core.motion_space import Motion
from avatar.core.speech_model import SpeechModel
from avatar.motion.behaviour import resting


def restyle(
    speech: SpeechModel, style: SpeakingStyle, other: SpeechModel, theirs: SpeakingStyle
) -> tuple[SpeechModel, SpeakingStyle]:
    """A person's speech model and style, with the manner of another recording, of this or of another person.

    Lips, brows, blinks, head and shoulders move as in the recording; closed lips, mean pose and mean gaze stay the
    person's. other, theirs: what `avatar.learn.adapt` makes of the recording with the person's encoder.
    """
    reading = speech.lip_reading
    shift = resting(style.own.expression, reading) - resting(theirs.own.expression, reading)
    moved = replace(
        speech,
        decoder=replace(other.decoder, offset=other.decoder.offset + shift),
        mean=other.mean + shift,
        voice=speech.voice if other.voice is None else other.voice,
    )
    own = recenter(theirs.own, style.own)
    return moved, replace(
        theirs, own=replace(own, expression=theirs.own.expression + shift), lag_seconds=style.lag_seconds
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
