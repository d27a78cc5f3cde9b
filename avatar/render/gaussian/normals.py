"""Which way the surface faces at each splat: the face by its mesh, all else by outlines.

An outline shows where a surface turns away from the camera, so that its normal there is known; between outlines and
the face the normals are as smooth as they can be (Laplace's equation; Johnston 2002, Lumo: Illumination for Cel
Animation). Head and torso, which move apart, are two surfaces.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn import functional

from avatar.core.geometry import project
from avatar.core.landmarks import MESH_POINTS
from avatar.render.gaussian.rasterizers import rasterize
from avatar.render.gaussian.renderer import GaussianRenderer

GRID = 128  # pixels a side of the pictures that normals are found in
SOLID, HEAD = 0.5, 0.5  # coverage of what is the person; rigidity of what is the head
OUTLINE = 0.9  # of a normal's length that lies in the picture's plane at an outline: hair and cloth are soft there
ROUND = 0.6  # how far a chest's normals turn aside from its middle to its sides, of a normal's length
SHOULDER = 0.08  # of the picture's side, how far from its outline a torso turns towards the camera
STEEPEST = 0.95  # of a normal's length, at most, that lies in the picture's plane

Array = np.ndarray


def find_normals(renderer: GaussianRenderer, neutral: Tensor, triangles: Tensor) -> Tensor:
    """Unit normals [N, 3] of splats, out of the person, in the head frame.

    neutral: [478, 3] cm, the face at rest in the head frame; triangles: [F, 3] of its mesh.
    """
    shapes, camera = renderer.blendshapes, renderer.camera.scaled(GRID)
    splats = renderer.splats()
    rigidity = shapes.rigidity
    shown = (*splats[:4], rigidity[:, None].expand(-1, 3).contiguous())
    drawn, alpha = rasterize("native", *(one[None] for one in shown), camera=camera)
    solid = (alpha[0, 0] > SOLID).cpu().numpy()
    head = (drawn[0, 0] / alpha[0, 0].clamp_min(1e-3) > HEAD).cpu().numpy()
    rotation = shapes.rest_rotation.cpu()
    posed = neutral[:MESH_POINTS] @ rotation.mT + shapes.rest_translation.cpu()
    face = _on_grid(project(posed, camera).numpy(), mesh_normals(posed, triangles).numpy()[:, :2])
    slope = _outline_slope(solid)
    nowhere = np.full((GRID, GRID, 2), np.nan)
    known = [np.where(np.isnan(face), slope, face), slope]
    maps = [_solve(solid & head, known[0], nowhere), _solve(solid & ~head, known[1], _chest(solid & ~head))]
    places = (project(splats[0].cpu(), camera) / GRID * 2 - 1)[None, None]
    sampled = [
        functional.grid_sample(torch.from_numpy(one).permute(2, 0, 1)[None].float(), places, "bilinear", "border",
                               align_corners=False)[0, :, 0].mT
        for one in maps
    ]  # fmt: skip
    share = rigidity.cpu()[:, None]
    flat = share * sampled[0] + (1 - share) * sampled[1]
    flat = flat * (STEEPEST / flat.norm(dim=1, keepdim=True).clamp_min(STEEPEST))
    toward = torch.cat([flat, -(1 - flat.square().sum(1, keepdim=True)).sqrt()], 1)
    return toward @ rotation


def mesh_normals(points: Tensor, triangles: Tensor) -> Tensor:
    """Unit normals [V, 3] of a face's mesh in the camera frame, towards the camera."""
    corners = points[triangles]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals *= torch.where(normals[:, 2:] > 0, -1.0, 1.0)  # a face turns hardly anything away
    summed = torch.zeros_like(points)
    for corner in range(3):
        summed.index_add_(0, triangles[:, corner], normals)
    return functional.normalize(summed, dim=1)


def _on_grid(pixels: Array, values: Array) -> Array:
    """Values [V, 2] of points at pixels [V, 2] as [G, G, 2]; NaN outside."""
    y, x = np.mgrid[:GRID, :GRID] + 0.5
    return np.asarray(LinearNDInterpolator(pixels, values)(np.stack([x, y], -1)))


def _outline_slope(solid: Array) -> Array:
    """Where the person ends, out of the person: [G, G, 2], of length OUTLINE on outlines, NaN elsewhere."""
    soft = gaussian_filter(np.pad(solid, 1, mode="edge").astype(float), 2.0)[1:-1, 1:-1]
    down, right = np.gradient(-soft)
    slope = np.stack([right, down], -1)
    inner = distance_transform_edt(np.pad(solid, 1, constant_values=True))[1:-1, 1:-1] <= 1.5
    edge = solid & inner
    slope *= OUTLINE / np.linalg.norm(slope, axis=-1, keepdims=True).clip(1e-9)
    slope[~edge] = np.nan
    return slope


def _chest(torso: Array) -> Array:
    """What normals [G, G, 2] of a torso are like away from its outline: those of an upright cylinder."""
    field = np.zeros((GRID, GRID, 2))
    if torso.any():
        columns = np.flatnonzero(torso.any(0))
        middle, half = columns.mean(), (columns[-1] - columns[0] + 1) / 2
        field[..., 0] = ROUND * ((np.arange(GRID) - middle) / half).clip(-1, 1)
    return field


def _solve(inside: Array, known: Array, likely: Array) -> Array:
    """The smoothest field [G, G, 2] inside a region that is as `known` where that is no NaN; outside: as beside it.

    likely: what it comes back to within SHOULDER of what is known; NaN: it does not.
    """
    if not inside.any():
        return np.zeros((GRID, GRID, 2))
    index = np.full(inside.shape, -1)
    index[inside] = np.arange(inside.sum())
    rows, columns, weights = [], [], []
    for axis in (0, 1):
        one, two = index.take(range(GRID - 1), axis), index.take(range(1, GRID), axis)
        both = (one >= 0) & (two >= 0)
        a, b = one[both], two[both]
        rows += [a, b, a, b]
        columns += [b, a, a, b]
        weights += [np.full(len(a), value) for value in (-1.0, -1.0, 1.0, 1.0)]
    count = int(inside.sum())
    laplacian = coo_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), (count, count))
    given, wanted = known[inside], likely[inside]
    pull = np.where(np.isnan(wanted[:, 0]), 1e-6, 1 / (SHOULDER * GRID) ** 2)
    pinned = ~np.isnan(given[:, 0])
    weight = np.where(pinned, 1e3, pull)
    matrix = (laplacian + coo_matrix((weight, (range(count), range(count))), (count, count))).tocsc()
    right = np.nan_to_num(np.where(pinned[:, None], given, wanted)) * weight[:, None]
    solved = splu(matrix).solve(right)
    field = np.zeros((GRID, GRID, 2))
    field[inside] = solved
    nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return field[tuple(nearest)]
