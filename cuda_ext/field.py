"""Radiance fields: hash grid, marching through an occupancy grid, compositing."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_ext import native
from cuda_ext.room import Room

COARSE = 8  # cells a side of a coarse cell; the kernels' own
MOST_CHANNELS = 16  # of a composited colour; the kernels' own
MOST_COUNTED = 32  # samples of a ray, up to which one number fewer is tried where a room is too small

# Where all points of a picture lie in a few cells of a small table, as those of the NeRF's ambient coordinates do, a
# GPU adds them to the same few numbers one after the other. So many copies let as many of them be added at once.
SMALL_TABLE, COPIES = 4096, 32


class _HashGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, tables: Tensor, resolutions: Tensor) -> Tensor:
        arrays = [native.plain(positions), _aligned(tables), native.plain(resolutions)]
        (points, dimensions), (levels, entries, _) = positions.shape, tables.shape
        ctx.sizes = (points, dimensions, levels, entries)
        out = torch.empty(points, 2 * levels, device=positions.device)
        native.call("hash_grid", positions.device, *arrays, *ctx.sizes, out)
        ctx.save_for_backward(*arrays)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        positions, tables, resolutions = ctx.saved_tensors
        on_gpu = native.stream(positions.device) is not None
        copies = COPIES if on_gpu and tables.shape[1] <= SMALL_TABLE else 1
        grad_tables = tables.new_empty(copies, *tables.shape)
        grad_positions = torch.empty_like(positions) if ctx.needs_input_grad[0] else None
        arrays = (positions, tables, resolutions, *ctx.sizes, _aligned(gradient))
        native.call("hash_grid_backward", positions.device, *arrays, grad_tables, grad_positions, copies)
        return grad_positions, grad_tables[0] if copies == 1 else grad_tables.sum(0), None


def _aligned(tensor: Tensor) -> Tensor:
    """As `native.plain`, at an address that is a multiple of 8 bytes: a GPU loads an entry's two numbers at once."""
    tensor = native.plain(tensor)
    return tensor if tensor.data_ptr() % 8 == 0 else tensor.clone()


def hash_grid(positions: Tensor, tables: Tensor, resolutions: Tensor) -> Tensor:
    """Multi-resolution hash encoding of positions [P,D] in 0..1 (D = 2, 3 or 4), outside of it held at the border.

    tables [L,T,2], T a power of two; resolutions [L] int32, cells a side. -> [P,2L], linear between the corners of a
    cell; differentiable in positions and tables. A level whose corners fit into T entries is stored densely. On the
    CPU the gradient is the same for any number of threads; on a GPU its last bits depend on the order of atomics.
    Raises ValueError or TypeError naming the argument. Source: Mueller et al. 2022, Instant-NGP, section 3.
    """
    sizes = native.check("hash_grid", {"positions": (positions, "P D"), "tables": (tables, "L T 2")})
    native.check(
        "hash_grid", {"resolutions": (resolutions, "L")}, dtype=torch.int32, sizes=sizes, device=positions.device
    )
    if sizes["D"] not in (2, 3, 4):
        raise ValueError(f"hash_grid.positions has {sizes['D']} dimensions, expected 2, 3 or 4")
    entries = sizes["T"]
    if entries < 1 or entries & (entries - 1) or entries > 2**30:
        raise ValueError(f"hash_grid.tables has {entries} entries a level, expected a power of two")
    # On a GPU this would synchronize.
    if native.stream(positions.device) is None and len(resolutions):
        least, most = int(resolutions.min()), int(resolutions.max())
        if least < 1 or most > 2**20:
            raise ValueError(f"hash_grid.resolutions has {least} to {most}, expected 1 to 2^20")
    native.check_finite("hash_grid", {"positions": positions})
    return _HashGrid.apply(positions, tables, resolutions)


class RaySamples(NamedTuple):
    """Points along rays, one ray after the other."""

    positions: Tensor  # [P, 3]
    distances: Tensor  # [P] from the ray's origin, in lengths of its direction
    starts: Tensor  # [R] int64, first sample of each ray
    counts: Tensor  # [R] int32
    rays: Tensor  # [P] int32, of each sample


def _coarse(occupancy: Tensor) -> Tensor | None:
    """Filled where any of 8^3 cells is; rays skip empty space in it."""
    side = occupancy.shape[0]
    if side % COARSE:
        return None
    blocks = occupancy.reshape(*(side // COARSE, COARSE) * 3)
    return blocks.amax((1, 3, 5)).contiguous()


def march(
    origins: Tensor,
    directions: Tensor,
    occupancy: Tensor,
    *,
    depths: Tensor,
    step: float,
    jitter: Tensor | None = None,
    room: Room | None = None,
) -> RaySamples:
    """Samples every `step` between depths [2], near and far, along rays [R,3], where the occupancy grid is filled.

    occupancy [G,G,G] uint8 by z, y, x over the cube 0..1, zero where nothing is; distances in lengths of the
    direction. jitter [R] in 0..1 moves a ray's samples within their steps (default: the middle). Not differentiable.
    Without a room the number of samples is read back, which synchronizes a GPU once. With one nothing is waited for:
    P is its size, what is left over belongs to no ray and lies at 0, and where it is too small all rays lose their
    last samples, down to the same number. Raises: ValueError for arguments that do not fit, on the CPU those of depths
    too, and for a room of fewer samples than rays.
    """
    sizes = native.check("march", {"origins": (origins, "R 3"), "directions": (directions, "R 3")})
    where = origins.device
    native.check("march", {"occupancy": (occupancy, "G G G")}, dtype=torch.uint8, device=where)
    if jitter is not None:
        native.check("march", {"jitter": (jitter, "R")}, sizes=sizes, device=where)
    native.check("march", {"depths": (depths, "2")}, device=where)
    if not step > 0 or occupancy.shape[0] < 1 or (room is not None and room.size < sizes["R"]):
        raise ValueError(
            f"march: step is {step}, grid {list(occupancy.shape)}, room {room and room.size}; expected step > 0, a "
            f"grid of at least one cell, and room for a sample of each of {sizes['R']} rays"
        )
    if native.stream(where) is None:  # on a GPU this would synchronize
        near, far = depths.tolist()
        if not 0 <= near < far or not (far - near) / step <= 2**20:
            raise ValueError(
                f"march: depths are {near} to {far}, step {step}; expected 0 <= near < far, and at most 2^20 steps"
            )
    native.check_finite("march", {"origins": origins, "directions": directions})
    rays, counts = sizes["R"], torch.empty(sizes["R"], dtype=torch.int32, device=where)
    shift = None if jitter is None else native.plain(jitter)
    arrays = (native.plain(origins), native.plain(directions), shift, native.plain(occupancy), _coarse(occupancy))
    call = (*arrays, rays, occupancy.shape[0], native.plain(depths), step)
    native.call("march_count", where, *call, counts)
    if room is not None:
        counts = _fit(counts, room)
    starts = counts.cumsum(0, dtype=torch.int64) - counts
    total = int(counts.sum()) if room is None else room.size
    positions, distances = torch.zeros(total, 3, device=where), torch.zeros(total, device=where)
    ray_of = torch.zeros(total, dtype=torch.int32, device=where)
    native.call("march_fill", where, *call, counts, starts, positions, distances, ray_of)
    return RaySamples(positions, distances, starts, counts, ray_of)


def _fit(counts: Tensor, room: Room) -> Tensor:
    """Samples of rays [R] int32, none more than the most with which all fit into a room."""
    most = torch.arange(1, MOST_COUNTED + 2, dtype=torch.int32, device=counts.device)
    most[MOST_COUNTED:].fill_(2**31 - 1)  # all
    totals = torch.minimum(counts[:, None], most).sum(0)
    room.note(totals[MOST_COUNTED:])
    return torch.minimum(counts, most.index_select(0, (totals <= room.size).sum(0, keepdim=True) - 1))


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sigmas: Tensor, colors: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        arrays = [native.plain(tensor) for tensor in (sigmas, colors, *others)]
        rays, channels, where = len(arrays[3]), colors.shape[1], sigmas.device
        color, alpha = torch.empty(rays, channels, device=where), torch.empty(rays, device=where)
        native.call("composite", where, *arrays, rays, channels, color, alpha)
        ctx.save_for_backward(*arrays, color, alpha)
        return color, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_color: Tensor, grad_alpha: Tensor) -> tuple[Tensor | None, ...]:
        *arrays, color, alpha = ctx.saved_tensors
        sigmas, colors = arrays[:2]
        # Samples that belong to no ray stay at zero.
        grad_sigmas, grad_colors = torch.zeros_like(sigmas), torch.zeros_like(colors)
        incoming = (native.plain(grad_color), native.plain(grad_alpha))
        sizes = (len(arrays[3]), colors.shape[1])
        native.call(
            "composite_backward", sigmas.device, *arrays, *sizes, color, alpha, *incoming, grad_sigmas, grad_colors
        )
        return grad_sigmas, grad_colors, None, None, None


def composite(sigmas: Tensor, colors: Tensor, lengths: Tensor, starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Volume rendering: densities sigmas [P] >= 0 and colors [P,C <= 16] of samples of lengths [P] along rays.

    starts [R] int64 and counts [R] int32 as `march` gives them -> color [R,C] premultiplied, alpha [R]; a ray ends when
    less than 1e-4 gets through. Differentiable in sigmas and colors. Source: Max 1995; Mildenhall et al. 2020, eq. 3.
    """
    sizes = native.check("composite", {"sigmas": (sigmas, "P"), "colors": (colors, "P C"), "lengths": (lengths, "P")})
    where = sigmas.device
    native.check("composite", {"starts": (starts, "R")}, dtype=torch.int64, device=where)
    native.check("composite", {"counts": (counts, "R")}, dtype=torch.int32, sizes={"R": len(starts)}, device=where)
    if not 1 <= sizes["C"] <= MOST_CHANNELS:
        raise ValueError(f"composite.colors has {sizes['C']} channels, expected 1 to {MOST_CHANNELS}")
    if native.stream(where) is None and len(starts):
        ends = starts + counts
        if int(starts.min()) < 0 or int(counts.min()) < 0 or int(ends.max()) > sizes["P"]:
            raise ValueError(f"composite: starts and counts leave the {sizes['P']} samples")
    return _Composite.apply(sigmas, colors, lengths, starts, counts)
