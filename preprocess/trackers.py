"""Landmarks of frames, with gaps filled; a track fitted to them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from avatar.core.geometry import Camera
from avatar.core.landmarks import POINTS
from avatar.core.motion_space import MotionSpace
from avatar.core.take import Track
from preprocess.detectors import Landmarker, open_detector
from preprocess.fit import Texture, fit_track

LONGEST_GAP = 5  # frames without a face that are filled in


def detect(frames: Iterable[np.ndarray], tracker: str = "auto") -> tuple[Tensor, Tensor]:
    """Landmarks [T, 478, 3] px of frames (zeros without a face), and whether a face was found [T] bool."""
    return detect_by(open_detector(tracker, torch.device("cpu")), frames)


def detect_by(landmarker: Landmarker, frames: Iterable[np.ndarray]) -> tuple[Tensor, Tensor]:
    """As `detect`, by an open landmarker, which is closed."""
    points = [landmarker.landmarks(frame[None])[0] for frame in frames]
    landmarker.close()
    found = torch.tensor([one is not None for one in points], dtype=torch.bool)
    filled = [np.zeros((POINTS, 3)) if one is None else one for one in points]
    return torch.from_numpy(np.stack(filled)).float() if filled else torch.zeros(0, POINTS, 3), found


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


def fit_landmarks(
    landmarks: Tensor, found: Tensor, space: MotionSpace, *, size: int, fps: float, texture: Texture | None = None
) -> tuple[Track, Camera]:
    """Fit landmarks [T, 478, 3] px of a whole clip. Returns: the track, torso at rest, and its camera."""
    filled, confidence = fill_gaps(landmarks, found)
    return fit_track(filled, confidence, space, size=size, fps=fps, texture=texture)
