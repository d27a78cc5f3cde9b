"""The clip's sound: its offset, its loudness, and who speaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar.core.articulation import LIP_LEAD
from avatar.core.loudness import TARGET_DB, find_gain, gain_of, is_spoken, measure_level
from avatar.core.media import SAMPLE_RATE
from avatar.core.sync import SURE, Drift, SyncReading, find_drift, move_sound, retime_sound
from avatar.core.take import Track, read_audio, read_track
from avatar.motion.articulation import predict_articulation
from avatar.motion.encoder import SEGMENT
from avatar.motion.sync import open_sync
from preprocess.sound import find_clipped, find_other_voice, prepare_sound
from tests.conftest import Filmed

ACTOR = -LIP_LEAD / 25  # s: the actor's lips move by synthetic articulation, which comes so much later than people's


@pytest.fixture(scope="module")
def spoken(actor: Filmed) -> tuple[Tensor, Track]:
    return read_audio(actor.take), read_track(actor.take)


@pytest.mark.parametrize("seconds", [-0.2, 0.0, 0.013, 0.28])
def test_an_offset_is_found_to_a_part_of_a_frame(spoken: tuple[Tensor, Track], seconds: float) -> None:
    samples, track = spoken
    found = open_sync(move_sound(samples, seconds))(track.expression, track.confidence > 0).whole
    still = open_sync(samples)(track.expression, track.confidence > 0).whole
    assert found.offset == pytest.approx(still.offset + seconds, abs=0.006)
    assert still.offset == pytest.approx(ACTOR, abs=0.02)
    assert found.follows


def test_foreign_sound_does_not_fit(spoken: tuple[Tensor, Track]) -> None:
    samples, track = spoken
    assert open_sync(samples.flip(0))(track.expression, track.confidence > 0).whole.follows is False


def test_nothing_is_said_of_what_cannot_be_measured(spoken: tuple[Tensor, Track]) -> None:
    samples, track = spoken
    everywhere, nowhere = track.confidence > 0, torch.zeros(len(track), dtype=torch.bool)
    measured = [
        open_sync(samples)(track.expression, nowhere),
        open_sync(samples)(track.expression[:3], everywhere[:3]),
        open_sync(samples[:0])(track.expression, everywhere),
        open_sync(samples)(track.expression[:1].expand(200, -1), everywhere),
        open_sync(torch.zeros(len(samples)))(track.expression, everywhere),
    ]
    assert [found.whole.follows for found in measured[:3]] == [None] * 3
    assert all(found.whole.follows is not True for found in measured)


def test_a_late_picture_gets_its_sound_back(spoken: tuple[Tensor, Track]) -> None:
    samples, track = spoken
    late = move_sound(samples, -0.23)
    sound = prepare_sound(late, track, open_sync(late))
    assert sound.quality["sound_moved_seconds"] == pytest.approx(0.23 - ACTOR, abs=0.025)
    assert sound.quality["sync_certainty"] > SURE
    assert sound.spans == []
    again = open_sync(sound.samples)(track.expression, track.confidence > 0).whole
    assert abs(again.offset) < 0.005


def test_a_dubbed_passage_is_left_out(spoken: tuple[Tensor, Track]) -> None:
    samples, track = spoken
    long, thrice = samples.repeat(3), _repeat(track, 3)
    dubbed = long.clone()
    dubbed[8 * SAMPLE_RATE : 14 * SAMPLE_RATE] = samples[: 6 * SAMPLE_RATE].flip(0)
    found = prepare_sound(dubbed, thrice, open_sync(dubbed)).spans
    assert sum(span.stop - span.start for span in found) > 50
    assert all("do not follow" in span.reason for span in found)
    assert all(span.start >= 190 and span.stop <= 360 for span in found)
    assert prepare_sound(long.clone(), thrice, open_sync(long)).spans == []


def _repeat(track: Track, times: int) -> Track:
    names = ("landmarks", "rotation", "translation", "expression", "eyes", "torso", "confidence")
    return replace(track, **{name: torch.cat([getattr(track, name)] * times) for name in names})


def test_clocks_that_run_apart_are_put_together(spoken: tuple[Tensor, Track]) -> None:
    samples, track = spoken
    times = -(-80 * 25 // len(track))
    long, whole = samples[: len(track) * SAMPLE_RATE // 25].repeat(times), _repeat(track, times)
    late = Drift(0.05, 0.0012)  # s, and in 80 s by another tenth
    drifted = retime_sound(long, Drift(-late.offset, -late.slope))
    sound = prepare_sound(drifted.clone(), whole, open_sync(drifted))
    assert -sound.quality["sound_drift"] == pytest.approx(late.slope, abs=1e-4)
    assert sound.quality["sync_certainty"] > SURE
    assert sound.spans == []
    again = open_sync(sound.samples)(whole.expression, whole.confidence > 0)
    assert find_drift(again.windows) is None
    for window in again.windows[1], again.windows[-2]:
        assert abs(window.offset - again.whole.offset) < 0.02
    assert abs(again.whole.offset) < 0.01


def test_a_drift_is_said_only_of_clocks_that_drift() -> None:
    noise = 0.015 * torch.randn(200, generator=torch.Generator().manual_seed(0))

    def windows(slope: float) -> list[SyncReading]:
        return [
            SyncReading(t, t + 3.0, 3.0, 0.02 + slope * (t + 1.5) + float(noise[t // 3]), 0.6, 0.6, 0.99)
            for t in range(200)
        ]

    found = find_drift(windows(-0.0005))
    assert found
    assert found.slope == pytest.approx(-0.0005, abs=8e-5)
    assert found.at(100.0) == pytest.approx(-0.03, abs=0.006)
    assert find_drift(windows(0.0)) is None
    assert find_drift(windows(-0.0005)[:50]) is None
    unsure = [replace(window, certainty=0.5) for window in windows(-0.0005)]
    assert find_drift(unsure) is None


def test_articulation_in_parts_is_that_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = 0.1 * torch.randn(470 * SAMPLE_RATE // 25 - 77, generator=torch.Generator().manual_seed(0))
    once = predict_articulation(samples)
    monkeypatch.setattr("avatar.motion.articulation.FRAMES_AT_ONCE", 2 * SEGMENT)
    assert once.shape == (470, 5)
    assert torch.allclose(predict_articulation(samples), once, atol=1e-4)


def test_loudness_is_one_for_all() -> None:
    time = torch.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    speech = torch.sin(2 * torch.pi * 200 * time) * (time % 1 < 0.6)
    for level in (0.003, 0.05, 0.9):
        samples = level * speech
        gain = find_gain(measure_level(samples), float(samples.abs().max()))
        assert gain == pytest.approx(gain_of(samples.split(1000)), rel=1e-3)
        result = measure_level(gain * samples)
        loud = 10 * (10 ** (result[is_spoken(result)] / 10)).mean().log10()
        assert loud == pytest.approx(TARGET_DB, abs=0.3) or gain == pytest.approx(10**1.5)
    assert gain_of([torch.zeros(5000)]) == 1.0


def test_clipping_and_silence_are_found(actor: Filmed) -> None:
    track, samples = read_track(actor.take), read_audio(actor.take)
    assert find_clipped(samples) == 0
    assert find_clipped((20 * samples).clamp(-1, 1)) > 0.5
    silent = prepare_sound(torch.zeros(100000), track, None)
    assert silent.quality == {"sound_rms": 0.0}


def test_noise_behind_the_voice_fills_its_pauses(actor: Filmed) -> None:
    track, samples = read_track(actor.take), read_audio(actor.take)
    noise = 0.5 * samples.std() * torch.randn(len(samples), generator=torch.Generator().manual_seed(0))
    clean, noisy = (prepare_sound(sound, track, None).quality["pause_depth_db"] for sound in (samples, samples + noise))
    assert clean > 30
    assert noisy < 18


def test_speech_over_resting_lips_is_somebody_elses() -> None:
    time = np.arange(400) / 25
    curves = 0.05 * np.abs(np.sin(2 * np.pi * np.array([2.1, 1.7, 1.3]) * time[:, None]))
    curves[150:300] = curves[150]
    speaking = np.ones(400, bool)
    found = find_other_voice(speaking, curves, np.ones(400, bool))
    assert found[170:280].all()
    assert not found[:140].any()
    assert not find_other_voice(~speaking, curves, np.ones(400, bool)).any()
