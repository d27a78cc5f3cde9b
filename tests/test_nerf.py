"""The NeRF's parts: geometry against the camera, fields against the reference, sampling, backends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar.core.files import UserError
from avatar.core.geometry import Camera, apply_torso, exponential, project, to_camera
from avatar.core.landmarks import CHIN, LEFT_EYE, RIGHT_EYE
from avatar.core.motion_space import load_space
from avatar.core.take import read_frames, read_mattes, read_track, with_size
from avatar.render.nerf import NerfSettings
from avatar.render.nerf.backends import NATIVE, TORCH
from avatar.render.nerf.field import HeadField
from avatar.render.nerf.generic import load_generic
from avatar.render.nerf.initial import initial_head, initial_lora
from avatar.render.nerf.lora import low_rank
from avatar.render.nerf.occupancy import cell_of, filled_box, head_box, prune
from avatar.render.nerf.rays import Box, cast_rays
from avatar.render.nerf.torso import rest_places
from avatar.render.nerf.visual_hull import torso_mask, visual_hull
from avatar.render.nerf.volume import FieldSamples, composite, composite_early, sample_weights
from avatar.render.nerf.warp import WARP_FEATURES, make_warp
from tests.conftest import Filmed
from tests.trained import SIZES, TINY, random, small_take

SIZE = SIZES["nerf"]
FEATURES = 32 + 4 + 6


def test_a_take_is_read_smaller_with_all_that_is_counted_in_pixels(actor: Filmed) -> None:
    take, track = small_take("nerf", actor.take.root)
    whole, ratio = read_track(actor.take), actor.take.camera.size / SIZE
    assert read_frames(take, [3]).shape == (1, SIZE, SIZE, 3)
    assert torch.allclose(track.landmarks * ratio, whole.landmarks)
    assert torch.allclose(track.torso[:, :2] * ratio, whole.torso[:, :2])
    vertices = to_camera(track.neutral, track.rotation[3], track.translation[3])
    assert torch.allclose(project(vertices, take.camera) * ratio, project(vertices, actor.take.camera), atol=1e-2)
    with pytest.raises(UserError, match="is 512 px, fewer than the 1024 px asked for"):
        with_size(actor.take, 1024)


def test_rays_pass_through_what_the_camera_sees() -> None:
    camera, box = Camera(128, 64), head_box()
    rotation, translation = exponential(torch.tensor([0.1, -0.2, 0.05])), torch.tensor([1.0, -2, 60])
    point = torch.tensor([2.0, 1, -3])
    x, y = project(to_camera(point[None], rotation, translation)[0], camera).long().tolist()
    rays = cast_rays(camera, rotation, translation, box, box)
    (index,) = (rays.pixels == y * 64 + x).nonzero()[0]
    depth = to_camera(point[None], rotation, translation)[0, 2]
    there = box.to_cm(rays.origins[index] + depth * rays.directions[index])
    assert (there - point).norm() < 60 / 128  # half a pixel to each side
    assert rays.depths[0] < depth < rays.depths[1]
    assert torch.allclose(rays.unit_directions().norm(dim=1), torch.ones(len(rays)), atol=1e-5)


def test_the_mesh_comes_back_to_rest() -> None:
    space = load_space()
    warp = make_warp(space.template, space)
    expression = torch.zeros(space.modes)
    expression[4] = 2.0
    moved = space.template + torch.einsum("k,kvc->vc", expression, space.basis)
    back, features = warp.to_rest(moved, warp.tables(expression))
    before, after = (moved - space.template).norm(dim=1).mean(), (back - space.template).norm(dim=1).mean()
    assert after < 0.35 * before
    far = space.template + torch.tensor([0.0, 0, 30])
    assert torch.allclose(features[:, :3], moved - back)
    assert torch.allclose(warp.to_rest(far, warp.tables(expression))[0], far, atol=0.02)


def test_pixels_of_the_torso_are_where_it_was_moved_to() -> None:
    camera, torso = Camera(128, 64), torch.tensor([3.0, -2, 0.05, 0.1])
    places, middle = rest_places(camera, torso), torch.tensor([0.0, 0, 60])
    shown = apply_torso(places * 64 - 32, torso) + 32
    rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    assert torch.allclose(shown, torch.stack([columns, rows], -1).reshape(-1, 2), atol=1e-4)
    assert torch.allclose(rest_places(camera, torso, torch.eye(3), middle), places, atol=1e-5)
    turned = rest_places(camera, torch.zeros(4), exponential(torch.tensor([0.0, 0.3, 0])), middle).view(64, 64, 2)
    assert (turned[32, 40, 0] - turned[32, 24, 0]) / (16 / 64) > 1.02  # a card that is turned is narrower
    assert abs(float(turned[32, 32, 0]) - 0.5) < 0.02


@pytest.mark.parametrize("encoding", ["grid", "triplane"])
@pytest.mark.parametrize("conditioning", ["ambient", "attention"])
def test_the_native_field_and_its_gradients_agree_with_the_reference(encoding: str, conditioning: str) -> None:
    settings = NerfSettings.model_validate(TINY | {"encoding": encoding, "conditioning": conditioning})
    values = initial_head(settings, FEATURES, random())
    values = {name: tensor + 0.05 * torch.randn(tensor.shape, generator=random()) for name, tensor in values.items()}
    inputs = [torch.rand(200, width, generator=random()) for width in (3, WARP_FEATURES, 3)]
    features, appearance = torch.randn(FEATURES, generator=random()), torch.randn(4, generator=random())
    results = []
    for backend in (NATIVE, TORCH):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in values.items()}
        field = HeadField(settings, FEATURES, backend, torch.device("cpu"))
        density, color = field(leaves, *inputs, field.condition(leaves, features, appearance))
        (density.mean() + color.square().sum()).backward()
        results.append((density, color, *(leaf.grad for leaf in leaves.values())))
    for ours, truth in zip(*results, strict=True):
        assert (ours - truth).norm() <= 1e-4 * truth.norm() + 1e-6


def sampled_rays() -> FieldSamples:
    counts = torch.tensor([0, 9, 2, 30], dtype=torch.int32)
    total = int(counts.sum())
    positions = torch.rand(total, 3, generator=random())
    where = positions, positions[:, :0], torch.arange(total).float(), positions, positions
    return FieldSamples(*where, counts.cumsum(0) - counts, counts)


def test_stopping_early_changes_no_more_than_what_is_left() -> None:
    samples, evaluated = sampled_rays(), []

    def field(positions: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        evaluated.append(len(positions))
        return 4 * positions[:, 0].square(), positions

    color, alpha = composite(samples, field, 0.5)
    everything, covered = composite_early(samples, field, 0.5, 0.0)
    assert torch.allclose(color, everything, atol=3e-3)
    assert torch.allclose(alpha, covered, atol=2e-4)
    evaluated.clear()
    _, less = composite_early(samples, field, 0.5, 0.3)
    assert sum(evaluated) < len(samples.positions)
    assert ((alpha - less) < 0.3).all()
    assert (less < alpha - 1e-3).any()
    weights = sample_weights(samples, field, 0.5).split(samples.counts.tolist())
    assert torch.allclose(torch.stack([part.sum() for part in weights]), alpha, atol=1e-4)


def test_cells_that_nobody_sees_are_given_up() -> None:
    hull, weights = torch.ones(16, 16, 16, dtype=torch.uint8), torch.zeros(16, 16, 16)
    hull[:, :, 9:] = 0
    weights[4, 5, 8] = 0.5
    kept = prune(weights, hull)
    assert kept.sum() == 3 * 3 * 2
    assert kept.view(-1)[cell_of(torch.tensor([[8.5, 5.5, 4.5]]) / 16, 16)] == 1
    box = filled_box(kept, Box(torch.zeros(3), torch.full((3,), 16.0)))
    assert box.lower.tolist() == [7, 4, 3]
    assert box.upper.tolist() == [9, 7, 6]


def test_the_visual_hull_holds_the_face_and_the_torso_mask_does_not(actor: Filmed) -> None:
    take, track = small_take("nerf", actor.take.root)
    box, side = head_box(), 64
    hull = visual_hull(take, track, box, side)
    skin = track.neutral[[1, CHIN, LEFT_EYE.outer, RIGHT_EYE.outer]]
    assert (hull.view(-1)[cell_of(box.to_unit(skin), side)] == 1).all()
    corners = torch.tensor([[0.01, 0.01, 0.01], [0.99, 0.5, 0.5]])
    assert (hull.view(-1)[cell_of(corners, side)] == 0).all()
    mask, matte = torso_mask(take, track) > 0, read_mattes(take, [0])[0] > 200
    assert mask[-1][matte[-1]].all()  # the shoulders reach the picture's lower edge
    x, y = track.landmarks[:, 1, :2].mean(0).long().tolist()
    assert matte[y, x]
    assert not mask[y, x]  # the nose
    assert not mask[0, 0]


def test_low_rank_factors_are_a_product_that_is_zero_at_first() -> None:
    widths = [5, 7, 3]
    factors = initial_lora(widths, 2, random())
    assert low_rank(factors, widths, 2).abs().max() == 0
    factors = torch.randn(factors.shape, generator=random())
    inward, outward = factors[:10].view(2, 5), factors[10:24].view(7, 2)
    assert torch.allclose(low_rank(factors, widths, 2)[:35].view(7, 5), outward @ inward)


def test_a_generic_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no")
    with pytest.raises(UserError, match="is damaged"):
        load_generic(tmp_path / "x")
    with pytest.raises(UserError, match="no such generic NeRF"):
        load_generic(tmp_path / "y")
