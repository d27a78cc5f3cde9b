"""Motion as ARKit-style blendshape curves, measured on the mesh, and as the columns of a Live Link Face recording."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.landmarks import (
    CHIN,
    GLABELLA,
    LEFT_BROW_INNER,
    LEFT_BROW_OUTER,
    LEFT_CORNER,
    LEFT_EYE,
    LEFT_LOWER_LIP,
    LEFT_UPPER_LIP,
    LIP_BOTTOM,
    LIP_TOP,
    LOWER_LIP,
    NOSE_BRIDGE,
    RIGHT_BROW_INNER,
    RIGHT_BROW_OUTER,
    RIGHT_CORNER,
    RIGHT_EYE,
    RIGHT_LOWER_LIP,
    RIGHT_UPPER_LIP,
    UPPER_LIP,
)
from avatar.core.motion_space import Motion, MotionSpace

# Each: the change of a distance along an axis (0 x, 1 y, 2 z) between two landmarks that makes the curve 1, in cm.
# ARKit's left is the person's own, which is the right of the picture that landmarks are named by.
DISTANCES: dict[str, tuple[int, int, int, float]] = {
    "jawOpen": (UPPER_LIP, CHIN, 1, 2.5),
    "mouthRollLower": (LOWER_LIP, LIP_BOTTOM, 1, -0.5),
    "mouthRollUpper": (LIP_TOP, UPPER_LIP, 1, -0.4),
    "mouthSmileLeft": (RIGHT_CORNER, RIGHT_EYE.upper, 1, 0.8),
    "mouthSmileRight": (LEFT_CORNER, LEFT_EYE.upper, 1, 0.8),
    "mouthFrownLeft": (RIGHT_CORNER, RIGHT_EYE.upper, 1, -0.6),
    "mouthFrownRight": (LEFT_CORNER, LEFT_EYE.upper, 1, -0.6),
    "mouthStretchLeft": (LIP_TOP, RIGHT_CORNER, 0, 0.8),
    "mouthStretchRight": (LIP_TOP, LEFT_CORNER, 0, -0.8),
    "mouthUpperUpLeft": (RIGHT_UPPER_LIP, RIGHT_EYE.upper, 1, 0.5),
    "mouthUpperUpRight": (LEFT_UPPER_LIP, LEFT_EYE.upper, 1, 0.5),
    "mouthLowerDownLeft": (RIGHT_LOWER_LIP, RIGHT_EYE.upper, 1, -1.2),
    "mouthLowerDownRight": (LEFT_LOWER_LIP, LEFT_EYE.upper, 1, -1.2),
    "browInnerUp": (GLABELLA, NOSE_BRIDGE, 1, 0.6),
    "browOuterUpLeft": (RIGHT_BROW_OUTER, RIGHT_EYE.upper, 1, 0.6),
    "browOuterUpRight": (LEFT_BROW_OUTER, LEFT_EYE.upper, 1, 0.6),
    "browDownLeft": (RIGHT_BROW_INNER, RIGHT_EYE.upper, 1, -0.5),
    "browDownRight": (LEFT_BROW_INNER, LEFT_EYE.upper, 1, -0.5),
}
_SIDES = ("Left", "Right")
ARKIT_SHAPES = (
    *(f"eye{what}{side}" for side in _SIDES for what in (
        "Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide",
    )),
    "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRight",
    "mouthLeft", *(f"mouth{what}{side}" for what in ("Smile", "Frown", "Dimple", "Stretch") for side in _SIDES),
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    *(f"mouth{what}{side}" for what in ("Press", "LowerDown", "UpperUp") for side in _SIDES),
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""All of ARKit's blendshapes, in the order of Live Link Face."""
EYE_WIDTH, EYE_RADIUS = 3.0, 1.2  # cm, corner to corner and of the ball, of a usual adult
GAZE_SCALE = 4  # gaze 1 is an iris a quarter of the eye's width off the middle (`preprocess.fit.measure_eyes`)
_WIDTH, _OPENING, _PUCKER_CM = (LEFT_CORNER, RIGHT_CORNER), (UPPER_LIP, LOWER_LIP), 1.6


def distance_readings(space: MotionSpace) -> Tensor:
    """What one unit of each mode adds to each curve of DISTANCES: [D, K]."""
    rows = [(space.basis[:, b, axis] - space.basis[:, a, axis]) / full for a, b, axis, full in DISTANCES.values()]
    return torch.stack(rows)


def arkit_curves(motion: Motion, space: MotionSpace) -> dict[str, Tensor]:
    """Curves [T], each 0..1, under ARKit's names; shapes that landmarks do not show are left out.

    space: the motion's own. Heads are held still; lids and gaze are the motion's `eyes`.
    Raises: UserError when the motion is of another space.
    """
    if motion.expression.shape[1] != space.modes:
        raise UserError(
            f"the motion has {motion.expression.shape[1]} modes, its motion space {space.modes}; make it again"
        )
    moved = torch.einsum("tk,kvc->tvc", motion.expression, space.basis)

    def change(first: int, second: int, axis: int) -> Tensor:
        return moved[:, second, axis] - moved[:, first, axis]

    curves = {name: change(a, b, axis) / full for name, (a, b, axis, full) in DISTANCES.items()}
    narrowing = -change(*_WIDTH, 0) / _PUCKER_CM
    curves["mouthPucker"] = narrowing
    curves["mouthFunnel"] = torch.minimum(narrowing.clamp_min(0), change(*_OPENING, 1).clamp_min(0)) * 2
    curves["mouthClose"] = curves["jawOpen"] - change(*_OPENING, 1) / 2.5
    curves["eyeBlinkRight"], curves["eyeBlinkLeft"] = 1 - motion.eyes[:, 0], 1 - motion.eyes[:, 1]
    across, down = motion.eyes[:, 2:].T
    for side, inward in (("Left", -across), ("Right", across)):
        curves[f"eyeLookIn{side}"], curves[f"eyeLookOut{side}"] = inward, -inward
        curves[f"eyeLookDown{side}"], curves[f"eyeLookUp{side}"] = down, -down
    return {name: values.clamp(0, 1) for name, values in curves.items()}


def livelink_columns(motion: Motion, space: MotionSpace) -> dict[str, Tensor]:
    """The 61 columns [T] of a Live Link Face recording: ARKIT_SHAPES, 0 where landmarks do not show one, and angles.

    Angles are in radians about ARKit's axes (x to the viewer's right, y up, z out of the face; the head's is
    Ry(yaw) Rx(pitch) Rz(roll)): yaw is positive to the person's own left, pitch down, roll to their right shoulder.
    Those of the eyes are relative to the head. space: the motion's own.
    """
    curves = arkit_curves(motion, space)
    nothing = torch.zeros(len(motion))
    columns = {name[0].upper() + name[1:]: curves.get(name, nothing) for name in ARKIT_SHAPES}
    flip = torch.tensor([1.0, -1.0, -1.0])  # from OpenCV's axes
    turn = flip[:, None] * motion.rotation * flip
    yaw, roll = torch.atan2(turn[:, 0, 2], turn[:, 2, 2]), torch.atan2(turn[:, 1, 0], turn[:, 1, 1])
    angles = {"Head": (yaw, torch.asin((-turn[:, 1, 2]).clamp(-1, 1)), roll)}
    across, down = torch.asin(motion.eyes[:, 2:].clamp(-1, 1) / GAZE_SCALE * EYE_WIDTH / EYE_RADIUS).T
    angles |= {f"{side}Eye": (across, down, nothing) for side in _SIDES}
    for part, values in angles.items():
        columns |= {f"{part}{name}": value for name, value in zip(("Yaw", "Pitch", "Roll"), values, strict=True)}
    return columns
