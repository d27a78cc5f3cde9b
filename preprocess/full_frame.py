"""The avatar's square put back into a whole frame of its source, with a seam that cannot be seen.

The frame is a still. Around the square the person in it moves as the avatar's shoulders do, less and less with the
distance, so that what is drawn and what is still meet; over a strip inside the square one fades into the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from preprocess.matte import Matting, refine_matte

FADE = 0.06  # of the square's side, from its edge inwards
REACH = 0.5  # of the square's side, outwards: there the still's person rests

Array = np.ndarray


@dataclass(frozen=True)
class Stage:
    """What stays the same from frame to frame."""

    still: Array  # [H, W, 3] uint8, the torso at rest
    box: tuple[int, int, int, int]  # left, top, right, bottom of what may change, px of the still
    blend: Array  # [h, w, 1] float32 of the box: 1 where the avatar shows
    follow: Array  # [h, w] float32 of the box: how much of the shoulders' motion the still takes part in
    place: Array  # [2, 3] float64: px of the avatar's square -> px of the box
    size: int  # of the square as it is drawn


def set_stage(still: Array, crop: tuple[float, float, float], size: int) -> Stage:
    """Prepare pasting squares of `size` px where crop (left, top, side in px of the still) was taken from."""
    left, top, side = crop
    height, width = still.shape[:2]
    margin = REACH * side
    box = (
        max(0, int(left - margin)),
        max(0, int(top - margin)),
        min(width, int(np.ceil(left + side + margin))),
        min(height, int(np.ceil(top + side + margin))),
    )
    x = np.arange(box[0], box[2]) + 0.5
    y = (np.arange(box[1], box[3]) + 0.5)[:, None]
    # distances into the square from each edge; an edge that is the picture's own needs no seam
    far = np.inf
    inside = np.minimum(
        np.minimum(x - left if left > 1 else far, left + side - x if left + side < width - 1 else far),
        np.minimum(y - top if top > 1 else far, top + side - y if top + side < height - 1 else far),
    ) + np.zeros((len(y), len(x)))
    blend = np.clip(inside / (FADE * side), 0, 1).astype(np.float32)
    near = np.clip(1 + (inside - FADE * side) / margin, 0, 1).astype(np.float32)
    person = _person(still)[box[1] : box[3], box[0] : box[2]].astype(np.float32) / 255
    scale = side / size
    shift = (np.array([left, top]) - box[:2]) + 0.5 * scale - 0.5
    place = np.concatenate([scale * np.eye(2), shift[:, None]], 1)
    return Stage(still, box, (blend * blend * (3 - 2 * blend))[..., None], near * cv2.blur(person, (9, 9)), place, size)


def _person(still: Array) -> Array:
    """Matte [H, W] uint8 of the person in a whole frame."""
    height, width = still.shape[:2]
    scale = 512 / max(height, width)
    even = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
    small = np.ascontiguousarray(cv2.resize(still, even, interpolation=cv2.INTER_AREA))
    network = Matting()
    matte = refine_matte(small, network(small))
    network.close()
    return cv2.resize(matte, (width, height), interpolation=cv2.INTER_LINEAR)


def paste(stage: Stage, picture: Array, torso: Array) -> Array:
    """Whole frame [H, W, 3] uint8 with the avatar's square [S, S, 3] uint8; torso [4] as in `preprocess.torso`."""
    left, top, right, bottom = stage.box
    frame = stage.still.copy()
    around = _follow(stage, torso)
    target = (right - left, bottom - top)
    square = cv2.warpAffine(picture, stage.place, target, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mixed = around + stage.blend * (square.astype(np.float32) - around)
    frame[top:bottom, left:right] = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return frame


def _follow(stage: Stage, torso: Array) -> Array:
    """The box of the still [h, w, 3] float32 after the shoulders moved."""
    left, top, right, bottom = stage.box
    scale = stage.place[0, 0]
    center = stage.place[:, :2] @ np.array([stage.size / 2 - 0.5] * 2) + stage.place[:, 2]
    x, y = np.meshgrid(np.arange(right - left, dtype=np.float32), np.arange(bottom - top, dtype=np.float32))
    dx, dy = x - center[0] - scale * torso[0], y - center[1] - scale * torso[1]
    cos, sin = np.exp(-torso[2]) * np.cos(torso[3]), np.exp(-torso[2]) * np.sin(torso[3])
    back_x, back_y = center[0] + cos * dx + sin * dy, center[1] - sin * dx + cos * dy  # where the still has it
    map_x = x + stage.follow * (back_x - x).astype(np.float32)
    map_y = y + stage.follow * (back_y - y).astype(np.float32)
    still = stage.still[top:bottom, left:right]
    return cv2.remap(still, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
