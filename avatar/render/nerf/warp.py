"""Points of a moving face back to where they are at rest, by the MotionSpace's mesh.

The mesh's expression basis is spread over a small grid about the face once; a frame's displacement is a sum of it. So
the field does not have to learn that lids fall and the jaw opens, only what the mesh does not know (docs/lab/nerf.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.motion_space import MotionSpace
from avatar.render.mesh import spread_basis
from cuda_ext import ops

CELLS = 19  # a side: (19 + 1)^3 nodes fit into 2^13 entries
ENTRIES = 8192  # of a table of `ops.hash_grid`, stored densely
MARGIN_CM = 2.0  # about the mesh: skin and hair that it moves a little (`avatar.render.mesh.FADE_CM`)
WARP_FEATURES = 6  # displacement and last change, x y z each
ITERATIONS = 3  # of the fixed point x = y - displacement(x)


@dataclass(frozen=True)
class Warp:
    """The expression basis on a grid about a person's face."""

    lower: Tensor  # [3] cm, head frame
    extent: Tensor  # [3] cm
    basis: Tensor  # [K, 2 * ENTRIES * 2] cm per unit: x, y of all nodes, then z and nothing
    resolutions: Tensor  # [2] int32, CELLS

    def to(self, device: torch.device) -> Warp:
        tensors = self.lower, self.extent, self.basis, self.resolutions
        return Warp(*(tensor.to(device) for tensor in tensors))

    def tables(self, expression: Tensor) -> Tensor:
        """The displacement of one frame, expression [K], as tables [2, ENTRIES, 2] of a dense grid."""
        return (expression @ self.basis).view(2, ENTRIES, 2)

    def to_rest(self, points: Tensor, tables: Tensor) -> tuple[Tensor, Tensor]:
        """Head-frame points [P, 3] cm -> where they are without the expression, and warp features [P, 6] cm.

        The latter are the displacement of each, and by how much the last iteration still changed it: not at all on
        skin, but much between lips that are apart, where the mesh has nothing.
        """
        rest, before = points, points
        for _ in range(ITERATIONS):
            before = rest
            rest = points - ops.hash_grid((rest - self.lower) / self.extent, tables, self.resolutions)[:, :3]
        return rest, torch.cat([points - rest, rest - before], 1)


def make_warp(neutral: Tensor, space: MotionSpace) -> Warp:
    """Spread the basis of the mesh points [478, 3] cm of a person at rest; it fades with the distance from them."""
    lower, upper = neutral.amin(0) - MARGIN_CM, neutral.amax(0) + MARGIN_CM
    axis = torch.linspace(0, 1, CELLS + 1)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    nodes = lower + torch.stack([x, y, z], -1).reshape(-1, 3) * (upper - lower)
    padded = torch.zeros(space.modes, ENTRIES, 4)
    padded[:, : len(nodes), :3] = spread_basis(space.basis, neutral, nodes)
    basis = torch.stack([padded[..., :2], padded[..., 2:]], 1).reshape(space.modes, -1)
    return Warp(lower, upper - lower, basis.contiguous(), torch.full((2,), CELLS, dtype=torch.int32))
