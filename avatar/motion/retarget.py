"""Blendshapes of other programs, as ARKit names them -> motion of a person."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avatar.core.avatar_file import SpeakingStyle
from avatar.core.blendshapes import DISTANCES, EYE_RADIUS, EYE_WIDTH, GAZE_SCALE, distance_readings
from avatar.core.eyes import eyelid_closure
from avatar.core.geometry import exponential, mean_rotation
from avatar.core.motion_space import Motion, MotionSpace
from avatar.core.speech_model import SpeechModel
from avatar.motion.behaviour import resting
from avatar.motion.expression import ELSEWHERE, NATURAL, RIDGE, natural_shapes

SQUINT, WIDE = 0.3, -0.25  # lid closure at full strength
FARTHEST = 7.0  # deviations of the person's own expressions, with those of all people, that a frame may reach
LEFT, RIGHT = "Left", "Right"
AXES = ("Yaw", "Pitch")


def motion_of_blendshapes(
    curves: Mapping[str, Tensor], fps: float, speech: SpeechModel, style: SpeakingStyle, space: MotionSpace
) -> Motion:
    """Motion [T] of a person for curves [T], 0..1, by ARKit's names; what is missing stays at rest.

    headYaw, headPitch, headRoll, rad, as Live Link Face has them, turn the head about the person's mean pose by what
    they differ from their own mean; shoulders stay still.
    """
    count = len(next(iter(curves.values())))
    values = {
        name: curves.get(name, torch.zeros(count)).float().clamp(0, 1) for name in (*natural_shapes(), *DISTANCES)
    }
    shown = _expression(values, {name for name in DISTANCES if name in curves}, space)
    own = style.own.expression - eyelid_closure(style.own.eyes)[:, None] * speech.lid_slope
    shown = _within(shown, own)
    lids = {
        side: (values[f"eyeBlink{side}"] + SQUINT * values[f"eyeSquint{side}"] + WIDE * values[f"eyeWide{side}"])
        for side in (LEFT, RIGHT)
    }
    shut = torch.stack([lids[RIGHT], lids[LEFT]], 1)  # the picture's left eye is the person's right
    expression = resting(own, speech.lip_reading) + shown + shut.mean(1).clamp_max(1)[:, None] * speech.lid_slope
    eyes = torch.cat([(1 - shut).clamp(0, 1), _gaze(curves, values)], 1)
    rotation = mean_rotation(style.own.rotation) @ _turns(curves, count)
    still = (style.own.translation.mean(0).expand(count, 3), style.own.torso.mean(0).expand(count, 4))
    return Motion(expression, eyes, rotation, *still, fps, space.id)


def _expression(values: Mapping[str, Tensor], measured: set[str], space: MotionSpace) -> Tensor:
    """Expression [T, K] as `mixture_direction` makes it, of many frames at once."""
    natural = natural_shapes()
    weights = torch.stack([values[name] for name in natural], 1)
    start = NATURAL * weights @ torch.stack(list(natural.values()))
    start[:, :2] = 0
    reading = distance_readings(space).clone()
    reading[:, :2] = 0
    wanted = torch.stack([values[name] for name in DISTANCES], 1)
    named = torch.tensor([name in measured for name in DISTANCES])
    missing = torch.where(named, wanted - start @ reading.T, torch.zeros(()))
    weighted = reading * torch.where(named, 1.0, ELSEWHERE)[:, None]
    gram = weighted.T @ weighted + RIDGE * torch.eye(space.modes)
    return start + torch.linalg.solve(gram, (missing @ weighted).T).T


def _within(shown: Tensor, own: Tensor) -> Tensor:
    """Expressions [T, K], drawn back where they are farther out than people go."""
    values, vectors = torch.linalg.eigh(torch.cov(own.T))
    distance = ((shown @ vectors).square() / (values.clamp_min(0) + 0.5)).sum(1, keepdim=True).sqrt()
    return shown * (FARTHEST / distance.clamp_min(1e-6)).clamp_max(1)


def _gaze(curves: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
    """Gaze x, y [T, 2], -1..1: of both eyes, by their angles (rad) where there are some, else by the shapes."""
    if "leftEyeYaw" in curves and any(curves[f"{side}Eye{axis}"].any() for side in ("left", "right") for axis in AXES):
        angles = [(curves[f"leftEye{axis}"] + curves[f"rightEye{axis}"]).float() / 2 for axis in AXES]
        return (torch.stack(angles, 1).sin() * EYE_RADIUS / EYE_WIDTH * GAZE_SCALE).clamp(-1, 1)
    across = values["eyeLookOutLeft"] - values["eyeLookInLeft"] + values["eyeLookInRight"] - values["eyeLookOutRight"]
    down = sum(values[f"eyeLookDown{side}"] - values[f"eyeLookUp{side}"] for side in (LEFT, RIGHT))
    return torch.stack([across, torch.as_tensor(down)], 1).clamp(-2, 2) / 2


def _turns(curves: Mapping[str, Tensor], count: int) -> Tensor:
    """Head turns [T, 3, 3] against their mean, in the head's own frame."""
    yaw, pitch, roll = (curves.get(f"head{axis}", torch.zeros(count)).float() for axis in ("Yaw", "Pitch", "Roll"))
    axes = torch.eye(3)
    turn = (
        exponential(yaw[:, None] * axes[1])
        @ exponential(pitch[:, None] * axes[0])
        @ exponential(roll[:, None] * axes[2])
    )
    flip = torch.tensor([1.0, -1.0, -1.0])  # to OpenCV's axes
    turn = flip[:, None] * turn * flip
    return mean_rotation(turn).T @ turn
