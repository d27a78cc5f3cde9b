"""The most informative seconds of a long clip: every kind of mouth and every pose, few of them twice."""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2

from avatar.core.take import Span, Track
from preprocess.spans import to_spans

WINDOW_SECONDS = 2.0
KINDS = 200  # of frames: clusters of expression and pose
LEAST_OF_A_KIND = 2  # frames on average: a short clip has fewer kinds
CLUSTERED = 6000  # frames that the kinds are found from
MODES = 12  # of expression that count
POSE_WEIGHT = 12.0  # of a radian against a standard deviation of expression
ROUNDS = 12

Array = np.ndarray


def leave_out_repeats(track: Track, free: Array, seconds: float) -> list[Span]:
    """Spans so that of the frames that are free [T] bool about `seconds` remain; none when there are no more.

    Windows of two seconds are taken one after the other, each time the one that adds most: a kind of frame counts by
    the square root of how often it was taken.
    """
    wanted = round(seconds * track.fps)
    if free.sum() <= wanted:
        return []
    kind = _kinds(track, free)
    width = round(WINDOW_SECONDS * track.fps)
    starts = [start for start in range(0, len(track), width) if free[start : start + width].any()]
    counts = np.stack([_count(kind[start : start + width], free[start : start + width]) for start in starts])
    taken, kept, left = np.zeros(KINDS), np.zeros(len(track), bool), list(range(len(starts)))
    while left and kept.sum() < wanted:
        gain = np.sqrt(taken + counts[left]).sum(1) - np.sqrt(taken).sum()
        best = left.pop(int(gain.argmax()))
        taken += counts[best]
        window = slice(starts[best], starts[best] + width)
        kept[window] = free[window]
    return to_spans(free & ~kept, "not among the most informative seconds")


def _kinds(track: Track, free: Array) -> Array:
    """Which kind each frame is of [T], by k-means."""
    pose = track.rotation[:, 2, :2].numpy() * POSE_WEIGHT
    features = np.concatenate([track.expression[:, :MODES].numpy(), pose], 1).astype(np.float64)
    some = features[np.flatnonzero(free)[:: max(1, int(free.sum()) // CLUSTERED)]]
    kinds = min(KINDS, max(1, len(some) // LEAST_OF_A_KIND))
    centers, _ = kmeans2(some, kinds, iter=ROUNDS, minit="++", seed=0, missing="warn")
    nearest = [_nearest(features[start : start + 4000], centers) for start in range(0, len(features), 4000)]
    return np.concatenate(nearest)


def _nearest(features: Array, centers: Array) -> Array:
    return (np.square(centers).sum(1) - 2 * features @ centers.T).argmin(1)


def _count(kind: Array, free: Array) -> Array:
    return np.bincount(kind[free], minlength=KINDS).astype(float)
