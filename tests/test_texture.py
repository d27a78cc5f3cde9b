"""Poses refined on texture: steadier than the landmarks, and not moved by the jaw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.geometry import mean_rotation, to_vector
from avatar.core.take import read_track
from bench.bench_track import flicker, frozen_turns, landmark_poses
from preprocess.rotations import Poses
from tests.conftest import Filmed


def test_the_upper_face_flickers_less_than_under_landmark_poses(actor: Filmed) -> None:
    track = read_track(actor.take)
    poses, mesh = landmark_poses(actor.take)
    refined = Poses(track.rotation.double().numpy(), track.translation.double().numpy())
    before, after = flicker(actor.take, poses, mesh, 1), flicker(actor.take, refined, mesh, 1)
    assert after < 0.85 * before, (before, after)


def test_a_moving_jaw_does_not_turn_a_still_head(actor: Filmed, tmp_path: Path) -> None:
    turns = frozen_turns(actor.take, tmp_path, frames=80)
    assert turns.max() < 0.15, turns


def test_jaw_and_pitch_are_untangled(actor: Filmed) -> None:
    """In truth they are independent; an error of the pitch that follows the jaw would tie them."""
    opening = actor.truth.opening
    textured = pitch_error(read_track(actor.take).rotation, actor.truth.rotation)
    landmarks = pitch_error(torch.from_numpy(landmark_poses(actor.take)[0].rotation).float(), actor.truth.rotation)
    nod, worse = (
        abs(np.polyfit(opening, error, 1)[0]) * (opening.max() - opening.min()) for error in (textured, landmarks)
    )
    assert nod < 0.5, "degrees while the mouth goes from shut to wide open"
    assert nod < 0.4 * worse, (nod, worse)
    assert abs(np.corrcoef(textured, opening)[0, 1]) < 0.15


def pitch_error(found: Tensor, truth: np.ndarray) -> np.ndarray:
    """Degrees [T], but for the constant turn between the two head frames."""
    real = torch.from_numpy(truth).float()
    constant = mean_rotation(real.mT @ found)
    return to_vector(found @ constant.mT @ real.mT).rad2deg()[:, 0].numpy()


def test_place_within_two_millimetres(actor: Filmed) -> None:
    """Up to a constant point of the head that the two call its origin, and one scale, which no picture shows."""
    track = read_track(actor.take)
    rotation, translation = track.rotation.double().numpy(), track.translation.double().numpy()
    design = np.concatenate([rotation.reshape(-1, 3), translation.reshape(-1, 1)], 1)
    truth = actor.truth.translation.reshape(-1)
    fitted = np.linalg.lstsq(design, truth, rcond=None)[0]
    error = 10 * np.linalg.norm((design @ fitted - truth).reshape(-1, 3), axis=1)
    assert error.mean() < 2, error.mean()
    assert abs(fitted[3] - 1) < 0.1
