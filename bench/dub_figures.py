"""Figures of dubbed frames beside PSNR: another frame's mouth, flicker, borders, and how smoothly footage is looped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from avatar.core.landmarks import OUTER_LIPS
from avatar.pipelines.footage_order import Order
from preprocess.dub import Faces, box_of, mask
from preprocess.morph import measure_flow
from preprocess.nv12 import luma_of, size_of

RIGID = (10, 67, 297, 103, 332, 168, 6, 197, 33, 263, 133, 362, 234, 454)  # forehead, nose's bridge, eyes, ears
SKIN = 0.9  # of the mask's weight: where skin is the drawn one
RING = (0.05, 0.95)  # of the mask's weight: its border

Array = np.ndarray


def psnr(error: Array) -> float:
    """Of squared errors in grey levels."""
    return float(10 * np.log10(255**2 / max(error.mean(), 1e-9)))


def laid_over(picture: Array, there: Faces, here: Faces) -> Array:
    """A picture [H, W] whose face is moved from one place to another by shift, turn and scale, float32."""
    points = (np.asarray(one.own[list(RIGID)], np.float32) for one in (there, here))
    move, _ = cv2.estimateAffinePartial2D(*points, method=cv2.LMEDS)
    size = picture.shape[1::-1]
    return cv2.warpAffine(
        picture.astype(np.float32), move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def weight_of(faces: Faces, size: tuple[int, int]) -> Array:
    """The mask [H, W] of a whole frame."""
    box, shown = box_of(faces, size), np.zeros(size, np.float32)
    box.of(shown)[...] = mask(faces, box)
    return shown


def lips_of(faces: Faces, size: tuple[int, int]) -> Array:
    """Whether a pixel [H, W] is near the lips of either face."""
    near = np.zeros(size, np.uint8)
    for points in (faces.own, faces.new):
        hull = cv2.convexHull(points[list(OUTER_LIPS)].round().astype(np.int32))
        cv2.fillConvexPoly(near, hull, (1,))
    reach = max(1, round(0.08 * faces.eye))
    return cv2.dilate(near, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0


def pair_psnr(dubbed: Sequence[Array], others: Sequence[Array], here: Sequence[Faces], there: Sequence[Faces]) -> float:
    """Frames with other frames' mouths, against those frames laid over them, under the mask, dB.

    here: the faces of dubbed frames; there: those of the frames whose mouths they have. Frames are NV12.
    """
    found = []
    for made, other, mine, its in zip(dubbed, others, here, there, strict=True):
        inside = weight_of(mine, size_of(made)) > 0.5
        found.append(psnr(np.square(luma_of(made) - laid_over(luma_of(other), its, mine))[inside]))
    return float(np.mean(found))


def flicker(made: Sequence[Array], filmed: Sequence[Array], faces: Sequence[Faces]) -> float:
    """Mean change of skin under the mask from frame to frame, the head laid over itself, against the filmed skin's."""
    changes = np.zeros(2)
    for index in range(1, len(made)):
        before, now = faces[index - 1], faces[index]
        size = size_of(made[index])
        skin = (weight_of(now, size) > SKIN) & ~lips_of(now, size)
        for which, frames in enumerate((made, filmed)):
            moved = laid_over(luma_of(frames[index - 1]), before, now)
            changes[which] += np.abs(luma_of(frames[index]) - moved)[skin].mean()
    return float(changes[0] / changes[1])


def border(made: Sequence[Array], filmed: Sequence[Array], faces: Sequence[Faces]) -> float:
    """Gradient at the mask's border, against that inside, in dubbed frames over the same in filmed ones."""
    ratios = np.zeros((2, 2))
    for picture, truth, one in zip(made, filmed, faces, strict=True):
        weight, lips = weight_of(one, size_of(picture)), lips_of(one, size_of(picture))
        ring = (weight > RING[0]) & (weight < RING[1]) & ~lips
        inside = (weight >= RING[1]) & ~lips
        for which, frame in enumerate((picture, truth)):
            smooth = cv2.GaussianBlur(luma_of(frame).astype(np.float32), (0, 0), max(0.5, 0.01 * one.eye))
            slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
            ratios[which] += slope[ring].mean(), slope[inside].mean()
    drawn, real = ratios[:, 0] / ratios[:, 1]
    return float(drawn / real)


def transitions(order: Order, frames: Iterator[Array]) -> float:
    """Mean optical flow at the turns and morphs of looped footage, against the mean of all other steps."""
    jump = (order.share[1:] > 0) | (order.share[:-1] > 0)
    step = order.shown[1:] - order.shown[:-1]
    turn = np.concatenate([[False], (step[1:] != step[:-1]).numpy()]) & ~jump.numpy()
    at, within, before = list[float](), list[float](), None
    for index, frame in enumerate(frames):
        now = luma_of(frame).copy()
        if before is not None:
            motion = float(np.linalg.norm(measure_flow(before, now), axis=-1).mean())
            (at if jump[index - 1] or turn[index - 1] else within).append(motion)
        before = now
    return float(np.mean(at) / np.mean(within)) if at else 0.0
