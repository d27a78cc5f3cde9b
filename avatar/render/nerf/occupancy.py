"""Where a head can be, and where something of it is seen: the grid that rays are walked through."""

from __future__ import annotations

import torch
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from avatar.core.geometry import project, to_camera
from avatar.core.take import Take, Track, read_mattes
from avatar.render.nerf.rays import Box

BOX_CM = ((-15.0, -19.0, -8.0), (15.0, 17.0, 18.0))  # head frame: left to right, crown to neck, nose to back
MESH_POINTS = 468  # without the irises
CHIN = 152
LOOKED_AT = 24  # frames
IN_MATTE, IN_FRAMES = 0.05, 0.7  # a cell is the person's where so much matte covers it, in so many frames
BEFORE_CM, BEHIND_CM = 0.6, 2.0  # of the face's surface
FALL, MOST_FALL_CM = 0.8, 7.0  # how the surface goes back beside the face
BELOW_CHIN_CM = 3.0
SEEN, UNKNOWN = 8e-3, 9e-3  # the least share of a ray that keeps a cell; what is believed before any look
FORGET = 0.85  # what is left of a cell's share when it is looked at again


def head_box() -> Box:
    """The box about every head."""
    return Box(torch.tensor(BOX_CM[0]), torch.tensor(BOX_CM[1]))


def spread(frames: list[int], count: int = LOOKED_AT) -> list[int]:
    """Some of the frames, evenly."""
    return [frames[index] for index in torch.linspace(0, len(frames) - 1, min(count, len(frames))).round().int()]


def first_occupancy(take: Take, track: Track, box: Box, side: int) -> Tensor:
    """Cells [G, G, G] uint8 by z, y, x that may hold something: near the surface of a head, inside of the mattes."""
    centers = box.to_cm((_cells(side) + 0.5) / side)
    surface = _surface_depth(track.neutral[:MESH_POINTS], side, box)
    depth = centers[..., 2] - surface
    near = (depth > -BEFORE_CM) & (depth < BEHIND_CM)
    near &= centers[..., 1] < track.neutral[CHIN, 1] + BELOW_CHIN_CM
    points = centers[near]
    votes, frames = torch.zeros(len(points)), spread(take.training_frames())
    for frame in frames:
        posed = to_camera(points, track.rotation[frame], track.translation[frame])
        place = 2 * project(posed, take.camera) / take.camera.size - 1
        matte = functional.max_pool2d(read_mattes(take, [frame]).float() / 255, 3, 1, 1)
        votes += functional.grid_sample(matte[None], place[None, None], align_corners=False)[0, 0, 0] > IN_MATTE
    occupancy = torch.zeros(side, side, side, dtype=torch.uint8)
    occupancy[near] = (votes >= IN_FRAMES * len(frames)).to(torch.uint8)
    return occupancy


def _cells(side: int) -> Tensor:
    """Indices [G, G, G, 3] x, y, z of cells by z, y, x."""
    axis = torch.arange(side).float()
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], -1)


def _surface_depth(mesh: Tensor, side: int, box: Box) -> Tensor:
    """The head's surface [G, G] cm of z by y, x: the mesh's on the face, beside it falling back."""
    columns = box.to_cm((_cells(side)[0] + 0.5) / side)[..., :2].reshape(-1, 2).numpy()
    inside = torch.from_numpy(LinearNDInterpolator(mesh[:, :2].numpy(), mesh[:, 2].numpy())(columns)).float()
    distance, nearest = cKDTree(mesh[:, :2].numpy()).query(columns, k=8)
    border = mesh[torch.from_numpy(nearest), 2].mean(1)
    beside = border + (FALL * torch.from_numpy(distance[:, 0]).float()).clamp_max(MOST_FALL_CM)
    return torch.where(inside.isnan(), beside, inside).view(side, side)


def filled_box(occupancy: Tensor, box: Box) -> Box:
    """The smallest box, within a box, about all filled cells of its occupancy [G, G, G]."""
    side, filled = len(occupancy), occupancy > 0
    lower, upper = [], []
    for axes in ((0, 1), (0, 2), (1, 2)):  # by z, y, x: what is left is x, y, z
        some = filled.amax(axes).nonzero().squeeze(1)
        lower.append(some.amin() / side if len(some) else some.new_zeros(()).float())
        upper.append((some.amax() + 1) / side if len(some) else some.new_ones(()).float())
    return Box(box.to_cm(torch.stack(lower)), box.to_cm(torch.stack(upper)))


def cell_of(positions: Tensor, side: int) -> Tensor:
    """Flat indices [P] of the cells of positions [P, 3] 0..1."""
    x, y, z = (positions * side).long().clamp(0, side - 1).unbind(1)
    return (z * side + y) * side + x


def forget(seen: Tensor) -> Tensor:
    """The largest shares of cells so far, made a little less certain."""
    return seen * FORGET


def prune(seen: Tensor, first: Tensor) -> Tensor:
    """Cells [G, G, G] uint8 of which something is seen (shares [G, G, G]), and their neighbours, within the first."""
    kept = functional.max_pool3d((seen > SEEN).float()[None, None], 3, 1, 1)[0, 0]
    return (kept > 0).to(torch.uint8) * first
