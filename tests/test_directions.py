"""Directions found from many people, against those that their lips were made from."""

from __future__ import annotations

import pytest
import torch
from torch.func import jacrev, vmap

from avatar.learn import directions
from avatar.learn.directions import find_directions, outer_gradients, standardize_curves
from avatar.learn.regression import MIN_RIDGE, RIDGE
from avatar.motion.encoder import DIRECTIONS
from avatar.motion.regression import LINEAR_WEIGHT, RBF_GAMMA

WIDTH = 60


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_directions_are_those_that_lips_change_along_in_units_of_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two linear combinations of 60 inputs move the lips, one of them nonlinearly; inputs have units of their own."""
    monkeypatch.setattr(directions, "STEPS", 30)
    causes, units = torch.linalg.qr(draw(WIDTH, 2, seed=0)).Q, torch.linspace(0.01, 30, WIDTH)
    people = []
    for person in range(6):
        standard = draw(200, WIDTH, seed=1 + person)
        cause = standard @ causes
        lips = torch.stack([cause[:, 0], cause[:, 1] + 0.5 * cause[:, 1].square(), cause.sum(1)], 1)
        people.append((standard * units + 5, lips + 0.5 * draw(200, 3, seed=50 + person)))
    found = find_directions(people) * units
    assert found.shape == (DIRECTIONS, WIDTH)
    longest = torch.linalg.svd(found).Vh[:2]
    assert torch.linalg.svdvals(longest @ causes).min() > 0.95


def test_gradients_are_those_of_the_regression() -> None:
    inputs, curves = draw(50, 7, seed=3), standardize_curves(draw(50, 2, seed=4))

    def kernel(one: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        near = torch.exp(-RBF_GAMMA * (one - others).square().sum(-1))
        return near + LINEAR_WEIGHT * others @ one

    rows = (inputs / 7**0.5).double()
    gram = torch.stack([kernel(row, rows) for row in rows])
    weights = torch.linalg.solve(gram + max(50 * MIN_RIDGE, RIDGE) * torch.eye(50), curves.double())
    gradients = vmap(jacrev(lambda row: kernel(row, rows) @ weights))(rows)  # [50, 2, 7]
    expected = torch.einsum("nci,ncj->ij", gradients, gradients) / 50
    assert torch.allclose(outer_gradients(inputs, curves).double(), expected, rtol=1e-3, atol=1e-5)


def test_optimized_directions_predict_better_for_other_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lips depend on four combinations of sixty inputs, on each person's in a way of their own."""
    causes = torch.linalg.qr(draw(WIDTH, 4, seed=0)).Q

    def person(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = draw(count, WIDTH, seed=seed)
        lips = torch.tanh(inputs @ causes @ draw(4, 3, seed=100 + seed))
        return inputs, lips + 0.7 * draw(count, 3, seed=200 + seed)

    def error(found: torch.Tensor) -> float:
        """Of regressions on five sixths of other people's clips, in the rest."""
        total = 0.0
        for inputs, lips in (person(seed, 150) for seed in range(50, 70)):
            along = inputs @ found.T
            along = along / along.square().sum(1).mean().sqrt()
            near = torch.exp(-RBF_GAMMA * torch.cdist(along, along).square()) + LINEAR_WEIGHT * along @ along.T
            weights = torch.linalg.solve(near[:125, :125] + RIDGE * torch.eye(125), lips[:125])
            total += float((near[125:, :125] @ weights - lips[125:]).square().mean())
        return total

    monkeypatch.setattr(directions, "STEPS", 40)
    people = [person(seed, 80) for seed in range(25)]
    optimized = find_directions(people)
    monkeypatch.setattr(directions, "STEPS", 0)
    assert error(optimized) < 0.985 * error(find_directions(people))


def test_the_same_seed_gives_the_same_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "STEPS", 3)
    people = [(draw(90, WIDTH, seed=1), draw(90, 3, seed=2)), (draw(100, WIDTH, seed=3), draw(100, 3, seed=4))]
    first, again, other = (find_directions(people, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
