"""Motion as ARKit-style blendshape curves: read off the mesh, as far as landmarks tell them."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.motion_space import Motion, MotionSpace

# Each: the change of a distance along an axis (0 x, 1 y, 2 z) between two landmarks that makes the curve 1, in cm.
# Landmarks are of MediaPipe's mesh; "left" is the person's own.
_DISTANCES: dict[str, tuple[int, int, int, float]] = {
    "jawOpen": (13, 152, 1, 2.5),
    "mouthRollLower": (14, 17, 1, -0.5),
    "mouthRollUpper": (0, 13, 1, -0.4),
    "mouthSmileLeft": (291, 386, 1, -0.8),
    "mouthSmileRight": (61, 159, 1, -0.8),
    "mouthFrownLeft": (291, 386, 1, 0.6),
    "mouthFrownRight": (61, 159, 1, 0.6),
    "mouthStretchLeft": (0, 291, 0, 0.8),
    "mouthStretchRight": (0, 61, 0, -0.8),
    "mouthUpperUpLeft": (270, 386, 1, -0.5),
    "mouthUpperUpRight": (40, 159, 1, -0.5),
    "mouthLowerDownLeft": (405, 386, 1, 1.2),
    "mouthLowerDownRight": (181, 159, 1, 1.2),
    "browInnerUp": (9, 6, 1, 0.6),
    "browOuterUpLeft": (300, 386, 1, 0.6),
    "browOuterUpRight": (70, 159, 1, 0.6),
    "browDownLeft": (285, 386, 1, -0.5),
    "browDownRight": (55, 159, 1, -0.5),
}
_WIDTH, _CLOSED, _PUCKER_CM = (61, 291), (13, 14), 1.6


def arkit_curves(motion: Motion, space: MotionSpace) -> dict[str, Tensor]:
    """Curves [T], each 0..1, under ARKit's names; shapes that landmarks do not show are left out."""
    moved = torch.einsum("tk,kvc->tvc", motion.expression, space.basis)

    def change(first: int, second: int, axis: int) -> Tensor:
        return moved[:, second, axis] - moved[:, first, axis]

    curves = {name: change(a, b, axis) / full for name, (a, b, axis, full) in _DISTANCES.items()}
    narrowing = -change(*_WIDTH, 0) / _PUCKER_CM
    curves["mouthPucker"] = narrowing
    curves["mouthFunnel"] = torch.minimum(narrowing.clamp_min(0), change(*_CLOSED, 1).clamp_min(0)) * 2
    curves["mouthClose"] = curves["jawOpen"] - change(*_CLOSED, 1) / 2.5
    curves["eyeBlinkLeft"], curves["eyeBlinkRight"] = 1 - motion.eyes[:, 0], 1 - motion.eyes[:, 1]
    across, down = motion.eyes[:, 2:].T
    for side, inward in (("Left", -across), ("Right", across)):
        curves[f"eyeLookIn{side}"], curves[f"eyeLookOut{side}"] = inward, -inward
        curves[f"eyeLookDown{side}"], curves[f"eyeLookUp{side}"] = down, -down
    return {name: values.clamp(0, 1) for name, values in curves.items()}
