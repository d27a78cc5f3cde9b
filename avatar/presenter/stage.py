"""A frame without the person: backdrop, slide and logo, as bytes of the encoder; made once for as long as it stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatar.presenter.behind import Behind
from avatar.presenter.brand import Brand
from avatar.presenter.layouts import Arrangement
from avatar.provenance.mark import BLOCK, Box, Marker
from cuda_ext import ops

Array = np.ndarray


@dataclass(frozen=True)
class Still:
    """A frame that stays, without the person."""

    rgb: Array  # [H, W, 3] uint8
    coded: Array  # [3 H / 2, W] uint8, NV12, with the mark


class Backdrop:
    """Frames of one film without the person."""

    def __init__(self, brand: Brand, behind: Behind, size: tuple[int, int], number: int | None) -> None:
        """size: width and height, px; number: of the invisible mark; None: frames are not marked."""
        self.width, self.height, self.number = *size, number
        self._empty, self._logo = behind.frame(*size), brand.logo(*size)

    def still(self, slide: Image.Image, placed: Arrangement, *, quick: bool = False) -> Still:
        """A frame with a slide. quick: scaled less well, for a frame of a move."""
        picture = self._empty.copy()
        size = max(1, round(placed.slide_width)), max(1, round(placed.slide_height))
        if placed.slide_opacity > 0:
            way = Image.Resampling.BILINEAR if quick else Image.Resampling.LANCZOS
            shown = slide if slide.size == size else slide.resize(size, way)
            at = round(placed.slide_left), round(placed.slide_top)
            if placed.slide_opacity < 1:
                shown = Image.blend(picture.crop((*at, at[0] + size[0], at[1] + size[1])), shown, placed.slide_opacity)
            picture.paste(shown, at)
        if self._logo:
            picture.paste(self._logo[0], self._logo[1], self._logo[0])
        rgb = np.asarray(picture)
        coded = coded_picture(rgb)
        return Still(rgb, coded if self.number is None else self.marker().add(coded))

    def marker(self, box: Box | None = None) -> Marker:
        """What marks a part of these frames."""
        assert self.number is not None, "the caller asks where frames are marked"
        return Marker(self.number, self.height, self.width, box)


def coded_picture(rgb: Array) -> Array:
    """RGB [H, W, 3] uint8, H and W even, as NV12 [3 H / 2, W]."""
    height, width, _ = rgb.shape
    side = max(height, width)
    square = torch.zeros(side, side, 3, dtype=torch.uint8)
    square[:height, :width] = torch.tensor(rgb)
    nothing = torch.zeros(4, side, side)
    coded = ops.to_nv12(nothing[:3], nothing[3:], square).numpy()
    return np.concatenate([coded[:height, :width], coded[side : side + height // 2, :width]])


def lay(frame: Array, part: Array, left: int, top: int) -> None:
    """Put NV12 [3 h / 2, w] into a frame [3 H / 2, W] at even px; what lies outside of the frame is left out."""
    height, width = frame.shape[0] * 2 // 3, frame.shape[1]
    high, wide = part.shape[0] * 2 // 3, part.shape[1]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + wide), min(height, top + high)
    if x0 >= x1 or y0 >= y1:
        return
    columns = slice(x0 - left, x1 - left)
    frame[y0:y1, x0:x1] = part[y0 - top : y1 - top, columns]
    frame[height + y0 // 2 : height + y1 // 2, x0:x1] = part[high + (y0 - top) // 2 : high + (y1 - top) // 2, columns]


def crop(rgb: Array, left: int, top: int, side: int) -> Tensor:
    """A square [S, S, 3] uint8 of a picture [H, W, 3]; black where it reaches over the edge."""
    height, width, _ = rgb.shape
    found = np.zeros((side, side, 3), np.uint8)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    if x0 < x1 and y0 < y1:
        found[y0 - top : y1 - top, x0 - left : x1 - left] = rgb[y0:y1, x0:x1]
    return torch.from_numpy(found)


def inside(corner: tuple[int, int], size: tuple[int, int], frame: tuple[int, int]) -> Box | None:
    """The part of a picture (left and top, width and height, px) that lies in a frame; None where it is too small."""
    (left, top), (wide, high), (width, height) = corner, size, frame
    box = max(0, left), max(0, top), min(width, left + wide), min(height, top + high)
    return box if min(box[2] - box[0], box[3] - box[1]) >= 2 * BLOCK else None
