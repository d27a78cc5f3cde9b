"""Lips that the detector reads as shut and the picture shows open."""

from __future__ import annotations

import numpy as np

from avatar.core.landmarks import EYE_CORNERS, LOWER_LIP, UPPER_LIP
from avatar.core.take import read_frames, read_mattes, read_track
from preprocess.mouth import refine_lips, sample_profile
from preprocess.regions import MOUTH, TEETH, find_regions
from preprocess.trackers import detect
from tests.conftest import Filmed


def gap(landmarks: np.ndarray) -> np.ndarray:
    return np.linalg.norm(landmarks[:, UPPER_LIP, :2] - landmarks[:, LOWER_LIP, :2], axis=1)


def test_narrow_gaps_are_measured(actor: Filmed) -> None:
    truth, found = gap(actor.truth.landmarks), gap(read_track(actor.take).landmarks.numpy())
    raw = gap(detect(read_frames(actor.take, range(actor.take.length)).numpy())[0].numpy())
    refined, alone = (np.corrcoef(one, truth)[0, 1] for one in (found, raw))
    assert refined > 0.97
    assert 1 - refined < 0.5 * (1 - alone), "the detector alone would do nearly as well"


def test_shut_lips_stay_shut(actor: Filmed) -> None:
    truth, found = gap(actor.truth.landmarks), gap(read_track(actor.take).landmarks.numpy())
    shut = np.argsort(actor.truth.opening)[:10]
    assert found[shut].mean() < 0.12 * truth.max()


def test_a_mouth_without_colour_keeps_the_detectors_lips() -> None:
    landmarks = np.random.default_rng(0).normal(size=(80, 478, 3)).astype(np.float32)
    landmarks[:, EYE_CORNERS, 0] = (-60, 60)
    grey = np.full((80, 64, 3), 128, np.uint8)
    assert np.array_equal(refine_lips(landmarks.copy(), grey, np.ones(80)), landmarks)


def test_profile_runs_across_the_lips(actor: Filmed) -> None:
    track = read_track(actor.take)
    frame = int(np.argmax(actor.truth.opening))
    picture = read_frames(actor.take, [frame])[0].numpy()
    profile = sample_profile(picture, track.landmarks[frame].numpy()).astype(int)
    redness = profile[:, 0] - profile[:, 1:].mean(1)
    assert redness[36:44].max() > redness[:8].mean() + 20, "the lower lip is redder than the skin under the nose"


def test_teeth_are_the_pale_part_of_an_open_mouth(actor: Filmed) -> None:
    track = read_track(actor.take)
    frame = int(np.argmax(actor.truth.opening))
    picture, matte = read_frames(actor.take, [frame])[0].numpy(), read_mattes(actor.take, [frame])[0].numpy()
    regions = find_regions(track.landmarks[frame].numpy(), matte, picture)
    assert (regions == TEETH).sum() > 50
    assert (regions == MOUTH).sum() > 20
    assert picture[regions == TEETH].mean() > picture[regions == MOUTH].mean() + 60
