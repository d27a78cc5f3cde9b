"""A person detector of MediaPipe itself, and face landmarkers of MediaPipe Tasks. The only module that imports it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

os.environ.setdefault("GLOG_minloglevel", "3")  # before mediapipe's C++ side starts to log

import cv2
import mediapipe as mp
import numpy as np

from avatar.core.files import UserError
from preprocess.quiet import quiet

Array = np.ndarray
Box = tuple[float, float, float, float]


class MediapipeDetector:
    """See `preprocess.detectors.PersonDetector`."""

    def __init__(self) -> None:
        self.batch = 16  # pictures; it takes one by one
        self._warned = False  # it warns of something harmless at the first face

    @cached_property
    def _mesh(self) -> mp.solutions.face_mesh.FaceMesh:
        with quiet():
            return _started(mp.solutions.face_mesh.FaceMesh(refine_landmarks=True, max_num_faces=1))

    @cached_property
    def _detection(self) -> mp.solutions.face_detection.FaceDetection:
        with quiet():
            return _started(mp.solutions.face_detection.FaceDetection(model_selection=1))

    @cached_property
    def _selfie(self) -> mp.solutions.selfie_segmentation.SelfieSegmentation:
        with quiet():
            return _started(mp.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0))

    def faces(self, pictures: Array) -> list[list[Box]]:
        found = []
        for picture in pictures:
            height, width = picture.shape[:2]
            detections = self._detection.process(np.ascontiguousarray(picture)).detections or ()
            boxes = [detection.location_data.relative_bounding_box for detection in detections]
            found.append(
                [(box.xmin * width, box.ymin * height, box.width * width, box.height * height) for box in boxes]
            )
        return found

    def landmarks(self, pictures: Array) -> list[Array | None]:
        return [self._look(np.ascontiguousarray(picture)) for picture in pictures]

    def masks(self, pictures: Array) -> Array:
        half = (pictures.shape[2] // 2, pictures.shape[1] // 2)
        masks = (self._selfie.process(np.ascontiguousarray(picture)).segmentation_mask for picture in pictures)
        return np.stack([cv2.resize(mask, half, interpolation=cv2.INTER_AREA) for mask in masks])

    def close(self) -> None:
        for name in ("_mesh", "_detection", "_selfie"):
            if solution := self.__dict__.pop(name, None):
                solution.close()

    def _look(self, picture: Array) -> Array | None:
        mesh = self._mesh
        with nullcontext() if self._warned else quiet():
            result = mesh.process(picture).multi_face_landmarks
        self._warned = self._warned or bool(result)
        return _to_pixels(result[0].landmark, picture.shape) if result else None


class TaskLandmarker:
    """A face landmarker of MediaPipe Tasks, from the user's own `.task` file. Raises: UserError when it is none."""

    def __init__(self, file: Path, fps: float) -> None:
        self._step, self._now = 1000 / fps, 0.0
        options = mp.tasks.vision.FaceLandmarkerOptions(
            base_options=mp.tasks.BaseOptions(model_asset_buffer=file.read_bytes()),
            running_mode=mp.tasks.vision.RunningMode.VIDEO,
        )
        try:
            with quiet():
                self._task = mp.tasks.vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0][:160]
            raise UserError(f"{file}: is not a face landmarker of MediaPipe Tasks ({reason})") from error

    def landmarks(self, pictures: Array) -> list[Array | None]:
        """As those of a `PersonDetector`."""
        return [self._look(np.ascontiguousarray(picture)) for picture in pictures]

    def close(self) -> None:
        """Let go of the network."""
        self._task.close()

    def _look(self, picture: Array) -> Array | None:
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=picture)
        found = self._task.detect_for_video(image, round(self._now)).face_landmarks
        self._now += self._step
        return _to_pixels(found[0], picture.shape) if found else None


def _started(solution: mp.solutions.face_mesh.FaceMesh) -> mp.solutions.face_mesh.FaceMesh:
    """A solution that has loaded what it loads on first use."""
    solution.process(np.zeros((64, 64, 3), np.uint8))
    return solution


def _to_pixels(landmarks: Iterable, shape: tuple[int, ...]) -> Array:
    height, width = shape[:2]
    return np.array([(point.x * width, point.y * height, point.z * width) for point in landmarks])
