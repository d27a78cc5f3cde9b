"""Where a person can be, by the mattes of some frames: cells of the head's box, and pixels of the torso."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.geometry import Camera, apply_torso, project, to_camera
from avatar.core.landmarks import CHEEKS, CHIN, FOREHEAD, MESH_POINTS
from avatar.core.take import Take, Track, read_mattes
from avatar.render.nerf.rays import Box, pixel_centers
from avatar.render.surface import surface_depth

FRAMES = 24  # evenly over the clip
IN_MATTE, IN_FRAMES = 0.05, 0.7  # a cell is the person's where so much matte covers it, in so many frames
BEFORE_CM, BEHIND_CM = 0.6, 2.0  # of the face's surface: expressions and hair before, teeth and tongue behind
FALL, MOST_FALL_CM = 0.8, 7.0  # how the surface goes back beside the face: by the roundness of a head, to its middle
BELOW_CHIN_CM = 3.0  # the neck below is the torso's
SURELY_FACE = 0.8  # of the face's ellipse


def choose_evenly(frames: list[int], count: int = FRAMES) -> list[int]:
    """Some of the frames, evenly."""
    return [frames[index] for index in torch.linspace(0, len(frames) - 1, min(count, len(frames))).round().int()]


def visual_hull(take: Take, track: Track, box: Box, side: int) -> Tensor:
    """Cells [G, G, G] uint8 by z, y, x that may hold something: near the surface of a head, inside of the mattes."""
    centers = box.to_cm((_cells(side) + 0.5) / side)
    depth = centers[..., 2] - _head_surface(track.neutral[:MESH_POINTS], side, box)
    near = (depth > -BEFORE_CM) & (depth < BEHIND_CM)
    near &= centers[..., 1] < track.neutral[CHIN, 1] + BELOW_CHIN_CM
    points = centers[near]
    votes, frames = torch.zeros(len(points)), choose_evenly(take.training_frames())
    for frame in frames:
        posed = to_camera(points, track.rotation[frame], track.translation[frame])
        place = 2 * project(posed, take.camera) / take.camera.size - 1
        matte = functional.max_pool2d(read_mattes(take, [frame]).float() / 255, 3, 1, 1)
        votes += functional.grid_sample(matte[None], place[None, None], align_corners=False)[0, 0, 0] > IN_MATTE
    hull = torch.zeros(side, side, side, dtype=torch.uint8)
    hull[near] = (votes >= IN_FRAMES * len(frames)).to(torch.uint8)
    return hull


def _cells(side: int) -> Tensor:
    """Indices [G, G, G, 3] x, y, z of cells by z, y, x."""
    axis = torch.arange(side).float()
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], -1)


def _head_surface(mesh: Tensor, side: int, box: Box) -> Tensor:
    """The head's surface [G, G] cm of z by y, x."""
    columns = box.to_cm((_cells(side)[0] + 0.5) / side)[..., :2].reshape(-1, 2)

    def fall(distance: Tensor, _: Tensor) -> Tensor:
        return (FALL * distance).clamp_max(MOST_FALL_CM)

    return surface_depth(mesh[:, :2], mesh[:, 2], columns, fall).float().view(side, side)


def torso_mask(take: Take, track: Track) -> Tensor:
    """Pixels [S, S] uint8 of the torso at rest that ever belong to the person, but for where it is always face."""
    size, frames = take.camera.size, choose_evenly(take.training_frames())
    ever, always = torch.zeros(size, size, dtype=torch.bool), torch.ones(size, size, dtype=torch.bool)
    for frame in frames:
        place = _from_rest(take.camera, track.torso[frame])
        stack = torch.stack([read_mattes(take, [frame])[0].float() / 255, _face(track.landmarks[frame], size)])
        matte, face = functional.grid_sample(stack[None], place[None], padding_mode="border", align_corners=False)[0]
        ever |= matte > IN_MATTE
        always &= face > 0.5
    ever = functional.max_pool2d(ever[None].float(), 3, 1, 1)[0] > 0
    return (ever & ~always).to(torch.uint8)


def _from_rest(camera: Camera, torso: Tensor) -> Tensor:
    """Where the pixels of the torso at rest are in a frame [S, S, 2], -1..1 as for `grid_sample`."""
    axis = torch.arange(camera.size)
    return apply_torso(pixel_centers(axis, axis) - camera.size / 2, torso) / (camera.size / 2)


def _face(landmarks: Tensor, size: int) -> Tensor:
    """1 well inside of a face with landmarks [478, 3] px, 0 elsewhere [S, S]."""
    points = landmarks[:, :2]
    center = points[[FOREHEAD, CHIN]].mean(0)
    radius = (
        SURELY_FACE / 2 * (points[CHEEKS[1], 0] - points[CHEEKS[0], 0]).abs(),
        SURELY_FACE / 2 * (points[CHIN, 1] - points[FOREHEAD, 1]).abs(),
    )
    axis = torch.arange(size) + 0.5
    across, down = (axis - center[0]) / radius[0], (axis - center[1]) / radius[1]
    return (across.square() + down[:, None].square() < 1).float()
