"""The surface of a head by the mesh of its face: on the face as it is, beside it falling back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import cKDTree
from torch import Tensor

BORDER_POINTS = 8  # nearest mesh points whose mean is the surface's depth at the face's border: evens out single ones


def surface_depth(plane: Tensor, depth: Tensor, queries: Tensor, fall: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Depth [P] (float64) of the surface at queries [P, 2], from mesh points [V, 2] of a plane with their depth [V] cm.

    fall: (distance [P] to the nearest mesh point, depth [P] of the border there) -> cm that the surface lies behind the
    border, for queries beside the mesh.
    """
    points, values, places = plane.double().numpy(), depth.numpy(), queries.double().numpy()
    inside = torch.from_numpy(LinearNDInterpolator(points, values)(places))
    distance, nearest = cKDTree(points).query(places, k=BORDER_POINTS)
    border = torch.from_numpy(values[nearest].mean(1))
    return torch.where(inside.isnan(), border + fall(torch.from_numpy(distance[:, 0]), border), inside)
