"""A person's regression against its closed form, synthetic samples, lips that rest and shut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.core.articulation import ARTICULATION, LIP_LEAD
from avatar.core.lips import CURVES
from avatar.core.speech_model import SpeechModel
from avatar.learn import synthetic_samples
from avatar.learn.regression import (
    CENTERS,
    DIRECTIONS_SHARE,
    JITTER,
    MIN_RIDGE,
    RIDGE,
    SPEED,
    RegressionRows,
    _input_lengths,
    fit_regression,
    in_half_precision,
)
from avatar.learn.synthetic_samples import FRAME_STEP, SyntheticSpeech, load_synthetic_speech, synthetic_rows
from avatar.metrics import correlation
from avatar.motion.behaviour import QUIET, SETTLING, Rest, measure_lips
from avatar.motion.encoder import CHANNELS, DIRECTIONS, REACH, encode, load_encoder
from avatar.motion.features import DEFAULT_FEATURES, LogMel
from avatar.motion.regression import LINEAR_WEIGHT, RBF_GAMMA, kernel, predict
from avatar.motion.regression_inputs import lip_articulation, regression_inputs, split_frames
from avatar.motion.speech_to_motion import open_speech_model

BACKBONE = 384
OF_A_FRAME = CHANNELS + len(ARTICULATION) + len(CURVES) + BACKBONE + LogMel.width
FRAMES = 2 * REACH + 1
INPUTS = FRAMES * OF_A_FRAME + DIRECTIONS


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_inputs_are_the_outputs_of_the_encoder_about_a_frame() -> None:
    encoder, features = load_encoder(), draw(81, LogMel.width)
    with torch.no_grad():
        inputs, encoded = regression_inputs(encoder, features), encode(encoder, features)
    assert inputs.shape == (21, INPUTS)
    assert torch.allclose(lip_articulation(inputs)[:-LIP_LEAD], encoded.articulation[LIP_LEAD:], atol=1e-6)
    frames = split_frames(inputs)
    assert frames.shape == (21, FRAMES, OF_A_FRAME)
    assert torch.equal(frames[5, 0], frames[5 - REACH, REACH])
    assert torch.allclose(frames[7, REACH, -LogMel.width :], features[28:32].mean(0), atol=1e-6)
    assert inputs[:, -DIRECTIONS:].std(0).min() > 0


def test_linear_and_quadratic_targets_are_found() -> None:
    """Inputs are correlated, as those of neighbouring frames are: eight causes of 1271 values."""
    causes = draw(3000, 8)
    inputs = causes @ draw(8, 1271, seed=1) + 0.1 * draw(3000, 1271, seed=2)
    targets = torch.stack([causes[:, 4], causes[:, 4] + causes[:, 1].square() + 2, torch.zeros(3000)], 1)
    found = predict(fit_regression([RegressionRows(inputs[:2000], targets[:2000], 1.0)], ridge=0.1), inputs[2000:])
    assert correlation(found[:, 0], targets[2000:, 0]) > 0.9
    assert correlation(found[:, 1], targets[2000:, 1]) > 0.9
    assert (found.mean(0) - torch.tensor([0.0, 3.0, 0.0])).abs().max() < 0.2
    assert found[:, 2].abs().max() < 1e-3


def test_few_rows_give_kernel_ridge_regression() -> None:
    """Against its closed form in float64, at inputs between those fitted to."""
    inputs, targets = draw(90, INPUTS), draw(90, 2, seed=1)
    between = inputs.mean(0) + draw(40, 90, seed=2) @ (inputs - inputs.mean(0)) / 20
    scale = _input_lengths(INPUTS) / inputs.std(0, correction=0)
    scale[-DIRECTIONS:] = DIRECTIONS_SHARE**0.5 / inputs[:, -DIRECTIONS:].std(0, correction=0).norm()

    def kernel(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        left, right = (((each - inputs.mean(0)) * scale).double() for each in (one, other))
        return torch.exp(-RBF_GAMMA * torch.cdist(left, right).square()) + LINEAR_WEIGHT * left @ right.T

    gram, cross = kernel(inputs, inputs), kernel(between, inputs)
    center = torch.eye(90).double() - 1 / 90
    ridge = max(MIN_RIDGE * 90, RIDGE) * torch.eye(90)
    weights = center @ torch.linalg.solve(center @ gram @ center + ridge, (targets - targets.mean(0)).double())
    expected = (cross - gram.mean(0)) @ weights + targets.mean(0)
    found = predict(fit_regression([RegressionRows(inputs, targets, 1.0)]), between)
    assert (found - expected).abs().max() < 0.01 * expected.std()


def test_changes_from_frame_to_frame_count_beside_what_changes() -> None:
    """Against least squares of both at once in float64, frames that do not follow each other left out."""
    inputs, targets = draw(60, INPUTS), draw(60, 2, seed=1)
    frames = torch.cat([torch.arange(40), torch.arange(50, 70)])
    plain = fit_regression([RegressionRows(inputs, targets, 1.0)])
    found = fit_regression([RegressionRows(inputs, targets, 1.0, frames)])
    values = kernel((inputs - plain.mean) @ plain.project, plain.centers).double()
    steps = frames.diff() == 1
    level = values - values.mean(0)
    rows = torch.cat([level, SPEED**0.5 * values.diff(dim=0)[steps]])
    wanted = torch.cat([targets - targets.mean(0), SPEED**0.5 * targets.diff(dim=0)[steps]]).double()
    penalty = kernel(plain.centers, plain.centers).double() + JITTER * torch.eye(60)
    weight = torch.linalg.solve(rows.T @ rows + max(60 * MIN_RIDGE, RIDGE) * penalty, rows.T @ wanted)
    expected = level @ weight + targets.mean(0)
    assert (predict(found, inputs) - expected).abs().max() < 0.01 * expected.std()
    quick = [(predict(one, inputs).diff(dim=0) - targets.diff(dim=0))[steps].std() for one in (plain, found)]
    assert quick[1] < 0.95 * quick[0]


def test_long_clips_need_few_centers() -> None:
    """Ten causes of 4000 rows: six hundred centers make use of all rows."""
    causes = draw(4500, 10)
    inputs = causes @ draw(10, INPUTS, seed=1) + 0.1 * draw(4500, INPUTS, seed=2)
    targets = torch.sin(causes[:, :2]) + 0.5 * draw(4500, 2, seed=3)
    regression = fit_regression([RegressionRows(inputs[:4000], targets[:4000], 1.0)])
    assert len(regression.centers) == CENTERS
    few = fit_regression([RegressionRows(inputs[:CENTERS], targets[:CENTERS], 1.0)])
    true = torch.sin(causes[4000:, :2])
    error, error_of_few = ((predict(each, inputs[4000:]) - true).square().mean() for each in (regression, few))
    assert error < 0.6 * error_of_few


@settings(max_examples=5, deadline=None)
@given(weight=st.integers(1, 4), count=st.integers(20, 60))
def test_a_weight_counts_as_so_many_repetitions(weight: int, count: int) -> None:
    inputs, targets = draw(count, 1271), draw(count, 2, seed=1)
    others = RegressionRows(draw(30, 1271, seed=2), draw(30, 2, seed=3), 1.0)
    once = fit_regression([RegressionRows(inputs, targets, float(weight)), others])
    often = fit_regression([RegressionRows(inputs, targets, 1.0)] * weight + [others])
    assert torch.allclose(predict(once, inputs), predict(often, inputs), atol=1e-3)


def test_half_precision_changes_motion_little() -> None:
    encoder = load_encoder()
    regression = fit_regression([RegressionRows(draw(200, INPUTS), draw(200, 4, seed=1), 1.0)])
    features, zero = draw(200, LogMel.width, seed=5), torch.zeros(4)
    models = (
        SpeechModel(DEFAULT_FEATURES, encoder.state_dict(), each, zero, zero, zero)
        for each in (regression, in_half_precision(regression))
    )
    before, after = (open_speech_model(model)(features) for model in models)
    assert 0 < (before.expression - after.expression).abs().max() < 0.02 * before.expression.std()
    assert before.lip_closure.shape == (50,)


def test_synthetic_samples_move_as_the_person_does(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_synthetic_speech()
    assert len(whole.features) == 4 * len(whole.articulation) == 4 * sum(whole.lengths)
    count = sum(whole.lengths[:12])
    few = SyntheticSpeech(whole.features[: 4 * count], whole.articulation[:count], whole.lengths[:12])
    monkeypatch.setattr(synthetic_samples, "load_synthetic_speech", lambda: few)
    own = torch.rand(400, len(ARTICULATION), generator=torch.Generator().manual_seed(0))
    slopes = draw(len(ARTICULATION), 3, seed=1)
    with torch.no_grad():
        rows = synthetic_rows(load_encoder(), own, own @ slopes, weight=100.0)
    assert rows.weight * len(rows.inputs) == pytest.approx(100.0)
    expected = (few.articulation.roll(-LIP_LEAD, 0) @ slopes)[::FRAME_STEP]
    for mode in range(3):
        assert correlation(rows.targets[:, mode], expected[:, mode]) > 0.9


def test_lip_curves_of_the_encoder_weigh_more_than_other_inputs() -> None:
    """From few rows, a target that is one of the lip curves is predicted better than one that is another input."""
    width, lips = 248, CHANNELS + len(ARTICULATION)
    inputs = draw(60, FRAMES * width + DIRECTIONS)
    middle = REACH * width + lips
    of_lips = fit_regression([RegressionRows(inputs, inputs[:, middle : middle + 1], 1.0)])
    of_another = fit_regression([RegressionRows(inputs, inputs[:, middle + 20 : middle + 21], 1.0)])
    others = draw(500, FRAMES * width + DIRECTIONS, seed=7)
    right = correlation(predict(of_lips, others)[:, 0], others[:, middle])
    assert right > 0.5
    assert right > 2 * correlation(predict(of_another, others)[:, 0], others[:, middle + 20])


@settings(max_examples=20, deadline=None)
@given(pauses=st.lists(st.integers(1, 60), min_size=1, max_size=4), step=st.integers(1, 50))
def test_a_mouth_rests_in_long_pauses_alone_whatever_the_steps(pauses: list[int], step: int) -> None:
    voiced = torch.cat([torch.cat([torch.ones(3), torch.zeros(pause)]) for pause in pauses])
    rest, together = Rest(), Rest().take(voiced)
    parts = torch.cat([rest.take(part) for part in (torch.zeros(0), *voiced.split(step))])
    assert torch.allclose(parts, together)
    start = 0
    for pause in pauses:
        silent = together[start + 3 : start + 3 + pause]
        assert (silent[2 : QUIET - 1] == 0).all()  # the first two still come from rest, where it was one
        if pause >= QUIET + SETTLING:
            assert silent[-1] == 1
        start += 3 + pause


@settings(max_examples=20, deadline=None)
@given(closure=st.floats(0, 1), seed=st.integers(0, 100))
def test_lips_shut_where_they_must_and_never_further(closure: float, seed: int) -> None:
    own = draw(300, 6, seed=seed)
    reading = torch.tensor([0.5, -0.2, 0.0, 0.1, 0.0, 0.0])
    lips = measure_lips(own, reading)
    pressed = lips.press(own, torch.full((300,), closure))
    before, after = own @ reading, pressed @ reading
    within = before > lips.least
    assert (after <= before + 1e-5)[within].all()
    assert (after >= torch.minimum(before, lips.shut) - 1e-4).all()
    assert (after >= lips.least - 1e-4).all()
    if closure < 0.5:
        assert torch.allclose(pressed[within], own[within])
    if closure > 0.8:
        assert (after <= lips.shut + 1e-4).all()
