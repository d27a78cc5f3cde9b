"""Parts of a video's frame as RGB, and back: all else keeps the luma and chroma that were decoded.

Frames are NV12 of BT.709 in the limited range: H rows of luma, then H / 2 rows of blue and red chroma in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

Array = np.ndarray

TO_RGB = np.array(
    [
        [255 / 219, 0, 1.5748 * 255 / 224],
        [255 / 219, -0.187324 * 255 / 224, -0.468124 * 255 / 224],
        [255 / 219, 1.8556 * 255 / 224, 0],
    ]
)  # of luma less 16, blue and red chroma less 128 (ITU-R BT.709)
ZERO = np.array([16.0, 128.0, 128.0])
RGB_OF = np.concatenate([TO_RGB, -(TO_RGB @ ZERO)[:, None]], 1)
CODED_OF = np.concatenate([np.linalg.inv(TO_RGB), ZERO[:, None]], 1)


@dataclass(frozen=True)
class Box:
    """A part of a frame, px."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, picture: Array) -> Array:
        """The part of a picture [H, W, ...]."""
        return picture[self.top : self.bottom, self.left : self.right]

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def smaller(self, times: int) -> Box:
        """The same of a picture so many times smaller."""
        return replace(self, **{name: value // times for name, value in vars(self).items()})


def size_of(frame: Array) -> tuple[int, int]:
    """Height and width of a frame [3 H / 2, W]."""
    return frame.shape[0] * 2 // 3, frame.shape[1]


def luma_of(frame: Array) -> Array:
    """The luma [H, W] of a frame [3 H / 2, W], as a view."""
    return frame[: size_of(frame)[0]]


def chroma_of(frame: Array) -> Array:
    """Blue and red chroma [H / 2, W / 2, 2] of a frame [3 H / 2, W], as a view."""
    height, width = size_of(frame)
    return frame[height:].reshape(height // 2, width // 2, 2)


def rgb_of(frame: Array, box: Box, shrink: int = 1) -> Array:
    """A box of a frame [3 H / 2, W] as RGB 0..255 [h, w, 3] float32, so many times smaller.

    The box's corners are multiples of 2, and of `shrink`.
    """
    size = (box.shape[1] // shrink, box.shape[0] // shrink)
    way = cv2.INTER_AREA if shrink > 1 else cv2.INTER_LINEAR
    luma = cv2.resize(box.of(luma_of(frame)), size, interpolation=cv2.INTER_AREA)
    chroma = cv2.resize(box.smaller(2).of(chroma_of(frame)), size, interpolation=way)
    return cv2.transform(cv2.merge([luma, *cv2.split(chroma)]).astype(np.float32), RGB_OF)


def picture_of(frame: Array) -> Array:
    """A frame [3 H / 2, W] as RGB [H, W, 3] uint8."""
    height, width = size_of(frame)
    return _bytes(rgb_of(frame, Box(0, 0, width, height)))


def cut(frame: Array, crop: tuple[float, float, float], size: int) -> Array:
    """A square (left, top, side in px) of a frame [3 H / 2, W], as NV12 [3 S / 2, S]; its border is repeated."""
    left, top, side = (2 * round(value / 2) for value in crop)
    result = np.empty((3 * size // 2, size), np.uint8)
    for plane, to, step in ((luma_of(frame), luma_of(result), 1), (chroma_of(frame), chroma_of(result), 2)):
        rows, columns = (
            np.clip(np.arange(start // step, (start + side) // step), 0, length - 1)
            for start, length in ((top, plane.shape[0]), (left, plane.shape[1]))
        )
        part = np.ascontiguousarray(plane[rows][:, columns])
        way = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
        to[...] = cv2.resize(part, to.shape[1::-1], interpolation=way)
    return result


def put(frame: Array, box: Box, rgb: Array, weight: Array) -> None:
    """Lay RGB 0..255 [h, w, 3] float32 over a box of a frame [3 H / 2, W], as far as the weight [h, w] 0..1 says.

    Luma whose weight is 0 stays as it is, and chroma whose four weights are. The box's corners are multiples of 2.
    """
    luma, chroma = box.of(luma_of(frame)), box.smaller(2).of(chroma_of(frame))
    height, width = chroma.shape[:2]
    new, *colours = cv2.split(cv2.transform(rgb, CODED_OF))
    luma[...] = _bytes(luma + weight * (new - luma))
    blue, red, share = (
        cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA)
        for one in (weight * colours[0], weight * colours[1], weight)
    )  # each the mean of 2 x 2 pixels
    for index, one in enumerate((blue, red)):
        chroma[..., index] = _bytes(chroma[..., index] * (1 - share) + one)


def _bytes(values: Array) -> Array:
    return np.rint(values).clip(0, 255).astype(np.uint8)
