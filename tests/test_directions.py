"""What lips go by: directions found from many people against those that made their lips."""

from __future__ import annotations

import pytest
import torch
from torch.func import jacrev, vmap

from avatar.learn import directions
from avatar.learn.directions import find_directions, in_standard_units, outer_gradients
from avatar.motion.encoder import DIRECTIONS
from avatar.motion.regression import LEAST_RIDGE, LINE, NOISE, RBF_GAMMA

WIDTH = 60


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_directions_are_those_that_lips_go_by_in_units_of_the_inputs() -> None:
    """Two mixtures of 60 numbers move the lips, one of them bent; the numbers have units of their own."""
    causes, units = torch.linalg.qr(draw(WIDTH, 2, seed=0)).Q, torch.linspace(0.01, 30, WIDTH)
    people = []
    for person in range(6):
        standard = draw(400, WIDTH, seed=1 + person)
        cause = standard @ causes
        lips = torch.stack([cause[:, 0], cause[:, 1] + 0.5 * cause[:, 1].square(), cause.sum(1)], 1)
        people.append((standard * units + 5, lips + 0.5 * draw(400, 3, seed=50 + person)))
    found = find_directions(people) * units
    assert found.shape == (DIRECTIONS, WIDTH)
    longest = torch.linalg.svd(found).Vh[:2]
    assert torch.linalg.svdvals(longest @ causes).min() > 0.95


def test_gradients_are_those_of_the_regression() -> None:
    inputs, curves = draw(50, 7, seed=3), in_standard_units(draw(50, 2, seed=4))

    def kernel(one: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        near = torch.exp(-RBF_GAMMA * (one - others).square().sum(-1))
        return near + LINE * others @ one

    rows = (inputs / 7**0.5).double()
    gram = torch.stack([kernel(row, rows) for row in rows])
    weights = torch.linalg.solve(gram + max(50 * LEAST_RIDGE, NOISE) * torch.eye(50), curves.double())
    gradients = vmap(jacrev(lambda row: kernel(row, rows) @ weights))(rows)  # [50, 2, 7]
    expected = torch.einsum("nci,ncj->ij", gradients, gradients) / 50
    assert torch.allclose(outer_gradients(inputs, curves).double(), expected, rtol=1e-3, atol=1e-5)


def test_turned_directions_tell_more_of_people_who_did_not_turn_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lips go by four mixtures of sixty numbers, in a way of each person's own; a minute and a half of video in all."""
    causes = torch.linalg.qr(draw(WIDTH, 4, seed=0)).Q

    def person(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = draw(150, WIDTH, seed=seed)
        lips = torch.tanh(inputs @ causes @ draw(4, 3, seed=100 + seed))
        return inputs, lips + 0.7 * draw(150, 3, seed=200 + seed)

    def error(found: torch.Tensor) -> float:
        """Of regressions on five sixths of unknown people's clips, in the rest."""
        total = 0.0
        for inputs, lips in (person(seed) for seed in range(50, 70)):
            along = inputs @ found.T
            along = along / along.square().sum(1).mean().sqrt()
            near = torch.exp(-RBF_GAMMA * torch.cdist(along, along).square()) + LINE * along @ along.T
            weights = torch.linalg.solve(near[:125, :125] + NOISE * torch.eye(125), lips[:125])
            total += float((near[125:, :125] @ weights - lips[125:]).square().mean())
        return total

    people = [person(seed) for seed in range(15)]
    turned = find_directions(people)
    assert torch.equal(turned, find_directions(people)), "drawn from the seed"
    monkeypatch.setattr(directions, "STEPS", 0)
    assert error(turned) < 0.98 * error(find_directions(people))
