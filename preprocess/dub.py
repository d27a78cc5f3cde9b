"""A drawn mouth in a filmed frame: where it shows, in the frame's own tone, with the frame's own detail.

The frame keeps its pixels but under a soft mask over mouth, jaw and cheeks. There the drawn picture lies, moved to the
frame's colours by what the same face drawn with the frame's own motion differs by at low frequency, and with the pores,
beard and grain of the frame, carried along by the mesh. Difference transfer (frame + new - own) has more PSNR and shows
the filmed lips through the new ones: docs/lab/dub.md. Lengths are in distances of the outer eye corners.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from avatar.core.landmarks import CHIN, FOREHEAD, INNER_LIPS, MESH_POINTS, OUTER_LIPS

JAW = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)
"""The lower border of what speech moves, from ear to ear."""
ABOVE = (361, 352, 411, 425, 423, 327, 2, 98, 203, 205, 187, 123, 132)
"""The upper border, back again: over the cheeks, under the nose."""

BELOW_CHIN = 0.35  # that the mask reaches below the lower of both chins: with less the filmed one shows beside the new
FEATHER = 0.12  # over which the mask fades, inwards only: outside the jaw's outline hair and background stay filmed
TONE = 0.12  # deviation of the Gaussian whose output is tone
TONE_SHRINK = 4  # times smaller that tone is measured: it is smooth
DETAIL = 0.02  # deviation of the Gaussian that removes detail; from .06 on the filmed mouth's shadows come along
LIPS_FIT, LIPS_DETAIL = 0.03, 0.04  # that the lips are widened by, for tone and for detail
NECK = ((0.12, 0.5), (0.24, 0.0), (0.36, 0.0))  # below the jaw, share of its motion: collars must not follow the chin
REACHES = ((0.06, 1.0), (0.12, 0.05), (0.24, 0.002))  # deviation and weight of the Gaussians that spread the warp
WARP_GRID = 4  # px
COVERED_BLUR, COVERED_QUANTILE = 0.03, 0.95  # in which difference of filmed and own something before the mouth shows

Array = np.ndarray


@dataclass(frozen=True)
class Faces:
    """A frame's two faces, projected into it: as it was filmed, and as it is to look."""

    own: Array  # [478, 2] px of the frame
    new: Array  # [478, 2] px
    eye: float  # px, distance of the outer eye corners, typical of the clip


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


def outline(faces: Faces) -> Array:
    """The border [30, 2] px of what is replaced: below the lower of both jaws, under the nose and over the cheeks."""
    down = faces.own[CHIN] - faces.own[FOREHEAD]
    down = down / max(1e-6, float(np.linalg.norm(down)))
    own, new = (points[list(JAW)] for points in (faces.own, faces.new))
    lower = np.where(((new - own) @ down > 0)[:, None], new, own)
    drop = np.sqrt(np.sin(np.pi * np.linspace(0, 1, len(JAW))).clip(0))
    lower = lower + BELOW_CHIN * faces.eye * drop[:, None] * down
    return np.concatenate([lower, faces.own[list(ABOVE)]])


def box_of(faces: Faces, shape: tuple[int, ...], margin: float = 3 * TONE) -> Box:
    """The part of a frame of a shape that is computed: the outline and what is seen through the filters."""
    points, reach = outline(faces), margin * faces.eye
    low, high = np.floor(points.min(0) - reach).astype(int), np.ceil(points.max(0) + reach).astype(int)
    height, width = shape[:2]
    return Box(
        int(np.clip(low[0], 0, width)),
        int(np.clip(low[1], 0, height)),
        int(np.clip(high[0], 0, width)),
        int(np.clip(high[1], 0, height)),
    )


def place(picture: Array, crop: tuple[float, float, float], frame: Array, box: Box) -> Array:
    """A picture [S, S, 4] uint8 of a crop (left, top, side in px), laid over a box of the frame [h, w, 3] float32.

    frame: [H, W, 3] uint8, which shows where the picture is transparent, and beside it.
    """
    left, top, side = crop
    scale = side / len(picture)
    move = np.array([[scale, 0, left - box.left + (scale - 1) / 2], [0, scale, top - box.top + (scale - 1) / 2]])
    size = (box.right - box.left, box.bottom - box.top)
    placed = cv2.warpAffine(picture.astype(np.float32), move, size, flags=cv2.INTER_CUBIC)
    alpha = placed[..., 3:].clip(0, 255) / 255
    return placed[..., :3] * alpha + box.of(frame) * (1 - alpha)


def mask(faces: Faces, box: Box) -> Array:
    """How much of the drawn picture shows [h, w] float32 0..1 in a box; exactly 0 outside the outline."""
    inside = _fill(outline(faces), box)
    distance = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 3)[1:-1, 1:-1] / (FEATHER * faces.eye)
    distance = distance.clip(0, 1).astype(np.float32)
    return distance * distance * (3 - 2 * distance) * inside


def patch(frame: Array, own: Array, new: Array, faces: Faces, box: Box) -> Array:
    """What is to lie under the mask [h, w, 3] float32, in a box.

    frame, own, new: [h, w, 3] float32 of the box: filmed, drawn with the frame's own motion, drawn as it is to look.
    """
    return new + _tone(frame, own, faces, box) + _detail(frame, new, faces, box)


def paste(frame: Array, replaced: Array, weight: Array, box: Box) -> Array:
    """The frame [H, W, 3] uint8 with what is replaced [h, w, 3] in a box, as far as the weight [h, w] says.

    Pixels whose weight is 0 stay as they are.
    """
    result, part = frame.copy(), box.of(frame)
    mixed = part + weight[..., None] * (replaced - part)
    box.of(result)[...] = np.where(weight[..., None] > 0, mixed.round().clip(0, 255), part).astype(np.uint8)
    return result


def covering(frame: Array, own: Array, faces: Faces, box: Box) -> float:
    """How much of the filmed mouth's surroundings is something else than the face, in grey levels.

    A quantile of the difference between filmed and drawn [h, w, 3] float32, fine detail and the lips left out.
    """
    weight = mask(faces, box) * (1 - _lips(faces.own, faces.eye, box, LIPS_FIT))
    difference = np.abs(_blur(frame - own, COVERED_BLUR * faces.eye)).mean(-1)
    seen = difference[weight > 0.5]
    return float(np.quantile(seen, COVERED_QUANTILE)) if len(seen) else 0.0


def _tone(frame: Array, own: Array, faces: Faces, box: Box) -> Array:
    """What the filmed face differs by from the drawn one at low frequency; of the lips nothing is known."""
    skin = 1 - _lips(faces.own, faces.eye, box, LIPS_FIT)
    size = (max(1, frame.shape[1] // TONE_SHRINK), max(1, frame.shape[0] // TONE_SHRINK))
    weighted = cv2.resize((frame - own) * skin[..., None], size, interpolation=cv2.INTER_AREA)
    weights = cv2.resize(skin, size, interpolation=cv2.INTER_AREA)
    sigma = TONE * faces.eye / TONE_SHRINK
    low = _blur(weighted, sigma) / np.maximum(_blur(weights, sigma), 1e-3)[..., None]
    return cv2.resize(low, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _detail(frame: Array, new: Array, faces: Faces, box: Box) -> Array:
    """What the frame has of fine detail, where the face now is, in place of the drawn one's own."""
    where = _warp(faces, box)
    filmed = cv2.remap(frame - _blur(frame, DETAIL * faces.eye), *where, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    before = _lips(faces.own, faces.eye, box, LIPS_DETAIL)
    before = cv2.remap(before, *where, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    skin = 1 - np.maximum(before, _lips(faces.new, faces.eye, box, LIPS_DETAIL))
    return skin[..., None] * (filmed - (new - _blur(new, DETAIL * faces.eye)))


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
    inside = _fill(points[list(OUTER_LIPS)], box) | _fill(points[list(INNER_LIPS)], box)
    reach = max(1, round(wider * eye))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return _blur(cv2.dilate(inside, disk).astype(np.float32), max(0.5, reach / 2))


def _fill(points: Array, box: Box) -> Array:
    """Inside of a polygon [n, 2] px of the frame, [h, w] uint8 0 or 1 of a box."""
    canvas = np.zeros((box.bottom - box.top, box.right - box.left), np.uint8)
    fine = ((points - [box.left, box.top] - 0.5) * 16).round().astype(np.int32)
    return cv2.fillPoly(canvas, [fine], (1,), shift=4)


def _blur(picture: Array, sigma: float) -> Array:
    return cv2.GaussianBlur(picture, (0, 0), max(0.3, sigma), borderType=cv2.BORDER_REPLICATE)
