"""Landmark detectors; trackers, functions (landmarks, found, space, *, size, fps, texture) -> (Track, Camera)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault("GLOG_minloglevel", "3")  # before mediapipe's C++ side starts to log

import mediapipe as mp
import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.geometry import Camera
from avatar.core.landmarks import POINTS
from avatar.core.motion_space import MotionSpace
from avatar.core.take import Track
from preprocess.fit import Texture, fit_track
from preprocess.quiet import quiet

LONGEST_GAP = 5  # frames without a face that are filled in

Tracker = Callable[..., tuple[Track, Camera]]


class LandmarkDetector:
    """FaceMesh in tracking mode: one call a frame, in order."""

    def __init__(self) -> None:
        with quiet():
            self._mesh = mp.solutions.face_mesh.FaceMesh(refine_landmarks=True, max_num_faces=1)
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))  # loads what is loaded on first use
        self._warned = False  # it warns of something harmless at the first face

    def __call__(self, frame: np.ndarray) -> np.ndarray | None:
        """Landmarks [478, 3] px (z relative) of a frame [S, S, 3] uint8 RGB; None without a face."""
        with nullcontext() if self._warned else quiet():
            result = self._mesh.process(np.ascontiguousarray(frame)).multi_face_landmarks
        self._warned = self._warned or bool(result)
        return _to_pixels(result[0].landmark, frame.shape) if result else None

    def __enter__(self) -> LandmarkDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self._mesh.close()


class TaskDetector:
    """A face landmarker of MediaPipe Tasks, from the user's own `.task` file; one call a frame, in order."""

    def __init__(self, file: Path, fps: float) -> None:
        self._file, self._step, self._now = file, 1000 / fps, 0.0

    def __call__(self, frame: np.ndarray) -> np.ndarray | None:
        """Landmarks [478, 3] px (z relative) of a frame [S, S, 3] uint8 RGB; None without a face."""
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
        found = self._task.detect_for_video(image, round(self._now)).face_landmarks
        self._now += self._step
        return _to_pixels(found[0], frame.shape) if found else None

    def __enter__(self) -> TaskDetector:
        options = mp.tasks.vision.FaceLandmarkerOptions(
            base_options=mp.tasks.BaseOptions(model_asset_buffer=self._file.read_bytes()),
            running_mode=mp.tasks.vision.RunningMode.VIDEO,
        )
        try:
            with quiet():
                self._task = mp.tasks.vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0][:160]
            raise UserError(f"{self._file}: is not a face landmarker of MediaPipe Tasks ({reason})") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._task.close()


def detect(frames: Iterable[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Landmarks [T, 478, 3] px of frames (zeros without a face), and whether a face was found [T] bool."""
    with LandmarkDetector() as detector:
        points = [detector(frame) for frame in frames]
    found = torch.tensor([one is not None for one in points], dtype=torch.bool)
    filled = [np.zeros((POINTS, 3)) if one is None else one for one in points]
    return torch.from_numpy(np.stack(filled)).float() if filled else torch.zeros(0, POINTS, 3), found


def _to_pixels(landmarks: Iterable, shape: tuple[int, ...]) -> np.ndarray:
    height, width = shape[:2]
    return np.array([(point.x * width, point.y * height, point.z * width) for point in landmarks])


def fill_gaps(landmarks: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolate frames without a face, in place; returns landmarks [T, 478, 3] and confidence [T].

    Confidence is 1 where a face was seen, 0.5 inside gaps of at most 5 frames, 0 in longer ones.
    """
    seen = torch.nonzero(found).squeeze(1).numpy()
    confidence = found.float()
    if len(seen) in (0, len(found)):
        return landmarks, confidence
    points = landmarks.numpy()
    missing = torch.nonzero(~found).squeeze(1).numpy()
    after = np.searchsorted(seen, missing).clip(0, len(seen) - 1)
    before = (np.searchsorted(seen, missing) - 1).clip(0)
    low, high = seen[before], seen[after]
    share = np.where(high > low, (missing - low) / np.maximum(high - low, 1), 0.0)
    for frame, start, stop, part in zip(missing, low, high, share, strict=True):
        points[frame] = points[start] * (1 - part) + points[stop] * part
    short = (low < missing) & (missing < high) & (high - low - 1 <= LONGEST_GAP)
    confidence[torch.from_numpy(missing[short])] = 0.5
    return landmarks, confidence


def facemesh(
    landmarks: Tensor, found: Tensor, space: MotionSpace, *, size: int, fps: float, texture: Texture | None = None
) -> tuple[Track, Camera]:
    """Fit FaceMesh landmarks [T, 478, 3] px of a whole clip. Returns: the track, torso at rest, and its camera."""
    filled, confidence = fill_gaps(landmarks, found)
    return fit_track(filled, confidence, space, size=size, fps=fps, texture=texture)


TRACKERS: dict[str, Tracker] = {"facemesh": facemesh}
