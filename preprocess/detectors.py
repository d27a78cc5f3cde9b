"""What finds a person in pictures; DETECTORS. All give the landmarks, masks and boxes of MediaPipe's networks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import torch

from avatar.core.files import UserError

Array = np.ndarray
Box = tuple[float, float, float, float]  # left, top, width, height


class Landmarker(Protocol):
    """Finds landmarks. Pictures are [B, H, W, 3] uint8 RGB."""

    def landmarks(self, pictures: Array) -> list[Array | None]:
        """Landmarks [478, 3] px (z relative) of the next pictures of a clip, in order; None without a face."""

    def close(self) -> None:
        """Let go of the networks."""


class PersonDetector(Landmarker, Protocol):
    """Finds faces and masks, too."""

    @property
    def batch(self) -> int:
        """How many pictures are best given at a time."""

    def faces(self, pictures: Array) -> list[list[Box]]:
        """The faces in each picture, px, the surest first."""

    def masks(self, pictures: Array) -> Array:
        """Soft person masks [B, H / 2, W / 2] float32 0..1 of pictures with even sides."""


def _torch(device: torch.device) -> PersonDetector:
    from preprocess.networks.detector import TorchDetector

    return TorchDetector(device)


def _mediapipe(device: torch.device) -> PersonDetector:
    return _load("tracker mediapipe").MediapipeDetector()


def _load(what: str) -> ModuleType:
    try:
        from preprocess import mediapipe_detector
    except ImportError as error:
        raise UserError(f"{what}: {error}; it needs MediaPipe: pip install 'avatar-builder[mediapipe]'") from error
    return mediapipe_detector


def _faster(device: torch.device) -> PersonDetector:
    """On a processor MediaPipe's own code is half as fast again as torch; on a GPU only torch runs, in batches."""
    has_mediapipe = importlib.util.find_spec("mediapipe") is not None
    return _mediapipe(device) if device.type == "cpu" and has_mediapipe else _torch(device)


DETECTORS: dict[str, Callable[[torch.device], PersonDetector]] = {
    "auto": _faster,
    "torch": _torch,
    "mediapipe": _mediapipe,
}
"""By the name of a tracker."""


def open_detector(name: str, device: torch.device) -> PersonDetector:
    """The detector of a name. Raises: UserError when it is unknown or not installed."""
    if name not in DETECTORS:
        raise UserError(f"tracker '{name}' is unknown; choose one of {', '.join(DETECTORS)}")
    return DETECTORS[name](device)


def open_landmarker(file: Path, fps: float) -> Landmarker:
    """A face landmarker of MediaPipe Tasks, the user's own `.task` file. Raises: UserError when it is none."""
    return _load(str(file)).TaskLandmarker(file, fps)
