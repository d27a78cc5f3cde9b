"""The shoulders' own motion: a similarity transform of the picture per frame, against one reference frame, as
`avatar.core.geometry.apply_torso` has it.

Every frame, turned back by the motion of the one before, is compared with the reference frame by dense optical flow
(DIS: Kroeger et al. 2016), which is defined on bare skin and smooth cloth too; a similarity is fitted to it robustly.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from avatar.core.geometry import apply_torso
from avatar.core.landmarks import CHIN, FOREHEAD, JAWLINE
from avatar.core.take import Track
from preprocess.parallel import ahead
from preprocess.take_folder import ReadFrame

WORKING_SIZE = 256  # px a side that flow is found at: half of the usual Take, for a quarter of the time
BELOW_CHIN = 0.14  # of the face's height: where the shoulders may begin
GRID = 3  # px between the points that flow is read at
LEAST_POINTS = 40
MARGIN = 24  # px about the shoulders that flow sees
LEAST_SIDE = (
    48  # px of that part: OpenCV's DIS reads out of bounds in 31 x 250 px, where a patch is larger than a level
)
MUCH_TEXTURE = 6.0  # grey levels a px, blurred: more says no more about where something is
LEAST_WEIGHT = 1e-3  # of points without texture
PASSES, SETTLED = 4, 0.25  # of one frame, at most; px that a pass moves points by, when it is the last
ROUNDS = 6  # of reweighting in a pass
LEAST_SPREAD = 0.3  # px, of residuals: below this lies the flow's own noise
SEEN = 0.2  # of the weight must be in sight
ALIKE, SURE = 0.3, 0.9  # correlation with the reference, turned back: less is something else; more needs no other try
BLUR = 2.0  # px, before pictures are correlated: folds move by themselves
TURN_COST = 0.1  # of a correlation, a rad: of two that are as good, shoulders that turn less are the likely ones
MOST_SHIFT, MOST_TURN = 0.3, 0.3  # of the picture; rad, and log-scale: beyond, something else was followed
SMOOTHING = 0.8  # frames
READ_AHEAD = 8  # frames, by other threads

Array = np.ndarray


@dataclass(frozen=True)
class TorsoMotion:
    """The torso of all frames."""

    values: Array  # [T, 4], as Track.torso
    held: Array  # [T] bool: nothing was found, and the value is that of a neighbour


@dataclass(frozen=True)
class _Reference:
    """The shoulders of the reference frame, at working size."""

    grey: Array  # [h, w] uint8, the part of the picture about them
    smooth: Array  # [P] grey values at the points, blurred
    corner: Array  # [2] px: where this part begins in the picture
    points: Array  # [P, 2] px from the middle of the picture
    places: tuple[Array, Array]  # [P] rows and columns of the points in `grey`
    weights: Array  # [P] by how much texture lies there
    scale: float  # px of the picture for one at working size


def with_torso(track: Track, frames: Array, read: ReadFrame, read_matte: ReadFrame) -> tuple[Track, int, float]:
    """The track with the torso's motion, the reference frame, and the share of the frames in which it is held.

    frames [N]: those that may be the reference; the one nearest to the median pose is. read: grey.
    """
    turn = track.rotation[torch.from_numpy(frames)].flatten(1)
    reference = int(frames[int((turn - turn.median(0).values).square().sum(1).argmin())])
    torso = fit_torso(read, read_matte(reference), track.landmarks.numpy(), reference)
    moved = replace(track, torso=torch.from_numpy(torso.values).float())
    return moved, reference, float(torso.held.mean())


def fit_torso(read: ReadFrame, matte: Array, landmarks: Array, reference: int) -> TorsoMotion:
    """The torso of grey frames, from the reference frame's matte [S, S] uint8, and landmarks [T, 478, 3] px.

    All zeros, and all held, where too little of the shoulders is in the reference frame.
    """
    count = len(landmarks)
    torso, held = np.zeros((count, 4)), np.ones(count, bool)
    home = _find_shoulders(read(reference), matte, landmarks[reference])
    if home is None:
        return TorsoMotion(torso, held)
    held[reference] = False
    below = BELOW_CHIN * np.linalg.norm(landmarks[:, CHIN, :2] - landmarks[:, FOREHEAD, :2], axis=1)
    jaws = (landmarks[:, list(JAWLINE), :2] + np.stack([np.zeros(count), below], 1)[:, None]) / home.scale

    def small(frame: int) -> Array:
        return _shrink(read(frame), home.scale)

    def go(order: range) -> None:
        flow, last = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST), np.zeros(4)
        for frame, now in zip(order, ahead(small, order, readers, READ_AHEAD), strict=True):
            found, score = _find(home, now, jaws[frame], last, flow)
            if score > ALIKE:
                last, held[frame] = found, False
            torso[frame] = last

    with ThreadPoolExecutor() as readers, ThreadPoolExecutor(2) as pool:
        list(pool.map(go, (range(reference + 1, count), range(reference - 1, -1, -1))))
    torso[:, :2] *= home.scale
    return TorsoMotion(gaussian_filter1d(torso, SMOOTHING, axis=0, mode="nearest"), held)


def _shrink(grey: Array, scale: float) -> Array:
    side = round(grey.shape[0] / scale)
    return grey if scale == 1 else cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)


def _find_shoulders(grey: Array, matte: Array, landmarks: Array) -> _Reference | None:
    scale = max(1.0, grey.shape[0] / WORKING_SIZE)
    small, opaque = _shrink(grey, scale), _shrink(matte, scale) > 200
    chin, forehead = landmarks[CHIN, :2] / scale, landmarks[FOREHEAD, :2] / scale
    body = cv2.erode(opaque.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    body[: max(0, int(chin[1] + BELOW_CHIN * np.linalg.norm(chin - forehead)))] = False
    grid = np.zeros_like(body)
    grid[::GRID, ::GRID] = True
    rows, columns = np.nonzero(body & grid)
    size = small.shape[0]
    if len(rows) < LEAST_POINTS or size < LEAST_SIDE:
        return None
    low = np.clip(np.array([columns.min(), rows.min()]) - MARGIN, 0, size - LEAST_SIDE)
    high = np.clip(np.array([columns.max(), rows.max()]) + MARGIN + 1, low + LEAST_SIDE, size)
    slope = np.hypot(*(cv2.Sobel(small, cv2.CV_32F, *axis, ksize=3, scale=0.25) for axis in ((1, 0), (0, 1))))
    texture = cv2.GaussianBlur(slope, (0, 0), 2)[rows, columns].astype(np.float64)
    points = np.stack([columns, rows], 1) + 0.5 - size / 2
    part = np.ascontiguousarray(small[low[1] : high[1], low[0] : high[0]])
    places = rows - low[1], columns - low[0]
    smooth = cv2.GaussianBlur(part, (0, 0), BLUR)[places]
    return _Reference(part, smooth, low, points, places, texture / (texture + MUCH_TEXTURE) + LEAST_WEIGHT, scale)


def _find(home: _Reference, now: Array, jaw: Array, last: Array, flow: cv2.DISOpticalFlow) -> tuple[Array, float]:
    """The torso [4] at working size, of a picture with a jawline [J, 2] px, and how likely it is.

    Looked for where it was `last`, and where that is not surely it, at rest: once by a shift alone, since on plain
    cloth a similarity may run away with an outline.
    """
    found = [_follow(home, now, jaw, last, flow, turns=True)]
    if found[0][1] < SURE:
        found += [_follow(home, now, jaw, np.zeros(4), flow, turns=turns) for turns in (True, False)]
    return max(found, key=lambda one: one[1])


def _follow(
    home: _Reference, now: Array, jaw: Array, torso: Array, flow: cv2.DISOpticalFlow, *, turns: bool
) -> tuple[Array, float]:
    """The torso [4] that a search from `torso` ends at, and its score: -1 out of sight or out of bounds.

    turns: a similarity; else a shift.
    """
    middle = now.shape[0] / 2
    for _ in range(PASSES):
        moved = apply_torso(home.points + _flow_at(home, _turn_back(home, now, torso), flow), torso)
        weights = home.weights * _in_sight(moved + middle, jaw, now.shape[0])
        if weights.sum() < SEEN * home.weights.sum():
            return torso, -1.0
        found = _fit_similarity(home.points, moved, weights, turns=turns)
        if np.abs(found[:2]).max() > MOST_SHIFT * now.shape[0] or np.abs(found[2:]).max() > MOST_TURN:
            return torso, -1.0
        step = np.abs(apply_torso(home.points, found) - apply_torso(home.points, torso)).max()
        torso = found
        if step < SETTLED:
            break
    back = cv2.GaussianBlur(_turn_back(home, now, torso), (0, 0), BLUR)
    alike = _correlation(home.smooth, back[home.places], weights)
    return torso, alike - TURN_COST * float(np.abs(torso[2:]).sum())


def _flow_at(home: _Reference, back: Array, flow: cv2.DISOpticalFlow) -> Array:
    """Flow [P, 2] px from the reference to a picture that is turned back, at the reference's points."""
    return flow.calc(home.grey, back, np.zeros((*back.shape, 2), np.float32))[home.places].astype(np.float64)


def _turn_back(home: _Reference, now: Array, torso: Array) -> Array:
    """The part of a picture about the shoulders [h, w], with a torso undone: as in the reference frame."""
    middle, corner = now.shape[0] / 2, home.corner + 0.5
    center, right, below = (apply_torso(corner - middle + np.array(axis), torso) for axis in ((0, 0), (1, 0), (0, 1)))
    matrix = np.stack([right - center, below - center, center + middle - 0.5], 1)
    size, how = home.grey.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(now, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE)


def _correlation(one: Array, other: Array, weights: Array) -> float:
    """Pearson's correlation of grey values [P], weighted."""
    share = weights / weights.sum()
    one, other = (values - share @ values.astype(np.float64) for values in (one, other))
    return float(share @ (one * other) / np.sqrt((share @ one**2) * (share @ other**2) + 1e-9))


def _in_sight(places: Array, jaw: Array, size: int) -> Array:
    """Which places [P, 2] px lie in the picture and under the jawline [J, 2], [P] bool."""
    order = np.argsort(jaw[:, 0])
    cut = np.interp(places[:, 0], jaw[order, 0], jaw[order, 1], left=-np.inf, right=-np.inf)
    return (places > 0).all(1) & (places < size).all(1) & (places[:, 1] > cut)


def _fit_similarity(home: Array, moved: Array, weights: Array, *, turns: bool) -> Array:
    """The torso [4] that brings points [P, 2] to where they moved; without `turns` by a shift alone.

    Weighted least squares over complex numbers, q = a p + b, iteratively reweighted by Cauchy's function.
    """
    p, q = home @ [1, 1j], moved @ [1, 1j]
    w = weights / weights.sum()
    a, b = 1 + 0j, 0j
    for _ in range(ROUNDS):
        center_p, center_q = w @ p, w @ q
        if turns:
            a = (w * (p - center_p).conj()) @ (q - center_q) / (w @ np.abs(p - center_p) ** 2)
        b = center_q - a * center_p
        missed = np.abs(a * p + b - q)
        spread = max(LEAST_SPREAD, 1.5 * _weighted_median(missed, weights))
        w = weights / (1 + (missed / spread) ** 2)
        w /= w.sum()
    return np.array([b.real, b.imag, np.log(np.abs(a)), np.angle(a)])


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
