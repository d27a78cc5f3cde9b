"""The square put back where it was cut out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from avatar.core.geometry import apply_torso
from avatar.core.take import read_frames
from avatar.play.full_frame import Stage, paste, set_stage
from preprocess.matte import matte_of_picture
from tests.conftest import Filmed

STILL = np.zeros(4)
Array = np.ndarray


@pytest.fixture(scope="module")
def wide(actor: Filmed) -> Array:
    """A frame of the actor in the middle of a wide picture."""
    frame = read_frames(actor.take, [0])[0].numpy()
    return cv2.copyMakeBorder(frame, 60, 0, 240, 240, cv2.BORDER_REFLECT_101)


def stage_of(wide: Array, crop: tuple[float, float, float], size: int) -> Stage:
    return set_stage(wide, torch.from_numpy(matte_of_picture(wide)), crop, size)


def cut(frame: Array, crop: tuple[float, float, float], size: int) -> Array:
    left, top, side = (round(value) for value in crop)
    square = np.ascontiguousarray(frame[top : top + side, left : left + side])
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def test_what_was_cut_out_comes_back(wide: Array) -> None:
    crop = (300.0, 80.0, 400.0)
    frame = paste(stage_of(wide, crop, 400), cut(wide, crop, 400), STILL)
    assert frame.shape == wide.shape
    assert np.abs(frame.astype(int) - wide).max() <= 2
    smaller = paste(stage_of(wide, crop, 200), cut(wide, crop, 200), STILL)
    assert np.abs(smaller.astype(int) - wide).mean() < 1.5


def test_nothing_far_away_changes_and_the_avatar_shows(wide: Array) -> None:
    crop = (400.0, 60.0, 300.0)
    frame = paste(stage_of(wide, crop, 256), np.full((256, 256, 3), 255, np.uint8), STILL)
    assert np.array_equal(frame[:, :200], wide[:, :200])
    assert (frame[150:250, 500:600] == 255).all()


def test_there_is_no_step_at_the_seam(wide: Array) -> None:
    """Even where the avatar's shoulders have moved: the still moves with them."""
    crop, torso = (300.0, 80.0, 400.0), np.array([5.0, -4.0, 0.004, 0.01])
    stage = stage_of(wide, crop, 400)
    center = np.array([crop[0] + 200 - 0.5, crop[1] + 200 - 0.5])
    corners = np.array([[0.0, 0], [1, 0], [0, 1]])
    moved = apply_torso(corners - center, torso) + center
    matrix = cv2.getAffineTransform(corners.astype(np.float32), moved.astype(np.float32))
    swayed = cv2.warpAffine(wide, matrix, wide.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    with_person, without = paste(stage, cut(swayed, crop, 400), torso), paste(stage, cut(swayed, crop, 400), STILL)
    row = int(crop[1] + 400 - 12)  # within the strip where one fades into the other, on the shoulders
    columns = slice(int(crop[0]) + 60, int(crop[0]) + 340)
    error, worse = (
        np.abs(frame[row, columns].astype(int) - swayed[row, columns]).mean() for frame in (with_person, without)
    )
    assert error < 0.6 * worse, (error, worse)
