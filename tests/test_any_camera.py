"""Takes of the actor, filmed by a camera that moves and zooms, and before a screen that moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar.core.encode import write_video
from avatar.core.geometry import eye_distance
from avatar.core.media import read_video
from avatar.core.take import Take, read_track
from preprocess.checks import assess_quality
from preprocess.request import TakeRequest
from preprocess.run import make_take
from tests.actors import short_film

Array = np.ndarray
SIZE = 256
SCREEN = (slice(10, 90), slice(6, 60))  # beside the head
PAPERED = ((slice(0, 185), slice(0, 64)), (slice(0, 185), slice(206, 256)), (slice(0, 36), slice(64, 206)))


def paper(frame: Array) -> Array:
    """The actor's frame with wallpaper beside and above the head."""
    pattern = cv2.GaussianBlur(np.random.default_rng(2).normal(0, 1, frame.shape), (0, 0), 2)
    papered, pattern = frame.copy(), 25 * pattern / pattern.std()
    for part in PAPERED:
        papered[part] = (frame[part] + pattern[part]).clip(0, 255).astype(np.uint8)
    return papered


def zoom_in(frame: Array, number: int) -> Array:
    """A camera that pans to the side and zooms in by a fifth."""
    scale = 1.05 + 0.2 * number / 90
    shift = np.array([SIZE * (1 - scale) * (0.3 + 0.4 * number / 90), SIZE * (1 - scale) / 2])
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return np.asarray(
        cv2.warpAffine(frame, matrix, (SIZE, SIZE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    )


def show_film(frame: Array, number: int) -> Array:
    """A screen on the wall on which everything moves to the left."""
    stripes = np.random.default_rng(1).integers(0, 255, (80, 600, 3)).astype(np.float32)
    film = cv2.GaussianBlur(stripes, (0, 0), 3)
    film = ((film - film.mean()) * 6 + 128).clip(0, 255).astype(np.uint8)
    frame = frame.copy()
    frame[SCREEN] = film[:, 4 * number : 4 * number + 54]
    return frame


def take_of(change: Callable[[Array, int], Array], factory: pytest.TempPathFactory, folder: Path) -> Take:
    source = short_film(factory)
    frames = (change(paper(frame), number) for number, frame in enumerate(read_video(source, size=SIZE)))
    write_video(frames, folder / "x.mp4", fps=25.0, sound=source)
    return make_take(folder / "x.mp4", folder / "take", TakeRequest(size=SIZE))


def test_a_camera_that_pans_and_zooms(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    take = take_of(zoom_in, tmp_path_factory, tmp_path)
    verdict = assess_quality(take.quality)
    assert verdict.usable
    assert "the camera moves" in str(verdict)
    assert not take.background_stands
    assert not take.framings, "a zoom is no cut"
    eyes = eye_distance(read_track(take).landmarks).numpy()
    assert np.median(eyes[-15:]) / np.median(eyes[:15]) == pytest.approx(1.25 / 1.05, rel=0.08)


def test_a_screen_that_moves_behind_a_standing_camera(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    take = take_of(show_film, tmp_path_factory, tmp_path)
    verdict = assess_quality(take.quality)
    assert verdict.usable
    assert "camera" not in str(verdict)
    assert take.quality["camera_px"] < 0.5
