"""The background's light round a person's edge: splats near it take on what is blurred behind them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.geometry import project
from avatar.render.gaussian import GaussianRenderer
from avatar.render.gaussian.rasterizers import rasterize

GRID = 128  # pixels a side of the picture that edges are found in
WRAP, REACH = 0.5, 1 / 40  # share of the background's light at an edge; how far it goes in, of the picture's side
CELLS = 24  # a side of the blurred background


class Wrap:
    """How much of the background's light each splat takes on, by its distance from the outline at rest."""

    def __init__(self, renderer: GaussianRenderer) -> None:
        camera = renderer.camera.scaled(GRID)
        splats = renderer.splats()
        _, alpha = rasterize("native", *(part[None] for part in splats), camera=camera)
        reach = max(1, round(REACH * GRID))
        beside = functional.pad(1 - alpha, (reach,) * 4, mode="replicate")  # a person ends at no edge of the picture
        for _ in range(2):
            beside = functional.avg_pool2d(beside, reach // 2 * 2 + 1, 1, reach // 2)
        beside = beside[..., reach:-reach, reach:-reach]
        self._places = (project(splats[0], camera) / GRID * 2 - 1)[None, None]
        self._share = WRAP * self._at(beside)  # [N, 1]

    def _at(self, picture: Tensor) -> Tensor:
        return functional.grid_sample(picture, self._places, "bilinear", "border", align_corners=False)[0, :, 0].mT

    def __call__(self, colours: Tensor, behind: list[Tensor]) -> Tensor:
        """Colours [B, N, 3] of splats before pictures [S, S, 3] uint8, one each; one that comes again is cheap."""
        around: list[Tensor] = []
        for index, picture in enumerate(behind):
            same = index > 0 and picture is behind[index - 1]
            around.append(around[-1] if same else self._at(_blurred(picture).to(colours.device)))
        return torch.lerp(colours, torch.stack(around), self._share)


def _blurred(picture: Tensor) -> Tensor:
    """A picture [H, W, 3] uint8 as [1, 3, CELLS, CELLS] 0..1."""
    step = max(1, min(picture.shape[:2]) // (4 * CELLS))
    small = picture[::step, ::step].permute(2, 0, 1)[None].float() / 255
    return functional.adaptive_avg_pool2d(small, CELLS)
