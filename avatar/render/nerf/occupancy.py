"""The box about a head, and the grid of its cells in which something is seen: where rays are sampled."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatar.render.nerf.rays import Box

BOX_CM = ((-15.0, -19.0, -8.0), (15.0, 17.0, 18.0))  # head frame: left to right, crown to neck, nose to back
LEAST_WEIGHT = 8e-3  # in a ray, that keeps a cell: two grey levels
FIRST_WEIGHT = 9e-3  # of cells before they are evaluated for the first time: kept until then
WEIGHT_DECAY = 0.85  # of a cell's weight at each evaluation: what is seen no more is given up after a few


def head_box() -> Box:
    """The box about every head."""
    return Box(torch.tensor(BOX_CM[0]), torch.tensor(BOX_CM[1]))


def filled_box(occupancy: Tensor, box: Box) -> Box:
    """The smallest box, within a box, about all filled cells of its occupancy [G, G, G]."""
    side = len(occupancy)
    first = torch.arange(side, device=occupancy.device)
    lower, upper = [], []
    for axes in ((0, 1), (0, 2), (1, 2)):  # by z, y, x: what is left is x, y, z
        some = occupancy.amax(axes) > 0
        some = some | ~some.any()  # all, where nothing is filled
        lower.append(torch.where(some, first, side).amin() / side)
        upper.append(torch.where(some, first + 1, 0).amax() / side)
    return Box(box.to_cm(torch.stack(lower)), box.to_cm(torch.stack(upper)))


def cell_of(positions: Tensor, side: int) -> Tensor:
    """Flat indices [P] of the cells of positions [P, 3] 0..1."""
    x, y, z = (positions * side).long().clamp(0, side - 1).unbind(1)
    return (z * side + y) * side + x


def prune(weights: Tensor, hull: Tensor) -> Tensor:
    """Cells [G, G, G] uint8 whose largest weight in a ray [G, G, G] is worth drawing, and neighbours, inside a hull."""
    kept = functional.max_pool3d((weights > LEAST_WEIGHT).float()[None, None], 3, 1, 1)[0, 0]
    return (kept > 0).to(torch.uint8) * hull
