"""Other people's lips in a person's regression: the ridge against its normal equations, the blend, its use."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from avatar.core.articulation import LIP_LEAD
from avatar.core.lips import read_lip_positions
from avatar.core.motion_space import load_space
from avatar.core.speech_model import KernelRegression
from avatar.learn.people_lips import (
    RIDGE,
    SHARE,
    PeopleLips,
    SpokenLips,
    blend_people,
    fit_people_lips,
    load_people_lips,
    read_spoken_lips,
    save_people_lips,
)
from avatar.learn.regression import MIN_SPREAD, RegressionRows, fit_regression, in_half_precision
from avatar.metrics import correlation
from avatar.motion.encoder import load_encoder
from avatar.motion.regression import predict
from avatar.motion.regression_inputs import inputs_width
from tests.conftest import Filmed

WIDTH = inputs_width(4, 3)  # a narrow backbone


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def person(seconds: float, cause: Tensor, seed: int) -> SpokenLips:
    """Somebody whose lip positions [N, 4] follow eight correlated causes of the inputs [N, I]."""
    causes = draw(round(25 * seconds), 8, seed=seed)
    inputs = causes @ draw(8, WIDTH, seed=1000) + 0.3 * draw(len(causes), WIDTH, seed=seed + 1)
    positions = causes @ cause + 0.5 * draw(len(causes), 4, seed=seed + 2)
    return SpokenLips(inputs - inputs.mean(0), (positions - positions.mean(0)) / positions.std(0))


def test_it_is_the_ridge_of_all_peoples_rows() -> None:
    people = [person(4 + index, draw(8, 4), 10 * index) for index in range(3)]
    found = fit_people_lips([*people, person(1, draw(8, 4), 99)])  # of one second nothing is taken
    inputs = torch.cat([one.inputs for one in people]).double()
    targets = torch.cat([one.positions for one in people]).double()
    spread = inputs.square().mean(0).sqrt() + MIN_SPREAD
    standard = inputs / spread
    ridge = RIDGE * len(inputs) * torch.eye(WIDTH, dtype=torch.float64)
    expected = torch.linalg.solve(standard.T @ standard + ridge, standard.T @ targets)
    assert torch.allclose(found.spread.double(), spread, rtol=1e-5)
    assert torch.allclose(found.weight.double(), expected, atol=1e-5)


def adapted(seconds: float) -> tuple[KernelRegression, RegressionRows, Tensor, Tensor]:
    """A person's regression and rows; inputs [N, I] that were not fitted to, and the lip positions there [N, 4]."""
    reading, cause = read_lip_positions(load_space().basis), draw(8, 4)
    own, unseen = person(seconds, cause, 500), person(20, cause, 600)
    along = torch.linalg.pinv(reading)
    rows = RegressionRows(own.inputs, own.positions @ along + 0.2, 1.0)
    return fit_regression([rows]), rows, unseen.inputs, unseen.positions


def test_lips_are_between_the_two_and_the_mean_face_stays() -> None:
    regression, rows, inputs, _ = adapted(8)
    people = PeopleLips(torch.ones(WIDTH), 0.01 * draw(WIDTH, 4))
    blended, reading = blend_people(regression, rows, people), read_lip_positions(load_space().basis)
    mean = rows.inputs.mean(0)
    assert torch.allclose(predict(blended, mean[None]), predict(regression, mean[None]), atol=1e-4)
    alone = (predict(regression, inputs) - predict(regression, mean[None])) @ reading
    theirs = (inputs - mean) @ blended.positions
    found = (predict(blended, inputs) - predict(blended, mean[None])) @ reading
    expected = (1 - SHARE) * alone + SHARE * theirs
    assert (found - expected).square().mean() < 0.01 * expected.square().mean()


def test_what_others_lips_do_helps_a_person_of_few_seconds() -> None:
    regression, rows, inputs, truth = adapted(3)
    people = fit_people_lips([person(12, draw(8, 4), 10 * index) for index in range(6)])
    blended, reading = blend_people(regression, rows, people), read_lip_positions(load_space().basis)
    for position in range(4):
        before, after = (
            correlation(predict(one, inputs) @ reading[:, position], truth[:, position])
            for one in (regression, blended)
        )
        assert after > before


def test_it_survives_half_precision_and_a_file(tmp_path: Path) -> None:
    regression, rows, inputs, _ = adapted(4)
    people = fit_people_lips([person(8, draw(8, 4), 0)])
    blended = blend_people(regression, rows, people)
    half = in_half_precision(blended)
    assert half.positions is not None
    assert half.positions.dtype == torch.float16
    single = KernelRegression(**{name: tensor.float() for name, tensor in vars(half).items()})
    assert torch.allclose(predict(single, inputs), predict(blended, inputs), atol=0.02)
    save_people_lips(people, [load_encoder()], tmp_path / "p.safetensors")
    assert (tmp_path / "p.safetensors").stat().st_size < 20_000


def test_another_encoder_has_no_people() -> None:
    other = load_encoder()
    assert load_people_lips(other) is not None
    with torch.no_grad():
        other.first.bias += 0.01
    assert load_people_lips(other) is None


def test_the_packaged_one_follows_the_actor(actor: Filmed) -> None:
    """The actor is in nobody's data, and moves a frame later than people do; by rules of its own, in the width."""
    spoken, people = read_spoken_lips(actor.take, load_encoder()), load_people_lips(load_encoder())
    assert people
    predicted = spoken.inputs / people.spread @ people.weight
    for position in (0, 2):
        assert correlation(predicted[:-LIP_LEAD, position], spoken.positions[LIP_LEAD:, position]) > 0.6
