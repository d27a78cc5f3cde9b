"""Captions in the picture: white letters with a dark edge, two lines at the bottom, shown from first phone to last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avatar.core.files import UserError
from avatar.voice.subtitles import Caption

SIZE, LEAST_SIZE = 0.055, 0.03  # of the picture's shorter side: letters; smaller where lines are long
WIDEST, MARGIN, EDGE = 0.94, 0.05, 0.08  # of the width; of the height; of a letter's size
FONTS = (
    "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "C:/Windows/Fonts/arial.ttf",
)
"""Where systems have a font with many scripts; else Pillow's own, which has Latin letters."""


class Captioner:
    """Draws captions on the frames of one film, in order."""

    def __init__(self, captions: Sequence[Caption], shape: tuple[int, int], fps: float, font: Path | None) -> None:
        """shape: height and width of frames, px. Raises: UserError when no font here has the letters."""
        self._captions, self._shape, self._fps = list(captions), shape, fps
        text = "".join(caption.text for caption in self._captions)
        self._font = find_font(font, text)
        self._next = self._frame = 0
        self._drawn: tuple[int, np.ndarray, np.ndarray, int, int] | None = None

    def add(self, frame: np.ndarray) -> np.ndarray:
        """The same frame with its caption drawn into it: RGB [H, W, 3], RGB and alpha, or NV12 [3 H / 2, W]; uint8."""
        now = (self._frame + 0.5) / self._fps
        self._frame += 1
        while self._next < len(self._captions) and self._captions[self._next].stop <= now:
            self._next += 1
        if self._next == len(self._captions) or self._captions[self._next].start > now:
            return frame
        if self._drawn is None or self._drawn[0] != self._next:
            self._drawn = (self._next, *self._draw(self._captions[self._next].text))
        _, opacity, light, top, left = self._drawn
        _blend(frame, self._shape[0], opacity, light, (top, left))
        return frame

    def _draw(self, text: str) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Opacity and lightness [h, w], and where they belong, even px."""
        height, width = self._shape
        size, least = (max(8, round(part * min(height, width))) for part in (SIZE, LEAST_SIZE))
        while True:
            font, edge = self._font.font_variant(size=size), max(1, round(EDGE * size))
            canvas = ImageDraw.Draw(Image.new("L", (1, 1)))
            box = canvas.multiline_textbbox((0, 0), text, font=font, align="center", stroke_width=edge)
            if box[2] - box[0] <= WIDEST * width or size <= least:
                break
            size -= 1
        columns, rows = (
            min(int(a), b) // 2 * 2 for a, b in ((box[2] - box[0] + 2, width), (box[3] - box[1] + 2, height))
        )
        both = Image.new("LA", (columns, rows))
        place = ImageDraw.Draw(both)
        at = (columns / 2 - (box[0] + box[2]) / 2, -box[1])
        place.multiline_text(at, text, (255, 255), font, align="center", stroke_width=edge, stroke_fill=(0, 255))
        light, opacity = (np.asarray(both, np.float32)[..., i] / 255 for i in range(2))
        top = max(0, height - round(MARGIN * height) - rows) // 2 * 2
        return opacity, light, top, (width - columns) // 4 * 2


def _blend(frame: np.ndarray, height: int, opacity: np.ndarray, light: np.ndarray, corner: tuple[int, int]) -> None:
    (top, left), (rows, columns) = corner, opacity.shape
    if frame.ndim == 2:
        luma = frame[top : top + rows, left : left + columns]
        luma[...] = np.rint(luma * (1 - opacity) + opacity * (16 + 219 * light))
        chroma = frame[height + top // 2 :, left : left + columns][: rows // 2]
        clear = np.repeat(1 - opacity[: rows // 2 * 2 : 2, ::2], 2, 1)[:, :columns]
        chroma[...] = np.rint(128 + (chroma.astype(np.float32) - 128) * clear)
        return
    part = frame[top : top + rows, left : left + columns]
    part[..., :3] = np.rint(part[..., :3] * (1 - opacity[..., None]) + 255 * (opacity * light)[..., None])
    if frame.shape[2] == 4:
        part[..., 3] = np.maximum(part[..., 3], np.rint(255 * opacity))


def find_font(file: Path | None, text: str) -> ImageFont.FreeTypeFont:
    """A font with the letters of a text: the file, or the first of the system's. Raises: UserError."""
    if file is not None:
        try:
            return ImageFont.truetype(str(file), 20)
        except OSError as error:
            raise UserError(f"{file}: is no font; give a .ttf, .otf or .ttc file") from error
    known = [ImageFont.truetype(place, 20) for place in FONTS if Path(place).is_file()]
    fallback = ImageFont.load_default(20)
    assert isinstance(fallback, ImageFont.FreeTypeFont)
    letters = sorted({letter for letter in text if letter.isalnum()})
    for font in (*known, fallback):
        nothing = bytes(font.getmask("\U0010ffff"))  # what is drawn in place of a letter that is missing
        if all(bytes(font.getmask(letter)) != nothing for letter in letters):
            return font
    raise UserError("captions: no font here has all letters of the text; name one by --caption-font FILE.ttf")
