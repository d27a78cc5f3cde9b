"""Skin moved by the face's mesh on its own side: never by the other lip, nor by the other lid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.core.landmarks import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_EYE,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    RIGHT_EYE,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
    WHOLE_LOWER_LIP,
    WHOLE_UPPER_LIP,
)
from avatar.render.mesh import spread_basis

REACH_CM = 1.5  # above and below a slit: beyond, the nearest mesh points are on the same side anyway
DEPTH_CM = 3.0  # before and behind: splats of hair are not of the skin


@dataclass(frozen=True)
class Slit:
    """An opening of the skin between two lines of mesh points, from the left corner to the right one."""

    corners: tuple[int, int]
    upper: tuple[int, ...]  # the line, without the corners
    lower: tuple[int, ...]
    above: tuple[int, ...]  # all mesh points that belong to the upper side, and may touch the lower one
    below: tuple[int, ...]

    def lines(self, mesh: Tensor) -> tuple[Tensor, Tensor]:
        """The upper and the lower line [P, 3] of a mesh [V, 3], corners included."""
        left, right = self.corners
        return mesh[[left, *self.upper, right]], mesh[[left, *self.lower, right]]


MOUTH = Slit((78, 308), INNER_UPPER_LIP, INNER_LOWER_LIP, WHOLE_UPPER_LIP, WHOLE_LOWER_LIP)
LEFT_SLIT = Slit((LEFT_EYE.outer, LEFT_EYE.inner), LEFT_UPPER_LID, LEFT_LOWER_LID, LEFT_UPPER_LID, LEFT_LOWER_LID)
RIGHT_SLIT = Slit(
    (RIGHT_EYE.inner, RIGHT_EYE.outer), RIGHT_UPPER_LID[::-1], RIGHT_LOWER_LID[::-1], RIGHT_UPPER_LID, RIGHT_LOWER_LID
)
EYES = (LEFT_SLIT, RIGHT_SLIT)


def place_in_slit(slit: Slit, mesh: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where points [P, 3] lie about a slit of a mesh [V, 3], both in the head frame: [P], NaN far from it.

    Also how wide the slit is there [P] cm.

    Below 0 above the slit, 0 on its upper line, 1 on its lower line, above 1 below it. A shut slit has points on either
    side, and none between.
    """
    upper, lower = (line.double().numpy() for line in slit.lines(mesh))
    x, y, z = points.double().numpy().T
    top, bottom = (np.interp(x, line[:, 0], line[:, 1]) for line in (upper, lower))
    middle, half = (top + bottom) / 2, np.maximum(0, bottom - top) / 2
    beyond = np.abs(y - middle) - half
    inside = (x > upper[0, 0]) & (x < upper[-1, 0]) & (beyond < REACH_CM)
    inside &= np.abs(z - np.interp(x, upper[:, 0], upper[:, 2])) < DEPTH_CM
    half = np.maximum(half, 1e-6)
    place = 0.5 + 0.5 * (y - middle) / half
    return torch.from_numpy(np.where(inside, place, np.nan)), torch.from_numpy(2 * half)


def spread_on_skin(basis: Tensor, mesh: Tensor, points: Tensor) -> Tensor:
    """As `spread_basis` [K, P, 3], each point moved by the mesh points on its own side of lips and lids.

    Points between the lids are of the eyeball, which lies in the skull and which no expression moves.
    """
    left_out = torch.zeros(len(points), dtype=torch.long)  # which set of mesh points does not count
    sets: list[tuple[int, ...]] = [()]
    still = torch.zeros(len(points), dtype=torch.bool)
    for slit in (MOUTH, *EYES):
        place, _ = place_in_slit(slit, mesh, points)
        border = (0.5, 0.5) if slit is MOUTH else (0.0, 1.0)
        for side, others in ((place < border[0], slit.below), (place > border[1], slit.above)):
            left_out[side] = len(sets)
            sets.append(others)
        still |= (place >= border[0]) & (place <= border[1]) & (slit is not MOUTH)
    moved = torch.zeros(len(basis), len(points), 3, dtype=basis.dtype)
    for number, others in enumerate(sets):
        chosen = ((left_out == number) & ~still).nonzero().squeeze(1)
        kept = torch.tensor(sorted(set(range(len(mesh))) - set(others)))
        if len(chosen):
            moved[:, chosen] = spread_basis(basis[:, kept], mesh[kept], points[chosen])
    return moved
