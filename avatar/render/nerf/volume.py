"""Samples along rays: where they lie, what they add up to, and which of them are seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.render.nerf.backends import March
from avatar.render.nerf.rays import Rays
from cuda_ext import ops

FIRST = 3  # samples of a ray that are looked at before it is asked whether more are seen
DEPTH = 3  # column of the depth in what is composited: after red, green and blue

Field = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Positions [P, 3], hints [P, H] and unit directions [P, 3] -> density [P] a cm and colour [P, 3]."""


@dataclass(frozen=True)
class Samples:
    """Samples of rays, one ray after the other."""

    positions: Tensor  # [P, 3] in units of the head's box, the face at rest
    hints: Tensor  # [P, H] how the expression was undone; nothing without a warp
    distances: Tensor  # [P] cm of depth
    directions: Tensor  # [P, 3] unit
    cells: Tensor  # [P, 3] positions before the expression was undone
    starts: Tensor  # [R] int64
    counts: Tensor  # [R] int32

    def some(self, kept: Tensor, counts: Tensor) -> Samples:
        """Only the samples kept [P] bool, of which each ray has counts [R]."""
        starts = counts.cumsum(0, dtype=torch.int64) - counts
        where = self.positions[kept], self.hints[kept], self.distances[kept]
        return Samples(*where, self.directions[kept], self.cells[kept], starts, counts)


@torch.no_grad()
def walk(
    rays: Rays,
    occupancy: Tensor,
    undo: Callable[[Tensor], tuple[Tensor, Tensor]],
    *,
    march: March,
    step: float,
    jitter: Tensor | None = None,
) -> Samples:
    """Samples every `step` cm of depth where the occupancy [G, G, G] is filled; undo gives where they are without the
    expression, and hints."""
    found = march(rays.origins, rays.directions, occupancy, near=rays.near, far=rays.far, step=step, jitter=jitter)
    directions = rays.unit_directions().repeat_interleave(found.counts, 0)
    return Samples(*undo(found.positions), found.distances, directions, found.positions, found.starts, found.counts)


def shade(path: Samples, field: Field, step: float) -> tuple[Tensor, Tensor]:
    """What rays see: colour and depth [R, 4] premultiplied, coverage [R]."""
    density, color = field(path.positions, path.hints, path.directions)
    lengths = torch.full_like(density, step)
    return ops.composite(density, torch.cat([color, path.distances[:, None]], 1), lengths, path.starts, path.counts)


def shade_until(path: Samples, field: Field, step: float, stop: float) -> tuple[Tensor, Tensor]:
    """As `shade`, but rays end where less than `stop` gets through: what lies behind is never computed."""
    count = len(path.positions)
    place = torch.arange(count, device=path.starts.device) - path.starts.repeat_interleave(path.counts)
    early = place < FIRST
    color, alpha = shade(path.some(early, path.counts.clamp_max(FIRST)), field, step)
    left = torch.where(alpha < 1 - stop, (path.counts - FIRST).clamp_min(0), 0).to(torch.int32)
    open_rays = (left > 0).repeat_interleave(path.counts)
    behind, more = shade(path.some(open_rays & ~early, left), field, step)
    through = 1 - alpha
    return color + through[:, None] * behind, alpha + through * more


def shares(path: Samples, field: Field, step: float) -> Tensor:
    """Which share [P] of its ray each sample is: density, and what gets through to it (Max 1995)."""
    density, _ = field(path.positions, path.hints, path.directions)
    passed = (density * step).double().cumsum(0)
    before = torch.cat([passed.new_zeros(1), passed])
    entered = before[path.starts].repeat_interleave(path.counts)
    return (torch.exp(entered - before[:-1]) - torch.exp(entered - before[1:])).float()
