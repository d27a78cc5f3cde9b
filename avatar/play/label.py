"""Visible labels that say a picture was generated: drawn here, stroke by stroke, so that no font is needed."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw

from avatar.core.label import Label, LabelKind

Stroke = list[tuple[float, float]]

GAP, SPACE = 0.27, 0.4  # between letters, of a space; in heights of a letter
WIDTH = 0.13  # of a stroke
PADDING = 0.55  # of the plate about the text
MARGIN = 0.03  # of the picture's shorter side, to its edges
PLATE = 0.6  # opacity of the black plate: white text is then read on anything
FINER = 4  # times as large as it is drawn, for smooth edges


@dataclass(frozen=True)
class Preset:
    """Where and how a label is drawn."""

    text: str
    height: float  # of its letters, of the picture's shorter side
    right: bool  # in the right corner, else in the left
    top: bool
    seconds: float | None = None  # from the beginning; None: throughout


PRESETS: dict[LabelKind, Preset] = {
    "text": Preset("AI GENERATED", 0.03, right=False, top=False),
    "icon": Preset("AI", 0.04, right=True, top=True),
    "cn": Preset("AI生成", 0.055, right=True, top=False, seconds=3.0),  # GB 45438-2025: .05 at least, 2 s at least
    "eu": Preset("AI GENERATED", 0.035, right=True, top=True),  # Code of Practice: capital AI, top right
}


def _arc(center: tuple[float, float], radius: tuple[float, float], start: float, stop: float) -> Stroke:
    """Part of an ellipse; angles in half turns, from the right, clockwise."""
    angles = (start + (stop - start) * index / 12 for index in range(13))
    return [(center[0] + radius[0] * cos(pi * angle), center[1] + radius[1] * sin(pi * angle)) for angle in angles]


GLYPHS: dict[str, tuple[float, list[Stroke]]] = {
    "A": (0.8, [[(0, 1), (0.4, 0), (0.8, 1)], [(0.14, 0.66), (0.66, 0.66)]]),
    "D": (0.7, [[(0.3, 0), (0, 0), (0, 1), (0.3, 1)], _arc((0.3, 0.5), (0.4, 0.5), -0.5, 0.5)]),
    "E": (0.58, [[(0.58, 0), (0, 0), (0, 1), (0.58, 1)], [(0, 0.5), (0.5, 0.5)]]),
    "G": (0.8, [[*_arc((0.42, 0.5), (0.42, 0.5), -0.25, -1.85), (0.8, 0.55), (0.5, 0.55)]]),
    "I": (0.0, [[(0, 0), (0, 1)]]),
    "N": (0.7, [[(0, 1), (0, 0), (0.7, 1), (0.7, 0)]]),
    "R": (0.66, [[(0, 1), (0, 0), (0.36, 0), *_arc((0.36, 0.27), (0.27, 0.27), -0.5, 0.5), (0, 0.54)],
                 [(0.32, 0.54), (0.66, 1)]]),
    "T": (0.7, [[(0, 0), (0.7, 0)], [(0.35, 0), (0.35, 1)]]),
    "生": (1.0, [[(0.28, 0.04), (0.1, 0.4)], [(0.2, 0.27), (0.88, 0.27)], [(0.17, 0.61), (0.85, 0.61)],
                [(0.53, 0), (0.53, 1)], [(0.03, 1), (0.98, 1)]]),
    "成": (1.0, [[(0.12, 0.23), (0.96, 0.23)], [(0.12, 0.23), (0.12, 0.58), (0.0, 1)],
                [(0.12, 0.5), (0.44, 0.5), (0.41, 0.82), (0.29, 0.78)],
                [(0.56, 0), (0.6, 0.4), (0.72, 0.76), (0.91, 1), (0.97, 0.76)],
                [(0.84, 0.42), (0.67, 0.73), (0.42, 0.98)], [(0.74, 0.02), (0.87, 0.13)]]),
}  # fmt: skip
"""Width and strokes of each letter, in heights of a capital."""


class Labeller:
    """Draws a label on the frames of one film, in order."""

    def __init__(self, label: Label, height: int, width: int, fps: float) -> None:
        """label: one that is shown; height, width: of the frames, px; fps: frames a second."""
        preset = PRESETS[label.kind]
        opacity, light = _draw(preset.text, max(8, round(preset.height * min(height, width))))
        rows, columns = (min(part, whole) for part, whole in zip(opacity.shape, (height, width), strict=True))
        margin = round(MARGIN * min(height, width))
        top = margin if preset.top else height - rows - margin
        left = width - columns - margin if preset.right else margin
        self._top, self._left = max(0, top) // 2 * 2, max(0, left) // 2 * 2  # even, as chroma of NV12 is
        self._opacity, self._light = opacity[:rows, :columns], light[:rows, :columns]
        seconds = preset.seconds if label.seconds is None else label.seconds
        self._left_over = None if seconds is None else round(seconds * fps)
        self._height = height

    def skip(self, frames: int) -> None:
        """Count frames that were labelled elsewhere, before the next one."""
        if self._left_over is not None:
            self._left_over -= frames

    def add(self, frame: np.ndarray) -> np.ndarray:
        """The same frame with the label drawn into it: RGB [H, W, 3], RGB and alpha, or NV12 [3 H / 2, W]; uint8."""
        if self._left_over is not None:
            self._left_over -= 1
            if self._left_over < 0:
                return frame
        rows, columns = self._opacity.shape
        if frame.ndim == 2:
            luma = frame[self._top : self._top + rows, self._left : self._left + columns]
            luma[...] = np.rint(luma * (1 - self._opacity) + self._opacity * (16 + 219 * self._light))
            chroma = frame[self._height + self._top // 2 :, self._left : self._left + columns][: rows // 2]
            clear = np.repeat(1 - self._opacity[: rows // 2 * 2 : 2, ::2], 2, 1)[:, :columns]
            chroma[...] = np.rint(128 + (chroma.astype(np.float32) - 128) * clear)
            return frame
        part = frame[self._top : self._top + rows, self._left : self._left + columns]
        opacity, colour = self._opacity[..., None], 255 * self._light[..., None]
        behind = (1 - opacity) * (part[..., 3:] / np.float32(255) if frame.shape[2] == 4 else 1)
        total = opacity + behind
        mixed = (opacity * colour + behind * part[..., :3]) / np.maximum(total, 1e-6)
        part[..., :3] = np.rint(mixed)
        if frame.shape[2] == 4:
            part[..., 3:] = np.rint(255 * total)
        return frame


def _draw(text: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Opacity and lightness [h, w] float32, 0..1, of white text with letters of `size` px on a black plate."""
    unit, pad = size * FINER, round(PADDING * size * FINER)
    advances = [SPACE if letter == " " else GLYPHS[letter][0] + GAP for letter in text]
    height, width = unit + 2 * pad, round((sum(advances) - GAP) * unit) + 2 * pad
    height, width = (-(-part // (2 * FINER)) * 2 * FINER for part in (height, width))
    letters, plate = Image.new("L", (width, height)), Image.new("L", (width, height))
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, width - 1, height - 1), radius=height // 4, fill=255)
    pen, thick, at = ImageDraw.Draw(letters), max(1, round(WIDTH * unit)), float(pad)
    for letter, advance in zip(text, advances, strict=True):
        for stroke in GLYPHS[letter][1] if letter != " " else []:
            points = [(at + x * unit, pad + y * unit) for x, y in stroke]
            pen.line(points, fill=255, width=thick, joint="curve")
            for x, y in (points[0], points[-1]):
                pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=255)
        at += advance * unit
    light, shape = (np.asarray(one.reduce(FINER), np.float32) / 255 for one in (letters, plate))
    opacity = np.maximum(PLATE * shape, light)
    return opacity, light / np.maximum(opacity, 1e-6)
