"""The face's mesh as what moves points near it, and as a surface."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree

from avatar.core.landmarks import MESH_POINTS
from avatar.core.motion_space import load_space
from avatar.render.mesh import nearest_points, spread_basis
from avatar.render.surface import surface_depth
from tests.trained import random


def test_nearest_points_are_those_of_a_tree() -> None:
    mesh, points = torch.randn(478, 3, generator=random(0)), torch.randn(5000, 3, generator=random(1))
    distance, nearest = nearest_points(points, mesh, 6)
    expected = cKDTree(mesh.numpy()).query(points.numpy(), k=6)
    assert torch.allclose(distance, torch.from_numpy(expected[0]), rtol=1e-14, atol=0)
    assert torch.equal(nearest, torch.from_numpy(expected[1]))


def test_points_move_as_the_mesh_near_them_and_not_at_all_far_from_it() -> None:
    space = load_space()
    mesh = space.template[:MESH_POINTS]
    spread = spread_basis(space.basis, mesh, mesh)
    basis = space.basis[:, :MESH_POINTS]
    assert (spread - basis).norm() < 0.15 * basis.norm()
    assert spread_basis(space.basis, mesh, mesh + torch.tensor([0.0, 0, -30])).abs().max() < 1e-6
    near, far = (spread_basis(space.basis, mesh, mesh[[1]] - torch.tensor([0.0, 0, cm])).norm() for cm in (0.2, 2.0))
    assert far < 0.5 * near


def test_a_surface_is_the_mesh_inside_and_falls_back_beside_it() -> None:
    axis = torch.linspace(-1, 1, 9)
    plane = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    depth = 50 + plane[:, 0]
    queries = torch.tensor([[0.3, 0.1], [-0.71, 0.9], [3.0, 0.0], [9.0, 0.0]])
    found = surface_depth(plane, depth, queries, lambda distance, border: (0.1 * border * distance).clamp_max(12))
    assert torch.allclose(found[:2], 50 + queries[:2, 0].double(), atol=1e-5)
    border = 50.9  # the mean of the eight mesh points nearest to the middle of the right edge
    assert abs(float(found[2]) - (border + 0.1 * border * 2)) < 0.2
    assert abs(float(found[3]) - (border + 12)) < 0.2
