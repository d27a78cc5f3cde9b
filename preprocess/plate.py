"""The plate of a Take, whatever the camera did: views of one place are brought into one of them first.

Where their backgrounds agree on nothing, as in a crowd, the plate is a blur of what was seen: a person that is learned
by the matte needs no more, and another background can be shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from avatar.core.take import UNLIKE_PLATE
from preprocess.camera_motion import CameraMotion, measure_camera
from preprocess.matte import hide_person, make_plate
from preprocess.take_folder import TakeFolder

VIEWS = 60  # frames that the plate is the median of: they are in memory together
AGREEING = 0.5  # share of the views whose backgrounds agree, below which nothing can be put together
LEAST_VIEWS = 3
BLUR = 1 / 16  # of the picture's side: Gaussian that leaves colours and no shapes

Array = np.ndarray


@dataclass(frozen=True)
class Plate:
    """The background, and how far it can be relied on."""

    picture: Array  # [S, S, 3] uint8
    seen: float  # share of it that was ever uncovered
    camera_px: float  # how far the background moves, in px of a picture 512 wide
    error: float  # mean grey levels between frames' backgrounds and the plate, in place

    def quality(self) -> dict[str, float]:
        """The figures of a Take, see docs/formats.md."""
        return {"plate_seen": self.seen, "camera_px": self.camera_px, "plate_error": self.error}


def find_plate(folder: TakeFolder, frames: Array, framing: Array) -> Plate:
    """The plate from frames [N] of one place, in order, framed as the usual framing is, number 0 of framing [T]."""
    views = np.unique(frames[np.linspace(0, len(frames) - 1, VIEWS).round().astype(int)])
    usual = frames[framing[frames] == framing[frames].min()]
    camera = measure_camera(folder.grey_reader(), folder.read_matte, views, int(usual[len(usual) // 2]))
    agreeing = [frame for frame in views.tolist() if frame in camera.transforms]
    enough = len(agreeing) >= max(LEAST_VIEWS, AGREEING * len(views))
    aligned = enough and not camera.stands
    shown = agreeing if aligned else views.tolist()
    picture, seen = make_plate(_views(folder, shown, camera if aligned else None), folder.read_matte(shown[0]).shape[0])
    error = _error(folder, shown, picture)
    if not enough and error > UNLIKE_PLATE:
        picture = cv2.GaussianBlur(picture, (0, 0), BLUR * picture.shape[0], borderType=cv2.BORDER_REFLECT)
        error = _error(folder, shown, picture)
    return Plate(picture, seen, camera.px, error)


def _views(folder: TakeFolder, frames: list[int], camera: CameraMotion | None) -> Iterator[tuple[Array, Array]]:
    """Frames and mattes, in the place of the reference where the camera's motion is given."""
    for frame in frames:
        picture, matte = folder.read_frame(frame), folder.read_matte(frame)
        if camera is None:
            yield picture, matte
            continue
        transform, size = camera.transforms[frame], (matte.shape[1], matte.shape[0])
        warped = cv2.warpAffine(picture, transform, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # what was outside of the picture is as unknown as what the person hides
        yield warped, cv2.warpAffine(matte, transform, size, borderMode=cv2.BORDER_CONSTANT, borderValue=(255,))


def _error(folder: TakeFolder, frames: list[int], plate: Array) -> float:
    sums = [np.zeros(2)]
    for frame in frames[:: max(1, len(frames) // 12)]:
        free = ~hide_person(folder.read_matte(frame))
        apart = np.abs(folder.read_frame(frame).astype(np.int16) - plate).mean(-1)
        sums.append(np.array([apart[free].sum(), free.sum()]))
    total, count = np.sum(sums, axis=0)
    return float(total / max(count, 1))
