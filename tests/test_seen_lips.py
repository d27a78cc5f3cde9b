"""Lips as a picture shows them: in the face's own axes and size; a film's against the real film's, nothing moved."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avatar.core.landmarks import LEFT_CORNER, LIP_BOTTOM, LIP_TOP, LOWER_LIP, RIGHT_CORNER, UPPER_LIP
from avatar.core.lips import POSITIONS, read_lip_positions, seen_lip_positions
from avatar.core.motion_space import load_space
from avatar.pipelines.evaluate_speech import compare_closures, compare_seen_lips


def faces(count: int = 100) -> Tensor:
    """Landmarks [T, 478, 3] px of a face from the front whose lips move, each point by a curve of its own."""
    points = (20 * load_space().template + 256).expand(count, -1, -1).clone()
    time = torch.arange(count) / 25
    for point, axis, sign, rate in (
        (LOWER_LIP, 1, 1, 3.0), (LIP_BOTTOM, 1, 1, 2.5), (LIP_TOP, 1, -1, 3.7), (UPPER_LIP, 1, -1, 2.0),
        (RIGHT_CORNER, 0, 1, 4.2), (LEFT_CORNER, 0, -1, 4.2),
    ):  # fmt: skip
        points[:, point, axis] += sign * 5 * (1 + torch.sin(2 * math.pi * rate * time))
    return points


def test_they_do_not_change_with_place_size_and_roll_of_the_head() -> None:
    points = faces()
    seen = seen_lip_positions(points)
    turn = torch.tensor([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    moved = points.clone()
    moved[..., :2] = 1.7 * points[..., :2] @ turn.T + torch.tensor([30.0, -12.0])
    assert torch.allclose(seen_lip_positions(moved), seen, atol=1e-4)


def test_each_is_positive_where_the_mouth_opens_or_widens() -> None:
    points = faces()
    still, wide = points[:1].clone(), points[:1].clone()
    for point, axis, by in (
        (LOWER_LIP, 1, 4), (LIP_BOTTOM, 1, 4), (LIP_TOP, 1, -3), (RIGHT_CORNER, 0, 2), (LEFT_CORNER, 0, -2),
    ):  # fmt: skip
        wide[:, point, axis] += by
    assert (seen_lip_positions(wide) > seen_lip_positions(still)).all()


def test_modes_are_read_as_pictures_show_them() -> None:
    """A mode seen from the front moves what is seen by as much as what is read of it, in eye distances."""
    space = load_space()
    mode, step = read_lip_positions(space.basis)[:, 0].abs().argmax(), 0.1
    flat = torch.stack([space.template, space.template + step * space.basis[mode]])
    seen = seen_lip_positions(flat)
    change = (seen[1] - seen[0])[:2] * (flat[0, 33, :2] - flat[0, 263, :2]).norm()
    assert torch.allclose(change.abs(), step * read_lip_positions(space.basis)[mode, :2].abs(), atol=2e-2 * step)


def test_a_film_is_compared_as_it_is_shown() -> None:
    real = faces()
    scores = {score.metric: score.value for score in compare_seen_lips(real, real)}
    for name in POSITIONS:
        assert scores[f"{name} correlation"] == pytest.approx(1.0, abs=1e-4)
        assert scores[f"{name} amplitude"] == pytest.approx(1.0, abs=1e-4)
    calm = real.mean(0) + 0.5 * (real - real.mean(0))
    scores = {score.metric: score.value for score in compare_seen_lips(calm, real)}
    assert scores["opening correlation"] == pytest.approx(1.0, abs=1e-3)
    assert scores["opening amplitude"] == pytest.approx(0.5, abs=0.02)
    assert scores["upper lip quick part"] == pytest.approx(0.5, abs=0.02)
    late = {score.metric: score.value for score in compare_seen_lips(real[:-1], real[1:])}
    for name in POSITIONS:
        assert late[f"{name} correlation"] < 0.95


def test_closures_are_looked_for_at_the_sounds_that_need_them() -> None:
    """Four sounds of closed lips: the real film shuts at all, the other film at two, and at one a frame late."""
    real, driven = faces()[:1].repeat(80, 1, 1), faces()[:1].repeat(80, 1, 1)
    closure = torch.zeros(80)
    for points in (real, driven):
        points[:, LOWER_LIP, 1] = points[:, UPPER_LIP, 1] + 10
    for number, frame in enumerate((10, 30, 50, 70)):
        closure[frame : frame + 2] = 0.9
        real[frame : frame + 2, LOWER_LIP, 1] -= 10
        if number < 2:
            driven[frame + 2 * number : frame + 2 * number + 1, LOWER_LIP, 1] -= 10
    found = list(compare_closures(driven, real, closure))
    assert [(score.metric, score.value, score.unit) for score in found] == [
        ("closed at p, b, m", 0.5, "of 4"),
        ("closed at p, b, m, real", 1.0, "of 4"),
    ]
    assert list(compare_closures(driven, real, torch.zeros(80))) == []
