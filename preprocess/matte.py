"""Person mattes by MediaPipe's selfie segmentation, and the background plate behind the person."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

NET = 256  # px a side the network sees; anything above is only resized inside it
EPS = (0.01 * 255) ** 2  # of the guided filter; the guide must be uint8, a float guide merely blurs
LOW, HIGH = 0.1 * 255, 0.9 * 255  # the network's "surely outside" and "surely inside"
PLATE_FRAMES = 120
RIM = 25 / 512  # hair wisps outside the mask must not print into the plate
SEEN = 0.05  # share of frames in which a plate pixel must be free of the person


def segment(frames: np.ndarray, masks: np.ndarray, *, done: Callable[[int], None] | None = None) -> None:
    """Fill masks [T, 256, 256] uint8 with raw person probability of frames [T, S, S, 3] uint8 RGB."""
    with SelfieSegmentation(model_selection=0) as network:
        for index in range(len(frames)):
            small = cv2.resize(frames[index], (NET, NET), interpolation=cv2.INTER_AREA)
            mask = network.process(small).segmentation_mask
            masks[index] = np.clip(mask * 255 + 0.5, 0, 255)
            if done:
                done(index + 1)


def refine(masks: np.ndarray, index: int, frame: np.ndarray, *, iod: float) -> np.ndarray:
    """Matte [S, S] uint8 of one frame [S, S, 3] from raw masks [T, 256, 256]; `iod` px scales the filter.

    Median over three frames against flicker, then a guided filter in a band of 8 px (of 512) around the edge only.
    """
    size = frame.shape[0]
    before, here, after = (masks[min(max(index + step, 0), len(masks) - 1)] for step in (-1, 0, 1))
    coarse = np.maximum(np.minimum(before, here), np.minimum(np.maximum(before, here), after))
    coarse = np.clip((coarse.astype(np.float32) - LOW) * (255 / (HIGH - LOW)), 0, 255).astype(np.uint8)
    matte = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
    band = _edge_band(coarse)
    rows = np.flatnonzero(band.any(1))
    if len(rows) == 0:
        return matte
    radius = max(2, round(8 * iod / 132))
    scale = size / NET
    top = max(0, int(rows[0] * scale) - 2 * radius)
    stop = min(size, int((rows[-1] + 1) * scale) + 2 * radius)
    weight = cv2.resize(band, (size, size), interpolation=cv2.INTER_LINEAR)[top:stop].astype(np.float32) / 255
    part = matte[top:stop].astype(np.float32)
    filtered = cv2.ximgproc.guidedFilter(frame[top:stop], matte[top:stop], radius, EPS, dDepth=cv2.CV_32F, scale=0.5)
    matte[top:stop] = np.clip(part + weight * (filtered - part) + 0.5, 0, 255)
    return matte


def _edge_band(coarse: np.ndarray) -> np.ndarray:
    """Weight [256, 256] uint8: 255 near the edge of the person, fading out over a few pixels."""
    person = (coarse > 127).astype(np.uint8) * 255
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    return cv2.blur(cv2.dilate(person, kernel) - cv2.erode(person, kernel), (3, 3))


def make_plate(frames: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Plate [S, S, 3] uint8 from frames [T, S, S, 3] and raw masks [T, 256, 256].

    Returns also the share of the plate that was ever seen, and how much the seen part moves
    (mean over frames of the median grey-level difference: below 2 the camera stands, above 6 it does not).
    """
    length, size = len(frames), frames.shape[1]
    chosen = np.unique(np.linspace(0, length - 1, min(length, PLATE_FRAMES)).round().astype(int))
    hidden = np.stack([_hidden(masks[index], size) for index in chosen])
    plate = np.zeros((size, size, 3), np.uint8)
    seen = (~hidden).sum(0) >= max(1, SEEN * len(chosen))
    for top in range(0, size, 64):
        stop = min(size, top + 64)
        strip = np.stack([frames[index, top:stop] for index in chosen])
        plate[top:stop] = _median_where(strip, ~hidden[:, top:stop])
    differences = []
    for place, index in enumerate(chosen):
        free = seen & ~hidden[place]
        if free.any():
            differences.append(float(np.median(cv2.absdiff(frames[index], plate)[free])))
    motion = float(np.mean(differences)) if differences else 0.0
    return fill_smoothly(plate, seen), float(seen.mean()), motion


def _hidden(mask: np.ndarray, size: int) -> np.ndarray:
    """Where the person, or something as near as hair, may cover the background [S, S] bool."""
    width = 2 * round(RIM * NET) + 1
    person = cv2.dilate((mask > LOW).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    return cv2.resize(person, (size, size), interpolation=cv2.INTER_NEAREST) > 0


def _median_where(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Median of values [B, H, W, 3] over B where valid [B, H, W]; 0 where never."""
    # invalid values sort to the end, so the median is a plain index
    ordered = np.sort(np.where(valid[..., None], values, 255).astype(np.uint8), axis=0)
    middle = np.maximum(valid.sum(0) - 1, 0) // 2
    picked = np.take_along_axis(ordered, middle[None, :, :, None], axis=0)[0]
    return np.where(valid.any(0)[..., None], picked, 0)


def fill_smoothly(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Continue an image [S, S, 3] uint8 over pixels not known [S, S] by a membrane (Laplace), coarse to fine."""
    if known.all():
        return image
    if not known.any():
        return np.full_like(image, 128)
    filled = _membrane(image.astype(np.float32) * known[..., None], known.astype(np.float32))
    # a soft edge of dark or bright rim pixels would show as streaks; the fill is smooth, so 8 bits suffice
    return np.where(known[..., None], image, np.clip(filled + 0.5, 0, 255).astype(np.uint8))


def _membrane(weighted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """One level of a multigrid: solve the half size first, then relax the unknown pixels of this size."""
    height, width = weight.shape
    value = weighted / np.maximum(weight, 1e-6)[..., None]
    unknown = weight < 1e-3
    if not unknown.any():
        return value
    half = ((width + 1) // 2, (height + 1) // 2)
    if min(half) < 2:
        return np.where(unknown[..., None], weighted.sum((0, 1)) / max(float(weight.sum()), 1e-6), value)
    coarse = _membrane(
        cv2.resize(weighted, half, interpolation=cv2.INTER_AREA), cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    )
    value = np.where(unknown[..., None], cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), value)
    kernel = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4
    for _ in range(24):
        value[unknown] = cv2.filter2D(value, -1, kernel, borderType=cv2.BORDER_REPLICATE)[unknown]
    return value
