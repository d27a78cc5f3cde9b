"""The clip's sound: its offset, its loudness, and who speaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar.core.lips import lip_curves
from avatar.core.loudness import TARGET_DB, find_gain, gain_of, is_spoken, measure_level
from avatar.core.media import SAMPLE_RATE
from avatar.core.take import read_audio, read_track
from avatar.motion.articulation import predict_articulation
from avatar.motion.encoder import SEGMENT
from preprocess.sound import delay, find_clipped, find_offset, find_other_voice, prepare_sound
from tests.conftest import Filmed

SAME_AS_TRAINED = 1  # frames by which real lips run before the articulation that the actor moves by


@pytest.fixture(scope="module")
def spoken(actor: Filmed) -> tuple[Tensor, np.ndarray, np.ndarray]:
    track = read_track(actor.take)
    return read_audio(actor.take), lip_curves(track.landmarks).double().numpy(), np.ones(len(track), bool)


@pytest.mark.parametrize("frames", [-5, 0, 3, 7])
def test_an_offset_is_found(spoken: tuple[Tensor, np.ndarray, np.ndarray], frames: int) -> None:
    samples, curves, seen = spoken
    offset = find_offset(predict_articulation(delay(samples, -frames, 25.0)).numpy(), curves, seen)
    assert offset.frames - SAME_AS_TRAINED == frames
    assert offset.strength > 8
    assert offset.agreed


def test_foreign_sound_does_not_fit(spoken: tuple[Tensor, np.ndarray, np.ndarray]) -> None:
    samples, curves, seen = spoken
    assert find_offset(predict_articulation(samples.flip(0)).numpy(), curves, seen).strength < 5


def test_a_late_picture_gets_its_sound_back(actor: Filmed) -> None:
    track, samples = read_track(actor.take), read_audio(actor.take)
    late = prepare_sound(delay(samples, -6, 25.0), track.landmarks, track.confidence, 25.0, predict_articulation)
    moved = late.quality["sound_moved_frames"] - SAME_AS_TRAINED
    assert moved == 6
    assert late.quality["lip_sync"] > 8
    assert late.spans == []


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
    silent = prepare_sound(torch.zeros(100000), track.landmarks, track.confidence, 25.0, predict_articulation)
    assert silent.quality == {"sound_rms": 0.0}


def test_noise_behind_the_voice_fills_its_pauses(actor: Filmed) -> None:
    track, samples = read_track(actor.take), read_audio(actor.take)
    noise = 0.5 * samples.std() * torch.randn(len(samples), generator=torch.Generator().manual_seed(0))
    clean, noisy = (
        prepare_sound(sound, track.landmarks, track.confidence, 25.0, None).quality["pause_depth_db"]
        for sound in (samples, samples + noise)
    )
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
