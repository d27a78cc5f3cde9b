"""The MotionSpace's mesh as what moves points near it."""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 6  # mesh points that move a point: as many as a vertex of a regular triangle mesh has around it
SOFT_CM = 0.05  # added to distances, so that a point on a mesh point is moved by that one, by a finite weight
SKIN_CM, FADE_CM = 0.3, 1.6  # so near is on the skin; the e-fold of how motion fades beyond: about a cheek's thickness
AT_ONCE = 4096  # points: 16 MB of distances


def nearest_points(points: Tensor, mesh: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mesh points [V, 3] nearest to points [P, 3]: distances (float64), ascending, and indices, each [P, count]."""
    distances, indices = [], []
    for part in points.double().split(AT_ONCE):
        offset = part[:, None] - mesh.double()
        x, y, z = offset.square().unbind(-1)
        nearest = (x + y + z).topk(count, largest=False)
        distances.append(nearest.values.sqrt())
        indices.append(nearest.indices)
    return torch.cat(distances), torch.cat(indices)


def spread_basis(basis: Tensor, mesh: Tensor, points: Tensor) -> Tensor:
    """The expression basis [K, V, 3] cm of mesh points [V, 3] cm, carried over to points [P, 3] cm: [K, P, 3].

    Inverse squared distance weighting (Shepard 1968) of the nearest mesh points, fading with the distance from them.
    Weights are computed in the precision of `points`, the rest in that of the basis.
    """
    distance, nearest = nearest_points(points, mesh, NEIGHBOURS)
    distance = distance.to(points.dtype)
    weight = 1 / (distance + SOFT_CM).square()
    weight = weight / weight.sum(1, keepdim=True)
    weight = weight * torch.exp(-((distance[:, :1] - SKIN_CM).clamp_min(0) / FADE_CM).square())
    return torch.einsum("np,knpc->knc", weight.to(basis.dtype), basis[:, nearest])
