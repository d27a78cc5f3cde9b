"""Volume rendering: samples along rays, what they composite to, and the weight of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.render.nerf.backends import March
from avatar.render.nerf.rays import Rays
from cuda_ext import ops

EARLY_SAMPLES = 3  # of a ray that are evaluated before early termination is looked at: on skin they are mostly enough
DEPTH = 3  # column of the depth in what is composited: after red, green and blue

Field = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Positions [P, 3], warp features [P, W] and unit directions [P, 3] -> density [P] per cm and colour [P, 3]."""


@dataclass(frozen=True)
class FieldSamples:
    """Where the field is evaluated along rays, one ray after the other."""

    positions: Tensor  # [P, 3] in units of the head's box, the face at rest
    warp_features: Tensor  # [P, W] of `Warp.to_rest`; W = 0 without a warp
    distances: Tensor  # [P] cm of depth
    directions: Tensor  # [P, 3] unit
    posed: Tensor  # [P, 3] positions with the expression, as the occupancy grid has them
    starts: Tensor  # [R] int64
    counts: Tensor  # [R] int32; samples that belong to no ray count for nothing

    def subset(self, kept: Tensor, counts: Tensor) -> FieldSamples:
        """Only the samples kept [P] bool, of which each ray has counts [R]."""
        starts = counts.cumsum(0, dtype=torch.int64) - counts
        where = self.positions[kept], self.warp_features[kept], self.distances[kept]
        return FieldSamples(*where, self.directions[kept], self.posed[kept], starts, counts)


@torch.no_grad()
def sample_rays(
    rays: Rays,
    occupancy: Tensor,
    to_rest: Callable[[Tensor], tuple[Tensor, Tensor]],
    *,
    march: March,
    step: float,
    jitter: Tensor | None = None,
    room: ops.Room | None = None,
) -> FieldSamples:
    """Samples every `step` cm of depth where the occupancy [G, G, G] is filled.

    to_rest: positions [P, 3] -> those of the face at rest, and warp features. jitter: [R], room: as for `ops.march`.
    """
    found = march(rays.origins, rays.directions, occupancy, depths=rays.depths, step=step, jitter=jitter, room=room)
    directions = rays.unit_directions().index_select(0, found.rays)
    where = (*to_rest(found.positions), found.distances)
    return FieldSamples(*where, directions, found.positions, found.starts, found.counts)


def composite(samples: FieldSamples, field: Field, step: float) -> tuple[Tensor, Tensor]:
    """What rays see: colour and depth [R, 4] premultiplied, coverage [R]."""
    density, color = field(samples.positions, samples.warp_features, samples.directions)
    lengths = torch.full_like(density, step)
    values = torch.cat([color, samples.distances[:, None]], 1)
    return ops.composite(density, values, lengths, samples.starts, samples.counts)


def composite_early(samples: FieldSamples, field: Field, step: float, stop: float) -> tuple[Tensor, Tensor]:
    """As `composite` with early ray termination: where less than `stop` gets through, nothing behind is evaluated."""
    count = len(samples.positions)
    rank = torch.arange(count, device=samples.starts.device) - samples.starts.repeat_interleave(samples.counts)
    early = rank < EARLY_SAMPLES
    color, alpha = composite(samples.subset(early, samples.counts.clamp_max(EARLY_SAMPLES)), field, step)
    left = torch.where(alpha < 1 - stop, (samples.counts - EARLY_SAMPLES).clamp_min(0), 0).to(torch.int32)
    open_rays = (left > 0).repeat_interleave(samples.counts)
    behind, more = composite(samples.subset(open_rays & ~early, left), field, step)
    through = 1 - alpha
    return color + through[:, None] * behind, alpha + through * more


def sample_weights(samples: FieldSamples, field: Field, step: float) -> Tensor:
    """The weight [P] of each sample in its ray: its own alpha, times what gets through to it (Max 1995).

    It is what the ray's colour changes by with the sample's.
    """
    with torch.no_grad():
        density, _ = field(samples.positions, samples.warp_features, samples.directions)
    with torch.enable_grad():
        values = torch.zeros_like(density)[:, None].requires_grad_()
        color, _ = ops.composite(density, values, torch.full_like(density, step), samples.starts, samples.counts)
        (weights,) = torch.autograd.grad(color.sum(), values)
    return weights[:, 0]
