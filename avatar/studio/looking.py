"""Hints while filming: what is wrong with a picture of the camera, before an hour of it is recorded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from avatar.core.files import UserError
from avatar.core.pictures import open_picture
from avatar.studio.child import Answer
from preprocess.detectors import Box, open_detector

FORMATS = ("JPEG",)
DARK, BRIGHT = 60.0, 215.0  # grey levels of the face, beyond which skin loses its shades
FAR, NEAR = 0.11, 0.5  # width of the face, in those of the picture: the square is 3.4 faces wide, and 512 px
TURNED = 0.30  # how far the nose is off the middle of the eyes, in their distance: about 25 degrees
OFF_CENTRE = 0.22  # of the picture's width, that the face is beside its middle
RIVAL = 0.5  # a second face of this share of the largest's width is somebody (as in preprocess.crop)
MOVED = 9.0  # grey levels that the picture's rim changes by from one look to the next: the camera moves
RIM = 0.12  # share of the picture's sides
NOSE, LEFT_EYE, RIGHT_EYE = 1, 33, 263  # landmarks


class Looker:
    """Looks at pictures of a camera, in order."""

    def __init__(self) -> None:
        self._detector = open_detector("auto", torch.device("cpu"))
        self._rim: np.ndarray | None = None

    def answer(self, request: dict[str, Any], data: bytes) -> Iterator[Answer]:
        """`hints`: codes that the page has words for; `face`: left, top, width, height as shares of the picture."""
        try:
            with open_picture(io.BytesIO(data), FORMATS) as image:
                picture = np.asarray(image.convert("RGB").resize((320, round(320 * image.height / image.width))))
        except ValueError as error:
            raise UserError("this is no picture of a camera") from error
        picture = picture[: len(picture) // 2 * 2]
        hints = self._hints(picture)
        yield hints, b""

    def _hints(self, picture: np.ndarray) -> dict[str, Any]:
        height, width = picture.shape[:2]
        boxes = sorted(self._detector.faces(picture[None])[0], key=lambda box: -box[2])
        moves = self._moves(picture)
        if not boxes:
            return {"hints": ["no-face"], "face": None}
        left, top, wide, high = boxes[0]
        found = [
            ("two-faces", len(boxes) > 1 and boxes[1][2] > RIVAL * wide),
            ("too-far", wide < FAR * width),
            ("too-near", wide > NEAR * width),
            ("off-centre", abs(left + wide / 2 - width / 2) > OFF_CENTRE * width),
            *self._light(picture, boxes[0]),
            ("turned", self._turned(picture, boxes[0])),
            ("camera-moves", moves),
        ]
        place = [round(float(value), 3) for value in (left / width, top / height, wide / width, high / height)]
        return {"hints": [name for name, is_so in found if is_so], "face": place}

    def _light(self, picture: np.ndarray, box: Box) -> list[tuple[str, bool]]:
        left, top, wide, high = (max(0, round(value)) for value in box)
        face = picture[top : top + high, left : left + wide]
        level = float(np.median(face.mean(2))) if face.size else 128.0
        return [("too-dark", level < DARK), ("too-bright", level > BRIGHT)]

    def _turned(self, picture: np.ndarray, box: Box) -> bool:
        points = self._detector.landmarks(picture[None])[0]
        if points is None:
            return False
        eyes = (points[LEFT_EYE, :2] + points[RIGHT_EYE, :2]) / 2
        across = points[RIGHT_EYE, :2] - points[LEFT_EYE, :2]
        distance = float(np.linalg.norm(across)) or 1.0
        return abs(float(np.dot(points[NOSE, :2] - eyes, across / distance))) / distance > TURNED

    def _moves(self, picture: np.ndarray) -> bool:
        """Whether the picture's upper rim, where the person is not, has changed."""
        height, width = picture.shape[:2]
        grey = picture.mean(2).astype(np.float32)
        side = round(RIM * width)
        rim = np.concatenate([grey[: height // 2, :side].ravel(), grey[: height // 2, -side:].ravel()])
        before, self._rim = self._rim, rim
        if before is None or before.shape != rim.shape:
            return False
        lighter = float(rim.mean() - before.mean())  # the camera's exposure
        return float(np.abs(rim - before - lighter).mean()) > MOVED
