"""Gains and closing of predicted lips against curves whose true energy, tremor and quantiles are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import Adapted, Filmed
from scenes import rng
from torch import Tensor

from avatar.core.avatar_file import Avatar
from avatar.core.lips import POSITIONS, read_lip_positions
from avatar.core.motion_space import Motion, load_space
from avatar.core.speech_model import LipRange
from avatar.core.take import Take, with_size
from avatar.learn.lip_range import (
    DEFAULT_GAIN,
    FPS,
    MAX_GAIN,
    QUANTILES,
    default_lip_range,
    match_energy,
    mean_spectrum,
    measure_lip_range,
)
from avatar.motion.lip_range import close, to_own_range
from avatar.pipelines import drawn_lips
from avatar.play.player import motion_of_take

FRAMES = torch.arange(1500)


def waves(low: float, high: float, seed: int, count: int = 1) -> Tensor:
    """Curves [1500, count] of many sines between two frequencies, Hz, of deviation 1."""
    frequency = low + (high - low) * torch.rand(60, count, generator=rng(seed))
    phase = 2 * math.pi * torch.rand(60, count, generator=rng(seed + 1))
    curves = torch.sin(2 * math.pi * frequency * FRAMES[:, None, None] / FPS + phase).sum(1)
    return curves / curves.std(0)


def expressions(positions: Tensor) -> Tensor:
    """Expressions [N, K] whose lip positions are those given [N, 4]."""
    return positions @ torch.linalg.pinv(read_lip_positions(load_space().basis))


def test_a_gain_gives_back_what_speech_lost() -> None:
    own = waves(1.5, 5.5, 0, 2)
    gain = match_energy(own * torch.tensor([0.8, 1.2]), own, FRAMES)
    assert torch.allclose(gain, torch.tensor([1.25, 1.0]), rtol=1e-4)  # what is too strong stays


def test_neither_mood_nor_tremor_is_asked_for() -> None:
    spoken = waves(1.5, 5.5, 2)
    tremor = 0.4 * torch.randn(1500, 1, generator=rng(4))
    gain = match_energy(0.8 * spoken, spoken + 2 * waves(0.05, 0.3, 6) + tremor, FRAMES)
    assert float(gain) == pytest.approx(1.25, abs=0.04)
    assert float(match_energy(0.1 * spoken, spoken, FRAMES)) == pytest.approx(MAX_GAIN)


def test_a_gap_in_time_begins_another_run() -> None:
    """A jump between two halves of a clip is no movement of the lips."""
    curves = waves(2, 5, 8)
    apart = torch.cat([curves[:750], curves[750:] + 30])
    frames = torch.cat([FRAMES[:750], FRAMES[750:] + 1000])
    one, other = mean_spectrum(curves[:750], FRAMES[:750]), mean_spectrum(apart, frames)
    assert one is not None
    assert other is not None
    assert float((other.sum() / one.sum()).log().abs()) < 0.3
    assert mean_spectrum(curves[:20], FRAMES[:20]) is None
    assert torch.equal(match_energy(curves[:20], curves[:20], FRAMES[:20]), torch.tensor([DEFAULT_GAIN]))


def test_closing_is_linear_between_quantiles_and_ends_at_the_median() -> None:
    gaps, closing = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-0.4, -0.2, 0.0])
    given = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    expected = torch.tensor([-3.0, -1.4, -0.8, -0.2, 0.4, 1.0, 2.0])
    assert torch.allclose(close(given, gaps, closing), expected)


def test_lips_predicted_too_weakly_close_and_widen_again() -> None:
    """Own lips shut hard and stay there; predicted ones are half as strong, and round where they should be shut."""
    spoken = waves(1.5, 5.5, 10, len(POSITIONS))
    own = spoken.clone()
    own[:, 0] = own[:, 0].clamp_min(-0.8)
    shown, said = expressions(own) + 0.3, expressions(0.7 * spoken) + 0.3
    lips = measure_lip_range(said, shown, FRAMES)
    reading = read_lip_positions(load_space().basis)
    before, after, true = (
        (one - shown.mean(0)) @ reading for one in (said, to_own_range(said, shown.mean(0), lips, reading), shown)
    )
    assert torch.allclose(after.std(0)[1:], true.std(0)[1:], rtol=0.05)
    quantiles = [one[:, 0].quantile(QUANTILES) for one in (before, after, true)]
    assert (quantiles[1] - quantiles[2]).abs().mean() < 0.6 * (quantiles[0] - quantiles[2]).abs().mean()


def test_a_short_clip_has_the_usual_gain() -> None:
    own = expressions(waves(1.5, 5.5, 12, len(POSITIONS)))[:100]
    lips = default_lip_range(own)
    reading = read_lip_positions(load_space().basis)
    wider = (to_own_range(own, own.mean(0), lips, reading) - own.mean(0)) @ reading
    assert torch.allclose(wider, DEFAULT_GAIN * (own - own.mean(0)) @ reading, atol=0.05)


def test_shapes_are_checked() -> None:
    lips = default_lip_range(expressions(waves(1, 5, 14, len(POSITIONS))))
    with pytest.raises(ValueError, match="closing"):
        replace(lips, closing=torch.zeros(3))
    with pytest.raises(ValueError, match="positions"):
        LipRange(torch.ones(3), lips.gaps, lips.closing, lips.along[:3])


def test_lips_that_are_drawn_too_small_are_driven_further(
    actor: Filmed, avatar: Avatar, adapted: Adapted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of nine tenths of the motion stands for a renderer that smooths lips."""
    speaking = replace(avatar, speech=adapted[0])
    assert speaking.speech.lips is not None
    before = speaking.speech.lips.gain

    def smoothed(avatar: Avatar, take: Take) -> Motion:
        motion = motion_of_take(avatar, take)
        mean = motion.expression.mean(0)
        return replace(motion, expression=mean + 0.9 * (motion.expression - mean))

    whole = drawn_lips.match_drawn_lips(speaking, with_size(actor.take, avatar.camera.size)).speech.lips
    monkeypatch.setattr(drawn_lips, "motion_of_take", smoothed)
    damped = drawn_lips.match_drawn_lips(speaking, with_size(actor.take, avatar.camera.size)).speech.lips
    assert whole is not None
    assert damped is not None
    lower = POSITIONS.index("lower lip")
    assert float(damped.gain[lower] / whole.gain[lower]) == pytest.approx(1 / 0.9, abs=0.04)
    assert float((whole.gain / before).log().abs().max()) < 0.35  # an avatar of a second draws them nearly right
    from_file = replace(speaking, speech=replace(speaking.speech, lips=None))
    assert drawn_lips.match_drawn_lips(from_file, actor.take) is from_file
