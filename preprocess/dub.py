"""A drawn mouth in a filmed frame: where it shows, in the frame's own tone, with the frame's own detail.

The frame keeps its pixels but under a soft mask over mouth, jaw and cheeks. There the drawn picture lies, moved to the
frame's colours by what the same face drawn with the frame's own motion differs by at low frequency, and with the pores,
beard and grain of the frame, carried along by the mesh. Difference transfer (frame + new - own) has more PSNR and shows
the filmed lips through the new ones: docs/lab/dub.md. Lengths are in distances of the outer eye corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from avatar.core.landmarks import CHIN, FOREHEAD, INNER_LIPS, MESH_POINTS, OUTER_LIPS
from preprocess.nv12 import Box

JAW = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)
"""The lower border of what speech moves, from ear to ear."""
ABOVE = (361, 352, 411, 425, 423, 327, 2, 98, 203, 205, 187, 123, 132)
"""The upper border, back again: over the cheeks, under the nose."""

BELOW_CHIN = 0.35  # that the mask reaches below the lower of both chins: with less the filmed one shows beside the new
FEATHER = 0.12  # over which the mask fades, inwards only: outside the jaw's outline hair and background stay filmed
TONE = 0.12  # deviation of the Gaussian whose output is tone
SHRINK = 4  # times smaller that a frame's own face is drawn, for its tone: that is smooth
AROUND = 3 * TONE  # beyond the mask that the tone is measured in
DETAIL = 0.02  # deviation of the Gaussian that removes detail; from .06 on the filmed mouth's shadows come along
MARGIN = 3 * DETAIL  # beyond the mask that is drawn
LIPS_FIT, LIPS_DETAIL = 0.03, 0.04  # that the lips are widened by, for tone and for detail
NECK = ((0.12, 0.5), (0.24, 0.0), (0.36, 0.0))  # below the jaw, share of its motion: collars must not follow the chin
REACHES = ((0.06, 1.0), (0.12, 0.05), (0.24, 0.002))  # deviation and weight of the Gaussians that spread the warp
WARP_GRID = 4  # px
FRACTION = 4  # bits of a pixel's fraction that outlines are drawn with
COVERED_BLUR, COVERED_QUANTILE = 0.03, 0.95  # in which difference of filmed and own something before the mouth shows

Array = np.ndarray


@dataclass(frozen=True)
class Faces:
    """A frame's two faces, projected into it: as it was filmed, and as it is to look."""

    own: Array  # [478, 2] px of the frame
    new: Array  # [478, 2] px
    eye: float  # px, distance of the outer eye corners, typical of the clip

    def smaller(self, times: int) -> Faces:
        """The same in a picture so many times smaller."""
        return Faces(self.own / times, self.new / times, self.eye / times)


@dataclass(frozen=True)
class Tone:
    """What a filmed face differs by from the drawn one at low frequency."""

    values: Array  # [h, w, 3] float32, SHRINK times smaller
    box: Box  # px of the frame, in multiples of SHRINK


def outline(faces: Faces) -> Array:
    """The border [30, 2] px of what is replaced: below the lower of both jaws, under the nose and over the cheeks."""
    down = faces.own[CHIN] - faces.own[FOREHEAD]
    down = down / max(1e-6, float(np.linalg.norm(down)))
    own, new = (points[list(JAW)] for points in (faces.own, faces.new))
    lower = np.where(((new - own) @ down > 0)[:, None], new, own)
    drop = np.sqrt(np.sin(np.pi * np.linspace(0, 1, len(JAW))).clip(0))
    lower = lower + BELOW_CHIN * faces.eye * drop[:, None] * down
    return np.concatenate([lower, faces.own[list(ABOVE)]])


def box_of(faces: Faces, size: tuple[int, int], margin: float = MARGIN, step: int = 2) -> Box:
    """The part of a frame (height, width) that the outline takes with a margin; corners are multiples of a step."""
    points, reach = outline(faces), margin * faces.eye
    low, high = (points.min(0) - reach) // step * step, -((-points.max(0) - reach) // step) * step
    height, width = (side // step * step for side in size)
    left, right = np.clip([low[0], high[0]], 0, width).astype(int).tolist()
    top, bottom = np.clip([low[1], high[1]], 0, height).astype(int).tolist()
    return Box(left, top, right, bottom)


def around(faces: Faces, size: tuple[int, int]) -> Box:
    """The part of a frame that its tone is measured in."""
    return box_of(faces, size, AROUND, SHRINK)


def place(picture: Array, crop: tuple[float, float, float], box: Box) -> Array:
    """A picture [4, S, S] float32 of a crop (left, top, side in px), moved to a box of the frame [4, h, w]."""
    left, top, side = crop
    scale = side / picture.shape[1]
    move = np.array([[scale, 0, left - box.left + (scale - 1) / 2], [0, scale, top - box.top + (scale - 1) / 2]])
    return np.stack([cv2.warpAffine(plane, move, box.shape[::-1], flags=cv2.INTER_CUBIC) for plane in picture])


def over(drawn: Array, frame: Array) -> Array:
    """Drawn [4, h, w] float32 0..1, its colours premultiplied, over filmed [h, w, 3] float32 0..255."""
    clear = 1 - drawn[3]
    return cv2.scaleAdd(cv2.merge(list(drawn[:3])), 255, cv2.multiply(frame, cv2.merge([clear] * 3)))


def mask(faces: Faces, box: Box) -> Array:
    """How much of the drawn picture shows [h, w] float32 0..1 in a box; exactly 0 outside the outline."""
    inside = _fill(outline(faces), box)
    distance = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 3)[1:-1, 1:-1] / (FEATHER * faces.eye)
    distance = distance.clip(0, 1).astype(np.float32)
    return distance * distance * (3 - 2 * distance) * inside


def patch(frame: Array, new: Array, tone: Tone, faces: Faces, box: Box) -> Array:
    """What is to lie under the mask [h, w, 3] float32, in a box.

    frame, new: [h, w, 3] float32 of the box: filmed, and drawn as it is to look.
    """
    left, top = ((own - its + 0.5) / SHRINK - 0.5 for own, its in ((box.left, tone.box.left), (box.top, tone.box.top)))
    there, flags = np.array([[1 / SHRINK, 0, left], [0, 1 / SHRINK, top]]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    low = cv2.warpAffine(tone.values, there, box.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return new + low + _detail(frame, new, faces, box)


def covering(frame: Array, own: Array, faces: Faces, box: Box) -> float:
    """How much of the filmed mouth's surroundings is something else than the face, in grey levels.

    A quantile of the difference between filmed and drawn [h, w, 3] float32, SHRINK times smaller than the box; fine
    detail and the lips left out.
    """
    faces, box = faces.smaller(SHRINK), box.smaller(SHRINK)
    weight = mask(faces, box) * (1 - _lips(faces.own, faces.eye, box, LIPS_FIT))
    difference = np.abs(_blur(frame - own, COVERED_BLUR * faces.eye)).mean(-1)
    seen = difference[weight > 0.5]
    return float(np.quantile(seen, COVERED_QUANTILE)) if len(seen) else 0.0


def measure_tone(frame: Array, own: Array, faces: Faces, box: Box) -> Tone:
    """The tone of a box, filmed and drawn [h, w, 3] float32, SHRINK times smaller; of the lips nothing is known."""
    faces, small = faces.smaller(SHRINK), box.smaller(SHRINK)
    skin = 1 - _lips(faces.own, faces.eye, small, LIPS_FIT)
    sigma = TONE * faces.eye
    weighted = _blur((frame - own) * skin[..., None], sigma)
    return Tone(weighted / np.maximum(_blur(skin, sigma), 1e-3)[..., None], box)


def _detail(frame: Array, new: Array, faces: Faces, box: Box) -> Array:
    """What the frame has of fine detail, where the face now is, in place of the drawn one's own."""
    where = _warp(faces, box)
    filmed = cv2.remap(_fine_of(frame, faces), *where, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    before = _lips(faces.own, faces.eye, box, LIPS_DETAIL)
    before = cv2.remap(before, *where, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    skin = 1 - np.maximum(before, _lips(faces.new, faces.eye, box, LIPS_DETAIL))
    return cv2.multiply(cv2.merge([skin] * 3), filmed - _fine_of(new, faces))


def _fine_of(picture: Array, faces: Faces) -> Array:
    """What of a picture [h, w, 3] is finer than DETAIL."""
    sigma = DETAIL * faces.eye
    if sigma < 2:
        return picture - _blur(picture, sigma)
    height, width = picture.shape[:2]  # half the size blurs as well, in an eighth of the time
    half = cv2.resize(picture, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    smooth = _blur(half, math.sqrt(sigma**2 - 1) / 2)  # less the variance of halving and doubling, 1 px^2
    return picture - cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)


def _warp(faces: Faces, box: Box) -> tuple[Array, Array]:
    """Where the frame shows what the new face has at each pixel of a box: x and y [h, w] float32, for `cv2.remap`.

    Shifts of the mesh's points, spread by normalized convolution (Knutsson & Westin 1993) on a coarse grid.
    """
    down = faces.own[CHIN] - faces.own[FOREHEAD]
    down = down / max(1e-6, float(np.linalg.norm(down)))
    points, shifts = [faces.new[:MESH_POINTS]], [(faces.own - faces.new)[:MESH_POINTS]]
    for below, share in NECK:
        points.append(faces.new[list(JAW)] + below * faces.eye * down)
        shifts.append(share * (faces.own - faces.new)[list(JAW)])
    height, width = box.bottom - box.top, box.right - box.left
    cells = np.zeros((-(-height // WARP_GRID), -(-width // WARP_GRID), 3), np.float32)
    at = ((np.concatenate(points) - [box.left, box.top]) / WARP_GRID).astype(int)
    kept = ((at >= 0) & (at < [cells.shape[1], cells.shape[0]])).all(1)
    values = np.concatenate([np.concatenate(shifts), np.ones((len(at), 1))], 1)
    np.add.at(cells, (at[kept, 1], at[kept, 0]), values[kept].astype(np.float32))
    spread = np.zeros_like(cells)
    for reach, weight in REACHES:
        spread += weight * _blur(cells, max(0.5, reach * faces.eye / WARP_GRID))
    shift = spread[..., :2] / np.maximum(spread[..., 2:], 1e-12)
    shift = cv2.resize(shift, (cells.shape[1] * WARP_GRID, cells.shape[0] * WARP_GRID))[:height, :width]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return columns + shift[..., 0], rows + shift[..., 1]


def _lips(points: Array, eye: float, box: Box, wider: float) -> Array:
    """Lips and all that is between them [h, w] float32 0..1, widened."""
    reach = max(0.5, wider * eye)
    canvas = np.zeros(box.shape, np.uint8)
    rings = [_fine(points[list(ring)], box) for ring in (OUTER_LIPS, INNER_LIPS)]
    for ring in rings:  # one after the other: together they would cut each other out
        cv2.fillPoly(canvas, [ring], (1,), shift=FRACTION)
    cv2.polylines(canvas, rings, True, (1,), thickness=max(1, round(2 * reach)), shift=FRACTION)
    return _blur(canvas.astype(np.float32), max(0.5, reach / 2))


def _fill(points: Array, box: Box) -> Array:
    """Inside of a polygon [n, 2] px of the frame, [h, w] uint8 0 or 1 of a box."""
    return cv2.fillPoly(np.zeros(box.shape, np.uint8), [_fine(points, box)], (1,), shift=FRACTION)


def _fine(points: Array, box: Box) -> Array:
    """Points of the frame as OpenCV draws them in a box: in parts of a pixel, from the middle of the first."""
    return ((points - [box.left, box.top] - 0.5) * 2**FRACTION).round().astype(np.int32)


def _blur(picture: Array, sigma: float) -> Array:
    return cv2.GaussianBlur(picture, (0, 0), max(0.3, sigma), borderType=cv2.BORDER_REPLICATE)
