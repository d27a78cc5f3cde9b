"""The person's own part of the speech model: a regression against its closed form, practice, and lips that shut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.core.articulation import ARTICULATION
from avatar.metrics import correlation
from avatar.motion.behaviour import measure_lips
from avatar.motion.decoder import (
    COSINES,
    REACH,
    Rows,
    Speaker,
    gather,
    heard_articulation,
    load_speaker,
    pack_speaker,
    solve,
)
from avatar.motion.encoder import CHANNELS, encode, load_encoder
from avatar.motion.features import LogMel
from avatar.motion.practice import EVERY, load_practice, practise

PERCEIVED = 384
INPUTS = (2 * REACH + 1) * (CHANNELS + len(ARTICULATION) + PERCEIVED + LogMel.width)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_what_is_gathered_is_what_is_heard_about_now() -> None:
    encoder, features = load_encoder(), draw(81, LogMel.width)
    with torch.no_grad():
        inputs, heard = gather(encoder, features), encode(encoder, features)
    assert inputs.shape == (21, INPUTS)
    assert torch.allclose(heard_articulation(inputs), heard.articulation, atol=1e-6)
    width = INPUTS // (2 * REACH + 1)
    assert torch.equal(inputs[5, :width], inputs[3, REACH * width : (REACH + 1) * width])
    assert torch.allclose(inputs[7, 3 * width - LogMel.width : 3 * width], features[28:32].mean(0), atol=1e-6)


def test_a_line_and_a_curve_are_found() -> None:
    inputs = draw(3000, 1240)
    targets = torch.stack([inputs[:, 4], inputs[:, 4] + 2 * inputs[:, 9] + 3, torch.zeros(3000)], 1)
    found = solve([Rows(inputs[:2000], targets[:2000], 1.0)], ridge=1e-6)(inputs[2000:])
    assert correlation(found[:, 0], targets[2000:, 0]) > 0.9
    assert correlation(found[:, 1], targets[2000:, 1]) > 0.9
    assert (found.mean(0) - torch.tensor([0.0, 3.0, 0.0])).abs().max() < 0.2
    assert found[:, 2].abs().max() < 1e-3


@settings(max_examples=5, deadline=None)
@given(weight=st.integers(1, 4), count=st.integers(20, 60))
def test_a_weight_counts_as_often_as_it_says(weight: int, count: int) -> None:
    inputs, targets = draw(count, 1240), draw(count, 2, seed=1)
    others = Rows(draw(30, 1240, seed=2), draw(30, 2, seed=3), 1.0)
    once = solve([Rows(inputs, targets, float(weight)), others])
    often = solve([Rows(inputs, targets, 1.0)] * weight + [others])
    assert torch.allclose(once(inputs), often(inputs), atol=1e-3)


def test_a_packed_speaker_says_the_same() -> None:
    decoder = solve([Rows(draw(200, INPUTS), draw(200, 4, seed=1), 1.0)])
    speaker = Speaker(load_encoder(), decoder, torch.zeros(4))
    packed = pack_speaker(speaker)
    assert packed["decoder.weight"].shape == (INPUTS + COSINES, 4)
    features = draw(200, LogMel.width, seed=5)
    before, after = speaker(features), load_speaker(packed)(features)
    assert (before.expression - after.expression).abs().max() < 0.02 * before.expression.std()
    assert before.closure.shape == (50,)


def test_practice_keeps_the_persons_own_way_of_moving() -> None:
    practice = load_practice()
    assert len(practice.features) == 4 * len(practice.articulation) == 4 * sum(practice.lengths)
    own = torch.rand(400, len(ARTICULATION), generator=torch.Generator().manual_seed(0))
    way = draw(len(ARTICULATION), 3, seed=1)
    with torch.no_grad():
        rows = practise(load_encoder(), own, own @ way, weight=100.0)
    assert rows.weight * len(rows.inputs) == pytest.approx(100.0)
    meant = (practice.articulation @ way)[::EVERY]
    for mode in range(3):
        assert correlation(rows.targets[:, mode], meant[:, mode]) > 0.9


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
    if closure < 0.3:
        assert torch.allclose(pressed[usual], own[usual])
    if closure > 0.7:
        assert (after <= lips.shut + 1e-4).all()
