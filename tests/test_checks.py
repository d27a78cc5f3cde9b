"""What is left out, and what is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from avatar.core.files import UserError
from preprocess.checks import assess_quality, check_faces, lips_follow
from preprocess.crop import choose_crop, pick_face
from preprocess.matte import fill_smooth, median_of_three, refine_matte


def test_faces_too_few_and_too_short() -> None:
    none = np.zeros(100, bool)
    with pytest.raises(UserError, match=r"x\.mp4: no face found"):
        check_faces(none, 25, "x.mp4")
    some = none.copy()
    some[:45] = True
    with pytest.raises(UserError, match=r"for 1\.8 s only"):
        check_faces(some, 25, "x.mp4")
    check_faces(~none, 25, "x.mp4")


def test_of_several_faces_the_largest_is_taken_or_the_one_that_was_chosen() -> None:
    faces = [[(10.0, 10, 50, 50), (200.0, 10, 60, 60)]] * 5
    with pytest.warns(UserWarning, match="--face left"):
        assert pick_face(faces, "auto", "x.mp4") == [faces[0][1]] * 5
    with pytest.raises(UserError, match="no face found"):
        pick_face([[], []], "auto", "x.mp4")
    assert pick_face(faces, "left", "x.mp4")[0] == faces[0][0]
    assert pick_face([[], *faces], "right", "x.mp4")[:2] == [None, faces[0][1]]
    assert pick_face(faces, "largest", "x.mp4")[0] == faces[0][1]
    leaning = [(10.0, 10, 70, 70), (200.0, 10, 60, 60)]  # the other one comes nearer, and is not taken for that
    assert pick_face([faces[0], leaning], "largest", "x.mp4") == [faces[0][1], leaning[1]]
    # small faces in the background are nobody
    behind = [[(10.0, 10, 80, 80), (200.0, 10, 20, 20)]] * 5
    assert pick_face(behind, "auto", "x.mp4")[0] == behind[0][0]


def test_crop_keeps_a_framed_head_whole_and_zooms_into_a_wide_shot() -> None:
    assert choose_crop([(180.0, 120, 150, 150)], 512, 512) == (0, 0, 512)
    left, top, side = choose_crop([(900.0, 300, 120, 120)], 1920, 1080)
    assert side == pytest.approx(3.4 * 120)
    assert left < 900 < left + side
    assert top < 300 < top + side


def test_crop_of_two_framings_is_that_of_the_longer() -> None:
    """In the middle between a close and a wide shot is nobody."""
    close, wide = (300.0, 200, 400, 400), (900.0, 300, 120, 120)
    for boxes in ([close] * 11 + [wide] * 9, [close] * 9 + [wide] * 11):
        assert choose_crop(boxes, 1920, 1080) == choose_crop(
            [boxes[0] if boxes.count(close) > 10 else wide], 1920, 1080
        )
    swaying = [(900.0 + 20 * (frame % 3), 300, 120, 120) for frame in range(9)]
    assert choose_crop(swaying, 1920, 1080) == choose_crop([swaying[1]], 1920, 1080)


def test_verdict_says_what_to_film_differently() -> None:
    good = {"usable": 1.0, "eye_px": 130.0, "yaw_degrees": 5.0, "sound_rms": 0.1, "lip_motion": 0.05, "camera_px": 0.2}
    assert str(assess_quality(good)) == "Good."
    assert "only 5 s" in str(assess_quality(good | {"seconds": 5.0}))
    assert "film closer" in str(assess_quality(good | {"eye_px": 40.0}))
    fatal = {"usable": (0.1, "left out"), "sound_rms": (0.0, "no speech"), "lip_motion": (0.001, "lips")}
    for name, (value, word) in fatal.items():
        verdict = assess_quality(good | {name: value})
        assert str(verdict).startswith("Not usable")
        assert word in verdict.faults[0].ground
        assert verdict.faults[0].expected
    assert "the mouth is covered in 90%" in str(assess_quality(good | {"usable": 0.1, "mouth_covered": 0.9}))
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
    distance = np.hypot(x - 128, y - 128)
    disc = (distance < 70).astype(np.float32)
    frame = np.repeat((40 + 170 * disc)[..., None], 3, -1).astype(np.uint8)
    soft = np.clip((72 - distance) / 12 + 0.5, 0, 1).astype(np.float32)  # 2 px too wide, 12 px soft
    refined = refine_matte(frame, cv2.resize(soft, (128, 128), interpolation=cv2.INTER_AREA)) / 255
    assert np.abs(refined - disc).mean() < 0.75 * np.abs(soft - disc).mean()


def test_mattes_are_not_smeared_along_what_hangs_on_a_wall_of_the_persons_shade() -> None:
    rows, columns = np.mgrid[:256, :256]
    wall = np.where(rows // 8 % 2, 70, 130)
    cloth = 100 + np.random.default_rng(0).integers(-4, 5, (256, 256))
    edge = columns - 128 + 6 * np.sin(rows / 20)  # px from the person's, who is at the right
    picture = np.where(edge > 0, cloth, wall).astype(np.uint8)
    frame = np.repeat(picture[..., None], 3, 2)
    mask = cv2.resize(np.clip(edge / 6 + 0.5, 0, 1).astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA)
    beside = (np.abs(edge) > 5) & (np.abs(edge) < 12)
    assert np.abs(refine_matte(frame, mask) - 255.0 * (edge > 0))[beside].mean() < 5


def test_no_camera_and_no_background_refuses_a_clip() -> None:
    good = {"usable": 1.0, "eye_px": 130.0, "yaw_degrees": 5.0, "sound_rms": 0.1, "lip_motion": 0.05}
    words = {
        "camera_px": (60.0, "camera moves"),
        "plate_error": (30.0, "background changes"),
        "source_eye_px": (9.0, "9 px"),
    }
    for name, (value, word) in words.items():
        verdict = assess_quality(good | {name: value})
        assert verdict.usable
        assert word in str(verdict)
    assert "shakes" in str(assess_quality(good | {"camera_px": 3.0}))
    assert "mouth is covered in 12%" in str(assess_quality(good | {"mouth_covered": 0.12}))
