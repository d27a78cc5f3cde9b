"""The person's own part of the speech model: a regression against its closed form, practice, and lips that shut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.core.articulation import ARTICULATION
from avatar.core.lips import CURVES
from avatar.learn.synthetic_samples import EVERY, load_synthetic_speech, synthetic_rows
from avatar.metrics import correlation
from avatar.motion.behaviour import QUIET, SETTLING, Rest, measure_lips
from avatar.motion.encoder import CHANNELS, DIRECTIONS, REACH, encode, load_encoder
from avatar.motion.features import LogMel
from avatar.motion.regression import (
    CENTERS,
    DIRECTIONS_SHARE,
    LEAST_RIDGE,
    LINE,
    NOISE,
    RBF_GAMMA,
    Rows,
    SpeechToMotion,
    _lengths,
    load_speech_to_motion,
    pack_speech_to_motion,
    solve,
)
from avatar.motion.regression_inputs import centre_articulation, regression_inputs, split_frames

PERCEIVED = 384
OF_A_FRAME = CHANNELS + len(ARTICULATION) + len(CURVES) + PERCEIVED + LogMel.width
FRAMES = 2 * REACH + 1
INPUTS = FRAMES * OF_A_FRAME + DIRECTIONS


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_what_is_gathered_is_what_is_heard_about_now() -> None:
    encoder, features = load_encoder(), draw(81, LogMel.width)
    with torch.no_grad():
        inputs, heard = regression_inputs(encoder, features), encode(encoder, features)
    assert inputs.shape == (21, INPUTS)
    assert torch.allclose(centre_articulation(inputs), heard.articulation, atol=1e-6)
    frames = split_frames(inputs)
    assert frames.shape == (21, FRAMES, OF_A_FRAME)
    assert torch.equal(frames[5, 0], frames[5 - REACH, REACH])
    assert torch.allclose(frames[7, REACH, -LogMel.width :], features[28:32].mean(0), atol=1e-6)
    assert inputs[:, -DIRECTIONS:].std(0).min() > 0


def test_a_line_and_a_curve_are_found() -> None:
    """Inputs are much alike, as those of neighbouring frames are: eight things in 1271 numbers."""
    things = draw(3000, 8)
    inputs = things @ draw(8, 1271, seed=1) + 0.1 * draw(3000, 1271, seed=2)
    targets = torch.stack([things[:, 4], things[:, 4] + things[:, 1].square() + 2, torch.zeros(3000)], 1)
    found = solve([Rows(inputs[:2000], targets[:2000], 1.0)], noise=0.1)(inputs[2000:])
    assert correlation(found[:, 0], targets[2000:, 0]) > 0.9
    assert correlation(found[:, 1], targets[2000:, 1]) > 0.9
    assert (found.mean(0) - torch.tensor([0.0, 3.0, 0.0])).abs().max() < 0.2
    assert found[:, 2].abs().max() < 1e-3


def test_from_few_rows_it_is_the_regression_with_its_kernel_as_it_is() -> None:
    """Against kernel ridge regression in float64, where what is told lies between what was learned from."""
    inputs, targets = draw(90, INPUTS), draw(90, 2, seed=1)
    between = inputs.mean(0) + draw(40, 90, seed=2) @ (inputs - inputs.mean(0)) / 20
    scale = _lengths(INPUTS) / inputs.std(0, correction=0)
    scale[-DIRECTIONS:] = DIRECTIONS_SHARE**0.5 / inputs[:, -DIRECTIONS:].std(0, correction=0).norm()

    def kernel(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        left, right = (((each - inputs.mean(0)) * scale).double() for each in (one, other))
        return torch.exp(-RBF_GAMMA * torch.cdist(left, right).square()) + LINE * left @ right.T

    gram, told = kernel(inputs, inputs), kernel(between, inputs)
    center = torch.eye(90).double() - 1 / 90
    ridge = max(LEAST_RIDGE * 90, NOISE) * torch.eye(90)
    weights = center @ torch.linalg.solve(center @ gram @ center + ridge, (targets - targets.mean(0)).double())
    expected = (told - gram.mean(0)) @ weights + targets.mean(0)
    found = solve([Rows(inputs, targets, 1.0)])(between)
    assert (found - expected).abs().max() < 0.01 * expected.std()


def test_long_clips_are_told_from_a_part_of_their_rows() -> None:
    """Ten things move 4000 rows: six hundred of them say what all say."""
    things = draw(4500, 10)
    inputs = things @ draw(10, INPUTS, seed=1) + 0.1 * draw(4500, INPUTS, seed=2)
    targets = torch.sin(things[:, :2]) + 0.5 * draw(4500, 2, seed=3)
    decoder = solve([Rows(inputs[:4000], targets[:4000], 1.0)])
    assert len(decoder.centers) == CENTERS
    few = solve([Rows(inputs[:CENTERS], targets[:CENTERS], 1.0)])
    true = torch.sin(things[4000:, :2])
    error, error_of_few = ((each(inputs[4000:]) - true).square().mean() for each in (decoder, few))
    assert error < 0.5 * error_of_few


@settings(max_examples=5, deadline=None)
@given(weight=st.integers(1, 4), count=st.integers(20, 60))
def test_a_weight_counts_as_often_as_it_says(weight: int, count: int) -> None:
    inputs, targets = draw(count, 1271), draw(count, 2, seed=1)
    others = Rows(draw(30, 1271, seed=2), draw(30, 2, seed=3), 1.0)
    once = solve([Rows(inputs, targets, float(weight)), others])
    often = solve([Rows(inputs, targets, 1.0)] * weight + [others])
    assert torch.allclose(once(inputs), often(inputs), atol=1e-3)


def test_a_packed_speaker_says_the_same() -> None:
    decoder = solve([Rows(draw(200, INPUTS), draw(200, 4, seed=1), 1.0)])
    speaker = SpeechToMotion(load_encoder(), decoder, torch.zeros(4))
    packed = pack_speech_to_motion(speaker)
    assert packed["decoder.weight"].shape == (200, 4)
    features = draw(200, LogMel.width, seed=5)
    before, after = speaker(features), load_speech_to_motion(packed)(features)
    assert (before.expression - after.expression).abs().max() < 0.02 * before.expression.std()
    assert before.closure.shape == (50,)


def test_practice_keeps_the_persons_own_way_of_moving() -> None:
    synthetic = load_synthetic_speech()
    assert len(synthetic.features) == 4 * len(synthetic.articulation) == 4 * sum(synthetic.lengths)
    own = torch.rand(400, len(ARTICULATION), generator=torch.Generator().manual_seed(0))
    way = draw(len(ARTICULATION), 3, seed=1)
    with torch.no_grad():
        rows = synthetic_rows(load_encoder(), own, own @ way, weight=100.0)
    assert rows.weight * len(rows.inputs) == pytest.approx(100.0)
    meant = (synthetic.articulation @ way)[::EVERY]
    for mode in range(3):
        assert correlation(rows.targets[:, mode], meant[:, mode]) > 0.9


def test_lips_that_anybody_would_show_are_believed_before_the_rest() -> None:
    """From few rows, what one of the lips' columns tells is learned sooner than what another one does."""
    width, lips = 248, CHANNELS + len(ARTICULATION)
    inputs = draw(60, FRAMES * width + DIRECTIONS)
    middle = REACH * width + lips
    told = solve([Rows(inputs, inputs[:, middle : middle + 1], 1.0)])
    elsewhere = solve([Rows(inputs, inputs[:, middle + 20 : middle + 21], 1.0)])
    others = draw(500, FRAMES * width + DIRECTIONS, seed=7)
    right = correlation(told(others)[:, 0], others[:, middle])
    assert right > 0.5
    assert right > 2 * correlation(elsewhere(others)[:, 0], others[:, middle + 20])


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
    usual = before > lips.least
    assert (after <= before + 1e-5)[usual].all()
    assert (after >= torch.minimum(before, lips.shut) - 1e-4).all()
    assert (after >= lips.least - 1e-4).all()
    if closure < 0.5:
        assert torch.allclose(pressed[usual], own[usual])
    if closure > 0.8:
        assert (after <= lips.shut + 1e-4).all()
