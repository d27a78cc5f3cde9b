"""What is left out, and what is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from avatar.core.files import UserError
from avatar.core.landmarks import LEFT_EYE
from preprocess.camera_motion import camera_motion
from preprocess.checks import assess_quality, check_faces, lips_follow
from preprocess.crop import choose_crop, pick_face
from preprocess.matte import fill_smooth, median_of_three, refine_matte


def test_faces_too_few_too_short_too_small() -> None:
    landmarks, none = np.zeros((100, 478, 3), np.float32), np.zeros(100, bool)
    with pytest.raises(UserError, match=r"x\.mp4: no face found"):
        check_faces(none, landmarks, 25, "x.mp4")
    some = none.copy()
    some[:50] = True
    with pytest.raises(UserError, match=r"for 2\.0 s only"):
        check_faces(some, landmarks, 25, "x.mp4")
    landmarks[:, LEFT_EYE.outer, 0] = 10
    with pytest.raises(UserError, match="too small"):
        check_faces(~none, landmarks, 25, "x.mp4")


def test_several_faces_need_a_choice() -> None:
    faces = [[(10.0, 10, 50, 50), (200.0, 10, 60, 60)]] * 5
    with pytest.raises(UserError, match="--face left"):
        pick_face(faces, "auto", "x.mp4")
    assert pick_face(faces, "left", "x.mp4")[0][0] == 10
    assert pick_face(faces, "right", "x.mp4")[0][0] == 200
    assert pick_face(faces, "largest", "x.mp4")[0][0] == 200
    # small faces in the background are nobody
    assert pick_face([[(10.0, 10, 80, 80), (200.0, 10, 20, 20)]] * 5, "auto", "x.mp4")[0][0] == 10


def test_crop_keeps_a_framed_head_whole_and_zooms_into_a_wide_shot() -> None:
    assert choose_crop([(180.0, 120, 150, 150)], 512, 512) == (0, 0, 512)
    left, top, side = choose_crop([(900.0, 300, 120, 120)], 1920, 1080)
    assert side == pytest.approx(3.4 * 120)
    assert left < 900 < left + side
    assert top < 300 < top + side


def test_verdict_says_what_to_film_differently() -> None:
    good = {"usable": 1.0, "eye_px": 130.0, "yaw_degrees": 5.0, "sound_rms": 0.1, "lip_motion": 0.05, "camera_px": 0.2}
    assert str(assess_quality(good)) == "Good."
    assert "only 5 s" in str(assess_quality(good | {"seconds": 5.0}))
    assert "film closer" in str(assess_quality(good | {"eye_px": 40.0}))
    fatal = {"usable": (0.1, "left out"), "sound_rms": (0.0, "no speech"), "lip_motion": (0.001, "lips")}
    for name, (value, word) in (fatal | {"camera_px": (30.0, "tripod")}).items():
        words = str(assess_quality(good | {name: value}))
        assert words.startswith("Not usable"), words
        assert word in words
    assert str(assess_quality(good | {"camera_px": 3.0})).startswith("Usable")
    foreign = good | {"sync_certainty": 0.02}
    assert "do not follow the sound (98 % sure)" in str(assess_quality(foreign))
    assert "sound" not in str(assess_quality(good | {"sync_certainty": 0.4})), "cannot be said"
    assert lips_follow(good)
    assert lips_follow(good | {"sync_certainty": 0.4})
    assert not lips_follow(foreign)
    assert not lips_follow(good | {"lip_motion": 0.001})
    assert "music or noise" in str(assess_quality(good | {"pause_depth_db": 8.0}))
    assert "clipped" in str(assess_quality(good | {"clipped": 0.5}))
    assert "into 40% of the frames" in str(assess_quality(good | {"captions": 0.4}))


def test_median_takes_out_a_flicker() -> None:
    quiet, flash = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert (median_of_three(quiet, flash, quiet) == 0).all()
    assert (median_of_three(quiet, flash, flash) == 255).all()


def test_fill_is_smooth_and_keeps_what_is_known() -> None:
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.float32)[None, :, None], (64, 1, 3))
    known = np.ones((64, 64), bool)
    known[20:44, 20:44] = False
    filled = fill_smooth(np.where(known[..., None], ramp, 0), known)
    assert np.array_equal(filled[known], ramp[known])
    assert np.abs(filled - ramp)[~known].mean() < 25


def test_refined_matte_snaps_to_the_edge() -> None:
    y, x = np.mgrid[0:256, 0:256]
    disc = (np.hypot(x - 128, y - 128) < 70).astype(np.float32)
    frame = np.repeat((40 + 170 * disc)[..., None], 3, -1).astype(np.uint8)
    soft = np.clip((74 - np.hypot(x - 128, y - 128)) / 12 + 0.5, 0, 1).astype(np.float32)
    truth = disc > 0

    def overlap(matte: np.ndarray) -> float:
        return (matte & truth).sum() / (matte | truth).sum()

    raw, refined = (
        overlap(soft > 0.5),
        overlap(refine_matte(frame, cv2.resize(soft, (128, 128), interpolation=cv2.INTER_AREA)) > 127),
    )
    assert 1 - refined < 0.75 * (1 - raw), (raw, refined)


@pytest.mark.parametrize(("pan", "still"), [(0.0, True), (0.4, False)])
def test_a_moving_camera_is_seen(pan: float, still: bool) -> None:
    random = np.random.default_rng(1)
    wall = cv2.GaussianBlur(random.integers(0, 255, (128, 300), dtype=np.uint8), (0, 0), 1.5)
    matte = np.zeros((128, 128), np.uint8)
    matte[40:, 40:90] = 255

    def read(frame: int) -> np.ndarray:
        left = round(pan * frame)
        return np.ascontiguousarray(wall[:, left : left + 128])

    moved = camera_motion(read, lambda _: matte, np.arange(100))
    assert moved < 0.2 if still else moved > 20
