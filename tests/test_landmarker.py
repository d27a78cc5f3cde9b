"""The optional second detector, on a bundle made of the models that mediapipe ships (which lack the irises)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from avatar.core.files import UserError
from avatar.core.take import read_frames
from preprocess.request import TakeRequest
from preprocess.run import make_take
from preprocess.trackers import detect
from tests.conftest import Filmed

mediapipe = pytest.importorskip("mediapipe")
MODELS = Path(mediapipe.__file__).parent / "modules"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.task` file: two models and how their input is normalized."""
    from mediapipe.tasks.python.metadata.metadata_writers.metadata_writer import MetadataWriter

    path = tmp_path_factory.mktemp("task") / "face.task"
    parts = {
        "face_detector.tflite": ("face_detection/face_detection_short_range.tflite", 127.5, 127.5),
        "face_landmarks_detector.tflite": ("face_landmark/face_landmark.tflite", 0.0, 255.0),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, (model, mean, scale) in parts.items():
            writer = MetadataWriter.create(bytearray((MODELS / model).read_bytes()))
            archive.writestr(name, bytes(writer.add_image_input([mean], [scale]).populate()[0]))
    return path


def look_once(bundle: Path, frame: np.ndarray) -> np.ndarray | None:
    from preprocess.mediapipe_detector import TaskLandmarker

    landmarker = TaskLandmarker(bundle, 25.0)
    points = landmarker.landmarks(frame[None])[0]
    landmarker.close()
    return points


def test_it_finds_the_same_face(actor: Filmed, bundle: Path) -> None:
    for frame in read_frames(actor.take, [0, 60, 120]).numpy():
        points = detect([frame])[0][0].numpy()
        found = look_once(bundle, frame)  # anew: it could not follow what it reads wrongly
        assert found is not None
        assert found.shape == (478, 3)
        # this model gives 468 points in three numbers each, which are read as 478 in two: every third is whole
        assert np.linalg.norm(found[:450:3, :2] - points[:300:2, :2], axis=1).mean() < 6
    assert look_once(bundle, np.zeros_like(frame)) is None


def test_a_file_that_is_no_landmarker_is_one_line(actor: Filmed, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.task"
    wrong.write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"wrong\.task: is not a face landmarker"):
        make_take(actor.video, tmp_path / "x.take", TakeRequest(landmarker=wrong))
    with pytest.raises(UserError, match=r"gone\.task"):
        make_take(actor.video, tmp_path / "x.take", TakeRequest(landmarker=tmp_path / "gone.task"))
