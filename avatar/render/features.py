"""What renderers are conditioned on: a short vector a frame, about unit variance over the training clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.geometry import to_vector
from avatar.core.motion_space import Motion

POSE_FEATURES = 6  # the last of the features: head rotation and position
EYE_FEATURES = 4  # before them: lids and gaze
LEAST_POSE = 0.02  # rad, cm: a head that hardly moves must not be amplified to inputs of full size
LEAST_DEVIATION = 1e-3  # of expression and eyes: an input that never changed in the clip must not be divided by zero


def raw_features(motion: Motion, rest_rotation: Tensor) -> Tensor:
    """[T, D]: expression, eyes, head rotation against rest (rad), head position (cm).

    rest_rotation: [3, 3], or [T, 3, 3] where each frame is of another person.
    """
    turn = to_vector(motion.rotation @ rest_rotation.mT)
    return torch.cat([motion.expression, motion.eyes, turn, motion.translation], 1)


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


def with_common(scaling: Scaling, mean: Tensor, scale: Tensor) -> Scaling:
    """A scaling with another mean and scale [K + 4] for expression and eyes: those over many people."""
    pose = slice(-POSE_FEATURES, None)
    return Scaling(
        scaling.rest_rotation, torch.cat([mean, scaling.mean[pose]]), torch.cat([scale, scaling.scale[pose]])
    )


def fit_scaling(motion: Motion, rest_rotation: Tensor) -> Scaling:
    """The scaling of a clip's features, from its training frames."""
    raw = raw_features(motion, rest_rotation)
    scale = raw.std(0).clamp_min(LEAST_DEVIATION)
    scale[-POSE_FEATURES:] = scale[-POSE_FEATURES:].clamp_min(LEAST_POSE)
    return Scaling(rest_rotation, raw.mean(0), scale)
