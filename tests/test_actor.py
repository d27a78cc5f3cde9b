"""The tracker and the matte against the actor's exact truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_fill_holes

from avatar.core.geometry import exponential, mean_rotation, to_vector
from avatar.core.landmarks import LOWER_LIP, MESH_POINTS, UPPER_LIP
from avatar.core.media import read_video
from avatar.core.take import read_audio, read_frames, read_mattes, read_plate, read_track
from preprocess.actor import cut_out_actor, film_actor
from preprocess.actor_drawing.looks import LOOKS
from preprocess.basis import leave_one_out
from preprocess.trackers import detect
from tests.conftest import SECONDS, Filmed


def test_film_is_deterministic(tmp_path: Path) -> None:
    films = [film_actor(tmp_path / f"{i}.mp4", seconds=0.4, seed=5, size=128) for i in range(2)]
    assert np.array_equal(films[0].landmarks, films[1].landmarks)
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()


def test_no_wall_shows_through_the_actor() -> None:
    """Turned far enough for the gap between face and skull to be seen, and swaying beyond the picture's sides."""
    for picture in cut_out_actor([60, 90, 150], seconds=8.0, seed=11, size=256):
        matte = picture[..., 3]
        assert (binary_fill_holes(matte > 127) & (matte < 128)).sum() < 5
        assert matte[-8:].min() == 255


@pytest.mark.parametrize("look", range(len(LOOKS)))
def test_each_look_is_found_where_the_truth_is(look: int, tmp_path: Path) -> None:
    truth = film_actor(tmp_path / "film.mp4", seconds=0.4, seed=look, size=384)
    landmarks, found = detect(read_video(tmp_path / "film.mp4", size=384))
    assert found.all()
    offset = landmarks[:, :MESH_POINTS, :2].numpy() - truth.landmarks
    assert np.linalg.norm(offset, axis=-1).mean() < 3.0  # of 384 px: the mean face and the actor's own differ
    assert np.linalg.norm(offset - offset.mean(0), axis=-1).mean() < 1.0


def test_every_frame_is_found_and_kept(actor: Filmed) -> None:
    take, track = actor.take, read_track(actor.take)
    assert take.length == round(SECONDS * 25)
    assert (track.confidence == 1).all()
    assert take.excluded == ()
    assert len(take.test) == round(0.1 * take.length)


def test_pose_within_a_degree(actor: Filmed) -> None:
    # the mean face and the actor's own differ, so their head axes differ by one constant turn; it is taken out
    found, truth = read_track(actor.take).rotation, torch.from_numpy(actor.truth.rotation).float()
    constant = mean_rotation(truth.mT @ found)
    error = to_vector(found.mT @ truth @ constant).norm(dim=1).rad2deg()
    assert error.mean() < 1.0, error.mean()
    assert to_vector(constant).norm().rad2deg() < 12
    assert torch.allclose(exponential(to_vector(found)), found, atol=1e-4)


def test_lip_opening_within_eight_percent_of_its_range(actor: Filmed) -> None:
    track = read_track(actor.take)
    points = track.landmarks[:, [UPPER_LIP, LOWER_LIP], :2]
    found = ((points[:, 0] - points[:, 1]).norm(dim=1) * track.translation[:, 2] / actor.take.camera.focal).numpy()
    truth = actor.truth.opening
    # the detector's scale and offset are its own; what counts is how the lips move
    design = np.stack([found, np.ones_like(found)], 1)
    fitted = design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    error = np.abs(fitted - truth).mean() / (truth.max() - truth.min())
    assert error < 0.08, error


def test_blinks_are_seen(actor: Filmed) -> None:
    lids = read_track(actor.take).eyes[:, :2].mean(1).numpy()
    assert lids[actor.truth.shut > 0.95].max() < 0.5
    assert lids[actor.truth.shut == 0].min() > 0.6


def test_matte_covers_the_actor(actor: Filmed) -> None:
    frames = list(range(0, actor.take.length, 10))
    found = read_mattes(actor.take, frames).numpy() > 127
    truth = actor.truth.mattes[frames] > 127
    overlap = (found & truth).sum() / (found | truth).sum()
    assert overlap > 0.97, overlap


def test_torso_follows_the_shoulders(actor: Filmed) -> None:
    found, truth = read_track(actor.take).torso.numpy(), actor.truth.torso
    for column in (0, 1):
        error = (found - truth)[:, column]
        assert error.std() < 0.5, (column, error.std())


def test_plate_is_the_wall_where_it_was_seen(actor: Filmed) -> None:
    plate, truth = read_plate(actor.take).numpy().astype(int), actor.truth.plate.astype(int)
    seen = ~(actor.truth.mattes > 0).any(0)
    seen[:, 200:310] = False
    assert np.abs(plate - truth)[seen].mean() < 4


def test_sound_and_frames_are_written(actor: Filmed) -> None:
    assert abs(len(read_audio(actor.take)) / 16000 - SECONDS) < 0.1
    assert read_frames(actor.take, [0]).shape == (1, 512, 512, 3)
    page = (actor.take.root / "report.html").read_text()
    assert "only 8 s are left to train on" in page
    assert "<script" not in page


def test_modes_of_others_reconstruct_a_person_they_have_seen(actor: Filmed) -> None:
    both = leave_one_out([actor.take.root, actor.take.root], modes=16)
    assert [one.frames for one in both] == [actor.take.length] * 2
    assert all(one.kept > 0.9 and one.lips_px < one.face_px < 1.5 for one in both), both
