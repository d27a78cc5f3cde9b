"""Frames -> Track. A tracker is a function (frames, space, *, size, fps) -> (Track, focal)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

os.environ.setdefault("GLOG_minloglevel", "3")  # before mediapipe's C++ side starts to talk

import mediapipe as mp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from avatar.core.motion_space import MotionSpace  # noqa: E402
from avatar.core.take import Track  # noqa: E402
from preprocess.fit import fit_track  # noqa: E402
from preprocess.landmarks import POINTS  # noqa: E402

LONGEST_GAP = 5  # frames without a face that are filled in

Tracker = Callable[..., tuple[Track, float]]


def detect(frames: Iterable[np.ndarray], step: Callable[[], None] | None = None) -> tuple[Tensor, Tensor]:
    """Landmarks of frames [S, S, 3] uint8 RGB with mediapipe's FaceMesh in tracking mode.

    Returns: landmarks [T, 478, 3] px (z in px, relative; zeros where no face was found), found [T] bool.
    """
    points, found = [], []
    with mp.solutions.face_mesh.FaceMesh(refine_landmarks=True, max_num_faces=1) as mesh:
        for frame in frames:
            result = mesh.process(np.ascontiguousarray(frame)).multi_face_landmarks
            found.append(bool(result))
            points.append(_to_pixels(result[0].landmark, frame.shape) if result else np.zeros((POINTS, 3)))
            if step:
                step()
    if not points:
        return torch.zeros(0, POINTS, 3), torch.zeros(0, dtype=torch.bool)
    return torch.from_numpy(np.stack(points)).float(), torch.tensor(found)


def _to_pixels(landmarks: Iterable, shape: tuple[int, ...]) -> np.ndarray:
    height, width = shape[:2]
    return np.array([(point.x * width, point.y * height, point.z * width) for point in landmarks])


def fill_gaps(landmarks: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolate frames without a face; returns landmarks and confidence [T].

    Confidence is 1 where a face was seen, 0.5 inside gaps of at most 5 frames, 0 in longer ones.
    """
    seen = torch.nonzero(found).squeeze(1).numpy()
    confidence = found.float()
    if len(seen) in (0, len(found)):
        return landmarks, confidence
    flat = landmarks.flatten(1).numpy().copy()
    missing = torch.nonzero(~found).squeeze(1).numpy()
    after = np.searchsorted(seen, missing).clip(0, len(seen) - 1)
    before = (np.searchsorted(seen, missing) - 1).clip(0)
    low, high = seen[before], seen[after]
    share = np.where(high > low, (missing - low) / np.maximum(high - low, 1), 0.0)[:, None]
    flat[missing] = flat[low] * (1 - share) + flat[high] * share
    short = (low < missing) & (missing < high) & (high - low - 1 <= LONGEST_GAP)
    confidence[torch.from_numpy(missing[short])] = 0.5
    return torch.from_numpy(flat).reshape(landmarks.shape), confidence


def track_landmarks(landmarks: Tensor, found: Tensor, space: MotionSpace, *, size: int, fps: float) -> tuple[Track, float]:
    """Track from landmarks that were already detected."""
    filled, confidence = fill_gaps(landmarks, found)
    return fit_track(filled, confidence, space, size=size, fps=fps)


def facemesh(frames: Iterable[np.ndarray], space: MotionSpace, *, size: int, fps: float) -> tuple[Track, float]:
    """FaceMesh landmarks, then the offline fit of the whole clip."""
    return track_landmarks(*detect(frames), space, size=size, fps=fps)


TRACKERS: dict[str, Tracker] = {"facemesh": facemesh}
