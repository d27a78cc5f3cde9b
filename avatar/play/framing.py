"""The person's square in a larger picture, standing on its lower edge."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar.play.composite import PAINT, Pixels
from avatar.scene.place import Place
from avatar.scene.still import Shape

BEND = 0.2  # of the square's side, from its left and right edges inwards: there shoulders that it cuts off fall away
FALL = 1.1  # times the height that they reach at the edge
SOLID = 0.3  # coverage of what is a shoulder


class Framing:
    """Puts drawn squares into pictures of one shape."""

    def __init__(self, shape: Shape, place: Place) -> None:
        """shape: height and width px of the pictures."""
        self.shape, self.side = shape, place.side(shape)
        left, top = place.corner(shape)
        self._rows = slice(max(0, top), min(shape[0], top + self.side))
        self._columns = slice(max(0, left), min(shape[1], left + self.side))
        self._inner_rows = slice(self._rows.start - top, self._rows.stop - top)
        self._inner_columns = slice(self._columns.start - left, self._columns.stop - left)
        self._seams = left > 0, left + self.side < shape[1]
        self._falls: list[float] = []  # px that shoulders fall by at either edge, measured on the first frames

    def paint(self, rgb: Tensor, alpha: Tensor, background: Tensor, pixels: Pixels) -> np.ndarray:
        """Pictures [B, H, W, 3] uint8, with `rgba` [B, H, W, 4], of squares as `Renderer.render` draws them.

        background: [H, W, 3] uint8, or [B, H, W, 3].
        """
        rgb, alpha = self._bend(torch.cat([rgb, alpha], 1)).split([3, 1], 1)
        behind = background.expand(len(rgb), *background.shape[-3:])
        tile = self._tile(behind) if pixels != "rgba" else behind.new_zeros(len(rgb), self.side, self.side, 3)
        square = PAINT["rgba" if pixels == "rgba" else "rgb"](rgb, alpha, tile)
        whole = behind.clone() if pixels != "rgba" else square.new_zeros(len(rgb), *self.shape, 4)
        whole[:, self._rows, self._columns] = square[:, self._inner_rows, self._inner_columns]
        return whole.cpu().numpy()

    def paint_nv12(self, rgb: Tensor, alpha: Tensor, background: Tensor, converted: Tensor) -> Tensor:
        """A picture [3 H / 2, W] uint8, NV12, of one square; background: [H, W, 3] uint8; converted: that as NV12."""
        rgb, alpha = self._bend(torch.cat([rgb, alpha], 1)).split([3, 1], 1)
        square, whole = PAINT["nv12"](rgb, alpha, self._tile(background[None]))[0], converted.clone()
        luma, chroma = self.shape[0], self.side
        whole[self._rows, self._columns] = square[self._inner_rows, self._inner_columns]
        halves = [slice(rows.start // 2, rows.stop // 2) for rows in (self._rows, self._inner_rows)]
        whole[luma:][halves[0], self._columns] = square[chroma:][halves[1], self._inner_columns]
        return whole

    def _tile(self, behind: Tensor) -> Tensor:
        """What lies behind the square [B, S, S, 3] in pictures [B, H, W, 3]; black beyond them."""
        tile = behind.new_zeros(len(behind), self.side, self.side, 3)
        tile[:, self._inner_rows, self._inner_columns] = behind[:, self._rows, self._columns]
        return tile

    def behind(self, picture: Tensor) -> Tensor:
        """What of a picture [H, W, 3] lies behind the person."""
        return picture[self._rows, self._columns]

    def _bend(self, drawn: Tensor) -> Tensor:
        """Squares [B, 4, S, S] whose shoulders fall below the lower edge before the square cuts them off."""
        width = max(2, round(BEND * self.side))
        parts = slice(0, width), slice(self.side - width, self.side)
        if not self._falls:
            edges = drawn[:, 3, :, :2], drawn[:, 3, :, -2:]
            self._falls = [seam * FALL * _height(edge) for seam, edge in zip(self._seams, edges, strict=True)]
        steps = torch.linspace(1, 0, width, device=drawn.device).square()
        for part, fall, share in zip(parts, self._falls, (steps, steps.flip(0)), strict=True):
            if fall:
                drawn[..., part] = _lowered(drawn[..., part], fall * share)
        return drawn


def _height(edge: Tensor) -> float:
    """Rows from the lower edge up to the highest of what is solid in [B, S, n]."""
    solid = (edge > SOLID).any(2).any(0).nonzero()
    return float(edge.shape[1] - solid[0, 0]) if len(solid) else 0.0


def _lowered(drawn: Tensor, shift: Tensor) -> Tensor:
    """Columns of [B, C, H, W], each moved down by its shift [W] px."""
    height, width = drawn.shape[2:]
    y = (2 * (torch.arange(height, device=drawn.device)[:, None] - shift) + 1) / height - 1
    x = ((2 * torch.arange(width, device=drawn.device) + 1) / width - 1).expand_as(y)
    grid = torch.stack([x, y], -1).expand(len(drawn), -1, -1, -1)
    return functional.grid_sample(drawn, grid, "bilinear", "zeros", align_corners=False)
