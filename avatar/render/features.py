"""What renderers are conditioned on: a short vector a frame, about unit variance over the training clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.geometry import to_vector
from avatar.core.motion_space import Motion

POSE_FEATURES = 6  # the last of what all renderers have: head rotation and position
EYE_FEATURES = 4  # before them: lids and gaze
TORSO_FEATURES = 4  # of splats, behind them
LEAST_POSE = 0.02  # rad, cm: a head that hardly moves must not be amplified to inputs of full size
LEAST_TORSO = 1e-3  # rad; half a pixel at 512 px: nor one whose shoulders hardly move
MOST_TORSO = 4.0  # deviations: beyond, shoulders that move further than they did in the clip change no more
LEAST_DEVIATION = 1e-3  # of expression and eyes: an input that never changed in the clip must not be divided by zero
USUAL_EYES = (0.2, 0.2, 0.15, 0.15)  # deviations of people who speak: lids, gaze; of expressions it is 1
USUAL_POSE = (0.08, 0.08, 0.08, 1.0, 1.0, 1.0)  # rad, cm
USUAL_TORSO = (0.01, 0.01, 0.01, 0.01)  # rad, log-scale
USUAL_FRAMES = 10  # that the usual deviations count as: one frame has none of its own, a few show too little


def raw_features(motion: Motion, rest_rotation: Tensor) -> Tensor:
    """[T, D]: expression, eyes, head rotation against rest (rad), head position (cm).

    rest_rotation: [3, 3], or [T, 3, 3] where each frame is of another person.
    """
    turn = to_vector(motion.rotation @ rest_rotation.mT)
    return torch.cat([motion.expression, motion.eyes, turn, motion.translation], 1)


def torso_features(motion: Motion, focal: float | Tensor) -> Tensor:
    """[T, 4]: the torso's shift as an angle (px of a focal length in px), its log-scale, its roll (rad).

    focal: of the picture that the motion is for; [T] where each frame is of another one.
    """
    return torch.cat([motion.torso[:, :2] / torch.as_tensor(focal).reshape(-1, 1), motion.torso[:, 2:]], 1)


@dataclass(frozen=True)
class Scaling:
    """What brings raw features to zero mean and unit variance; of several people, each with a leading dimension."""

    rest_rotation: Tensor  # [3, 3]
    mean: Tensor  # [D]
    scale: Tensor  # [D]

    def to(self, device: torch.device) -> Scaling:
        """The same on another device."""
        return Scaling(self.rest_rotation.to(device), self.mean.to(device), self.scale.to(device))

    def __call__(self, motion: Motion) -> Tensor:
        """Features [T, D] of a motion, on the scaling's device."""
        return (raw_features(motion, self.rest_rotation) - self.mean) / self.scale

    def with_torso(self, motion: Motion, focal: float | Tensor) -> Tensor:
        """Features [T, D] with those of `torso_features` behind the others, where the scaling has them."""
        head = raw_features(motion, self.rest_rotation)
        width, known = self.mean.shape[-1], head.shape[1]
        raw = torch.cat([head, torso_features(motion, focal)], 1)[:, :width]
        scaled = (raw - self.mean) / self.scale
        return torch.cat([scaled[:, :known], scaled[:, known:].clamp(-MOST_TORSO, MOST_TORSO)], 1)


def with_common(scaling: Scaling, mean: Tensor, scale: Tensor) -> Scaling:
    """A scaling with another mean and scale [K + 4] for expression and eyes: those over many people."""
    pose = slice(-POSE_FEATURES, None)
    return Scaling(
        scaling.rest_rotation, torch.cat([mean, scaling.mean[pose]]), torch.cat([scale, scaling.scale[pose]])
    )


def fit_scaling(motion: Motion, rest_rotation: Tensor, focal: float | None = None) -> Scaling:
    """The scaling of a clip's features, from its training frames; with those of the torso where a focal is given."""
    raw = raw_features(motion, rest_rotation)
    usual = raw.new_tensor([1.0] * motion.expression.shape[1] + [*USUAL_EYES, *USUAL_POSE])
    scale = _deviation(raw, usual).clamp_min(LEAST_DEVIATION)
    scale[-POSE_FEATURES:] = scale[-POSE_FEATURES:].clamp_min(LEAST_POSE)
    mean = raw.mean(0)
    if focal is not None:
        torso = torso_features(motion, focal)
        own = _deviation(torso, raw.new_tensor(USUAL_TORSO)).clamp_min(LEAST_TORSO)
        mean, scale = torch.cat([mean, torso.mean(0)]), torch.cat([scale, own])
    return Scaling(rest_rotation, mean, scale)


def _deviation(values: Tensor, usual: Tensor) -> Tensor:
    """The standard deviation [D] of values [T, D], drawn towards the usual one the more, the fewer frames there are."""
    frames = len(values)
    variance = values.var(0, correction=0)
    return ((frames * variance + USUAL_FRAMES * usual.square()) / (frames + USUAL_FRAMES)).sqrt()
