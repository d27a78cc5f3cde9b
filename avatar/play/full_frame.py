"""The avatar's square put back into a whole frame of its source, with a seam that cannot be seen.

The frame is a still. Around the square the person in it moves as the avatar's shoulders do, less and less with the
distance, so that what is drawn and what is still meet; over a strip inside the square one fades into the other.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.core.pictures import OWN_FORMATS, open_picture

FADE = 0.06  # of the square's side, from its edge inwards
REACH = 0.5  # of the square's side, outwards: there the still's person rests
SOFTEN_PX = 9  # of the box filter over the person's matte

Array = np.ndarray


@dataclass(frozen=True)
class Stage:
    """What stays the same from frame to frame."""

    still: Array  # [H, W, 3] uint8, the torso at rest
    box: tuple[int, int, int, int]  # left, top, right, bottom of what may change, px of the still
    around: Tensor  # [1, 3, h, w] float32 of the box: the still
    blend: Tensor  # [h, w, 1] float32 of the box: 1 where the avatar shows
    follow: Tensor  # [h, w] float32 of the box: share of the shoulders' motion that the still takes part in
    square: Tensor  # [1, h, w, 2] where each px of the box lies in the avatar's square, -1..1 as for `grid_sample`
    center: tuple[float, float]  # of the square, px of the box
    scale: float  # px of the box for a px of the square


def open_stage(avatar: Avatar) -> Stage:
    """The stage of an avatar. Raises: UserError when it does not know its source's frame, or the person's matte."""
    if len(avatar.frame) == 0:
        raise UserError("the avatar does not hold its source's frame; build it again from the video")
    try:
        with open_picture(io.BytesIO(avatar.frame.numpy().tobytes()), OWN_FORMATS) as image:
            if tuple(avatar.matte.shape) != (image.height, image.width):
                raise UserError("the avatar holds no matte of its source's frame; run `avatar upgrade` on it")
            still = np.array(image.convert("RGB"))
    except ValueError as error:
        raise UserError(f"the avatar's frame of its source cannot be read ({error}); build it again") from error
    left, top, side = avatar.crop
    if side < 1 or left + side < 1 or top + side < 1 or left > still.shape[1] - 1 or top > still.shape[0] - 1:
        raise UserError("the avatar's crop lies outside of its source's frame; build it again")
    even = (len(still) // 2 * 2, still.shape[1] // 2 * 2)
    matte = avatar.matte[: even[0], : even[1]]
    return set_stage(still[: even[0], : even[1]], matte, avatar.crop, avatar.camera.size)


def set_stage(still: Array, matte: Tensor, crop: tuple[float, float, float], size: int) -> Stage:
    """Prepare pasting squares of `size` px where crop (left, top, side in px of the still) was taken from.

    still: [H, W, 3] uint8; matte: [H, W] uint8 of the person in it.
    """
    left, top, side = crop
    height, width = still.shape[:2]
    margin = REACH * side
    box = (
        max(0, int(left - margin)),
        max(0, int(top - margin)),
        min(width, int(np.ceil(left + side + margin))),
        min(height, int(np.ceil(top + side + margin))),
    )
    x = torch.arange(box[0], box[2]) + 0.5
    y = (torch.arange(box[1], box[3]) + 0.5)[:, None]
    # distances into the square from each edge; an edge that is the picture's own needs no seam
    edges = (
        (left > 1, x - left),
        (left + side < width - 1, left + side - x),
        (top > 1, y - top),
        (top + side < height - 1, top + side - y),
    )
    inside = torch.full((len(y), len(x)), torch.inf)
    for seam, distance in edges:
        inside = torch.minimum(inside, distance) if seam else inside
    blend = (inside / (FADE * side)).clamp(0, 1)
    near = (1 + (inside - FADE * side) / margin).clamp(0, 1)
    part = (slice(box[1], box[3]), slice(box[0], box[2]))
    soft = _box_filter(matte.float() / 255)[part]
    square = torch.stack(torch.broadcast_tensors((x - left) / side * 2 - 1, (y - top) / side * 2 - 1), -1)
    around = torch.from_numpy(still[part].copy()).permute(2, 0, 1)[None].float()
    center = (left + side / 2 - box[0] - 0.5, top + side / 2 - box[1] - 0.5)
    return Stage(
        still, box, around, (blend * blend * (3 - 2 * blend))[..., None], near * soft, square[None], center, side / size
    )


def _box_filter(values: Tensor) -> Tensor:
    """Mean of [H, W] over SOFTEN_PX px a side; borders mirrored."""
    pad = SOFTEN_PX // 2
    return functional.avg_pool2d(functional.pad(values[None], (pad,) * 4, mode="reflect"), SOFTEN_PX, 1)[0]


def paste(stage: Stage, picture: Array, torso: Array) -> Array:
    """Whole frame [H, W, 3] uint8 with the avatar's square [S, S, 3] uint8; torso [4] as in `Motion`."""
    left, top, right, bottom = stage.box
    frame = stage.still.copy()
    drawn = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    square = functional.grid_sample(drawn, stage.square, "bicubic", "border", align_corners=False)
    around = _follow(stage, torso)
    mixed = (around + stage.blend.permute(2, 0, 1) * (square - around))[0].permute(1, 2, 0)
    frame[top:bottom, left:right] = mixed.round().clamp(0, 255).to(torch.uint8).numpy()
    return frame


def _follow(stage: Stage, torso: Array) -> Tensor:
    """The box of the still [1, 3, h, w] after the shoulders moved."""
    height, width = stage.follow.shape
    x, y = torch.arange(width, dtype=torch.float32), torch.arange(height, dtype=torch.float32)[:, None]
    shift_x, shift_y, log_scale, roll = (float(value) for value in torso)
    dx, dy = x - (stage.center[0] + stage.scale * shift_x), y - (stage.center[1] + stage.scale * shift_y)
    cos, sin = float(np.exp(-log_scale) * np.cos(roll)), float(np.exp(-log_scale) * np.sin(roll))
    back_x, back_y = stage.center[0] + cos * dx + sin * dy, stage.center[1] - sin * dx + cos * dy
    at_x, at_y = x + stage.follow * (back_x - x), y + stage.follow * (back_y - y)
    grid = torch.stack([(2 * at_x + 1) / width - 1, (2 * at_y + 1) / height - 1], -1)[None]
    return functional.grid_sample(stage.around, grid, "bilinear", "border", align_corners=False)
