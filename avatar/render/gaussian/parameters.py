"""What training changes of splats, and what it needs to know about them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class SplatParameters:
    """Splat blendshapes in float32 with what belongs to them, changed in place; K modes, D features, N splats."""

    base: Tensor  # [10 N] planar, see `cuda_ext.ops.ATTRIBUTES`
    deltas: Tensor  # [D, 10 N]
    prior: Tensor  # [K + 4, 10 N] the first deltas of expression and eyes: how the MotionSpace moves the splats
    quaternions: Tensor  # [N, 4]
    rigidity: Tensor  # [N] 0 torso .. 1 head
    learned: Tensor  # [N] 1 where training changes a splat, 0 where it stays as it was made
    irises: Tensor  # [2, 3] cm, head frame
    mesh: Tensor  # [M, 3] cm, head frame: points of the face
    rest_rotation: Tensor  # [3, 3]
    rest_translation: Tensor  # [3] cm
    feature_mean: Tensor  # [D]
    feature_scale: Tensor  # [D]

    @property
    def count(self) -> int:
        return self.quaternions.shape[0]


def copy_parameters(tensors: dict[str, Tensor], device: torch.device) -> SplatParameters:
    """Parameters from tensors by their names. Raises: KeyError when one is missing."""
    return SplatParameters(*(tensors[field.name].clone().to(device) for field in fields(SplatParameters)))
