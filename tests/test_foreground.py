"""The person apart from the background: edges by the plate, no holes, and figures that tell holes and rims."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.take import read_frames, read_mattes, read_plate, with_size
from avatar.metrics import coverage_inside, edge_psnr, person_core
from avatar.render import RENDERERS
from avatar.render.foreground import PersonFinder
from avatar.render.losses import hole_loss
from avatar.render.near_plate import complete_plate
from preprocess.actor import cut_out_actor
from tests.conftest import SECONDS, Filmed
from tests.trained import random, trained_on

SIZE, GREEN = 256, torch.tensor([32.0, 160, 64])[:, None, None]
SKIN = torch.tensor([200.0, 120, 90])[:, None, None]


def _wall(seed: int) -> Tensor:
    """A blurred wall [3, S, S], 40 to 140 of 255."""
    coarse = torch.rand(1, 3, 6, 6, generator=random(seed))
    return 40 + 100 * functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=False)[0].clamp(
        0, 1
    )


def _disk(softness: float, radius: float = 80.0) -> Tensor:
    """Coverage [1, S, S] of a disk whose edge is so many px wide."""
    axis = torch.arange(SIZE) + 0.5 - SIZE / 2
    return ((radius - torch.hypot(axis[None], axis[:, None])) / softness + 0.5).clamp(0, 1)[None]


def _bytes(picture: Tensor) -> Tensor:
    return picture.round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("stripes", [False, True])
def test_edges_are_found_by_the_plate_and_freed_of_it(stripes: bool) -> None:
    """A matte 12 px soft and 2 px too wide, a shirt with stripes of the wall's colour."""
    wall, truth = _wall(0), _disk(1.0)
    person = SKIN.expand(3, SIZE, SIZE).clone()
    if stripes:
        person[:, :, ::16] = wall[:, :, ::16]
    image = torch.lerp(wall, person, truth)
    image, matte = PersonFinder(_bytes(wall))(_bytes(image), _bytes(255 * _disk(12.0, 82.0)))
    alpha = matte / 255
    band = (_disk(16.0) > 0) & (_disk(16.0) < 1)
    assert (alpha - truth).abs()[band].mean() < 0.03 < 0.1 < (_disk(12.0, 82.0) - truth).abs()[band].mean()
    drawn = image - (1 - alpha) * _bytes(wall)  # premultiplied
    wanted = truth * person
    error = ((drawn + (1 - alpha) * GREEN) - (wanted + (1 - truth) * GREEN)).abs().mean(0, keepdim=True)
    assert error[band].mean() < 6
    assert matte[0, SIZE // 2, SIZE // 2] == 255
    assert matte[0, 0, 0] == 0


def test_edges_are_freed_of_a_background_that_moved() -> None:
    plate, there, truth = _bytes(_wall(0)), _wall(1), _disk(6.0)
    image = torch.lerp(there, SKIN.expand(3, SIZE, SIZE), truth)
    image, matte = PersonFinder(plate, stands=False)(_bytes(image), _bytes(255 * truth))
    assert torch.equal(image[:, matte[0] == 0], plate[:, matte[0] == 0])
    alpha = matte / 255
    drawn = image - (1 - alpha) * plate  # premultiplied
    error = (drawn - truth * SKIN).abs().mean(0, keepdim=True)
    band = (truth > 0) & (truth < 1)
    assert error[band].mean() < 6 < (truth * (1 - truth) * (there - SKIN)).abs().mean(0, keepdim=True)[band].mean()


def test_a_plate_of_somewhere_else_leaves_the_matte() -> None:
    noise, given = 255 * torch.rand(3, SIZE, SIZE, generator=random()), _bytes(255 * _disk(12.0))
    image = torch.lerp(_wall(0), SKIN, _disk(1.0))
    _, matte = PersonFinder(_bytes(noise))(_bytes(image), given)
    assert (matte.int() - given.int()).abs().float().mean() < 1


def test_the_actors_edge_is_nearer_to_the_truth_than_its_matte(actor: Filmed) -> None:
    take = with_size(actor.take, 256)
    plate, frames = complete_plate(take), [20, 120]
    wall = _half(actor.truth.plate)
    known = (plate.float() - wall).abs().mean()
    assert known < (read_plate(take).permute(2, 0, 1) - wall).abs().mean()
    find, cut_out = PersonFinder(plate), cut_out_actor(frames, seconds=SECONDS, seed=3)
    for frame, true in zip(frames, cut_out, strict=True):
        wanted = functional.interpolate(torch.from_numpy(true).permute(2, 0, 1)[None].float(), (256, 256), mode="area")[
            0
        ]
        seen, matte = read_frames(take, [frame])[0].permute(2, 0, 1).contiguous(), read_mattes(take, [frame])
        found = []
        for image, alpha in ((seen, matte), find(seen, matte)):
            premultiplied = image - (1 - alpha / 255) * plate
            found.append(edge_psnr(*(_last(one) for one in (torch.cat([premultiplied, alpha]), wanted))) or 0.0)
        assert found[1] > found[0] + 1.5


def _half(picture: np.ndarray) -> Tensor:
    return functional.avg_pool2d(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), 2)[0]


def _last(picture: Tensor) -> Tensor:
    return picture.permute(1, 2, 0).float()


@pytest.mark.parametrize("kind", sorted(RENDERERS))
def test_nothing_shines_through_a_person(kind: str, actor: Filmed) -> None:
    """After a few seconds of training, on frames that were held out."""
    trained = trained_on(kind, actor.take.root)
    frames = range(184, 200, 5)
    _, alphas = trained.renderer().render(trained.track.motion()[torch.tensor(frames)], range(len(frames)))
    for alpha, matte in zip(_bytes(255 * alphas[:, 0]), read_mattes(trained.take, list(frames)), strict=True):
        found = coverage_inside(alpha, matte)
        assert found is not None
        assert found[0] > 0.97
        assert found[1] > 0.99


def test_holes_are_closed_to_the_last_per_cent() -> None:
    matte = torch.tensor([[[255, 255, 255, 128]]], dtype=torch.uint8)
    alpha = torch.tensor([[[0.2, 0.97, 1.0, 0.0]]]).requires_grad_()
    hole_loss(alpha, matte).backward()
    assert alpha.grad is not None
    often, last, full, edge = alpha.grad[0, 0].tolist()
    assert last < 10 * often < 0  # light is a product: the nearer to none, the less a splat changes of it
    assert full < last
    assert edge == 0


def test_coverage_and_edge_figures() -> None:
    matte, truth = _bytes(255 * _disk(3.0))[0], _disk(1.0)[0]
    core = person_core(matte)
    assert core[SIZE // 2, SIZE // 2]
    assert not core[SIZE // 2, SIZE // 2 + 79]
    alpha = matte.clone()
    alpha[120:130, 120:130] = 32
    opaque, mean = coverage_inside(alpha, matte) or (0.0, 0.0)
    assert opaque == pytest.approx(1 - 100 / int(core.sum()))
    assert 0.99 < mean < 1
    assert coverage_inside(alpha, torch.zeros_like(matte)) is None
    person = torch.cat([truth[..., None] * SKIN.view(3), 255 * truth[..., None]], -1)
    wider = torch.cat([_disk(1.0, 82.0)[0, ..., None] * SKIN.view(3), 255 * _disk(1.0, 82.0)[0, ..., None]], -1)
    assert (edge_psnr(person, person) or 0) > 60
    assert 10 < (edge_psnr(wider, person) or 0) < 25
    assert edge_psnr(person, torch.zeros_like(person)) is None
