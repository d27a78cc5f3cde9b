"""What the camera did is estimated from the background; the plate is put together whatever it did."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from preprocess.camera_motion import CameraMotion, measure_camera
from preprocess.matte import hide_person
from preprocess.plate import find_plate
from preprocess.take_folder import TakeFolder

Array = np.ndarray
SIZE, COUNT = 128, 24


def wall(seed: int, width: int = 400, blur: float = 1.5) -> Array:
    """A wall [200, width] uint8 with something on it everywhere."""
    random = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(random.normal(0, 1, (200, width)), (0, 0), blur)
    return (128 + 45 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


def person() -> Array:
    matte = np.zeros((SIZE, SIZE), np.uint8)
    matte[45:, 40:88] = 255
    return matte


def seen(background: Array, matrix: Array, frame: int) -> Array:
    """What a camera sees: the background by a transform [2, 3], noise, and the person, who sways."""
    picture = cv2.warpAffine(background, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT).astype(float)
    picture += np.random.default_rng(frame).normal(0, 2, picture.shape)
    sway = np.roll(wall(99)[:SIZE, :SIZE], frame % 5, axis=1)
    return np.where(person() > 0, sway, picture.clip(0, 255)).astype(np.uint8)


def shift(x: float, y: float = 0.0, scale: float = 1.0) -> Array:
    return np.array([[scale, 0, -x], [0, scale, -y]], np.float64)


def measure(pictures: list[Array]) -> CameraMotion:
    return measure_camera(pictures.__getitem__, lambda _: person(), np.arange(len(pictures)), len(pictures) // 2)


def test_a_camera_that_stands() -> None:
    camera = measure([seen(wall(1), shift(9), frame) for frame in range(COUNT)])
    assert camera.px == 0
    assert camera.stands
    assert not camera.unknown


@pytest.mark.parametrize("zoom", [1.0, 1.01])
def test_a_pan_and_a_zoom_are_measured(zoom: float) -> None:
    matrices = [shift(0.8 * frame, 0.3 * frame, zoom**frame) for frame in range(COUNT)]
    camera = measure([seen(wall(1), matrix, frame) for frame, matrix in enumerate(matrices)])
    assert len(camera.transforms) > 0.8 * COUNT
    assert camera.px > 12
    middle = np.vstack([matrices[COUNT // 2], [0, 0, 1]])
    for frame, found in camera.transforms.items():
        truth = (middle @ np.linalg.inv(np.vstack([matrices[frame], [0, 0, 1]])))[:2]
        points = np.array([[20.0, 20, 1], [100, 30, 1], [20, 100, 1]])
        assert np.abs(points @ (found - truth).T).max() < 1.0, frame


def test_a_screen_that_moves_is_no_camera() -> None:
    pictures = []
    for frame in range(COUNT):
        room = wall(1).copy()
        room[0:45, 20:80] = wall(7, 600)[0:45, 3 * frame : 3 * frame + 60]  # a film is shown beside the head
        pictures.append(seen(room, shift(0), frame))
    assert measure(pictures).px == 0


def test_a_plain_wall_shows_no_motion() -> None:
    plain = np.tile(np.linspace(90, 130, 400), (200, 1)).astype(np.uint8)
    assert measure([seen(plain, shift(0), frame) for frame in range(COUNT)]).px == 0


def test_a_blurred_background_that_stands() -> None:
    assert measure([seen(wall(1, blur=12.0), shift(0), frame) for frame in range(COUNT)]).px == 0


def test_what_stands_before_a_moving_wall_does_not_count() -> None:
    """A caption stays where it is while the camera pans."""
    pictures = [seen(wall(1), shift(frame), frame) for frame in range(COUNT)]
    for picture in pictures:
        picture[112:124, 4:124] = wall(5)[:12, :120]
    assert measure(pictures).px > 15


def folder_of(root: Path, pictures: list[Array]) -> TakeFolder:
    folder = TakeFolder(root)
    folder.create()
    for frame, picture in enumerate(pictures):
        folder.write_frame(frame, np.repeat(picture[..., None], 3, -1))
        folder.write_matte(frame, person())
    return folder


def test_the_plate_of_a_pan_is_the_wall(tmp_path: Path) -> None:
    background = wall(1)
    folder = folder_of(tmp_path, [seen(background, shift(frame), frame) for frame in range(COUNT)])
    plate = find_plate(folder, np.arange(COUNT), np.zeros(COUNT, int))
    truth = seen(background, shift(COUNT // 2), 0)
    apart = np.abs(plate.picture[..., 0].astype(int) - truth)[~hide_person(person())]
    assert apart.mean() < 8, "a median of what passed by is 40 apart"
    assert plate.camera_px > 12
    assert plate.error > 20, "frames do not lie over the plate"


def test_a_standing_camera_has_the_plate_of_its_pictures(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [seen(wall(1), shift(0), frame) for frame in range(COUNT)])
    plate = find_plate(folder, np.arange(COUNT), np.zeros(COUNT, int))
    assert plate.quality()["camera_px"] == 0
    assert plate.error < 4


def test_a_background_that_agrees_on_nothing_becomes_a_blur(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [seen(wall(frame), shift(0), frame) for frame in range(COUNT)])
    plate = find_plate(folder, np.arange(COUNT), np.zeros(COUNT, int))
    assert plate.error > 14
    assert cv2.Laplacian(plate.picture.astype(np.float32), cv2.CV_32F).std() < 2
