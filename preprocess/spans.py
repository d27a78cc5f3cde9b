"""Which frames training must leave out, and why."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch

from avatar.core.landmarks import CHIN, EYE_CORNERS
from avatar.core.take import Span, Track

COLORS, THUMBNAIL = 512, 256  # numbers that describe a frame: a colour histogram, a grey thumbnail,
DESCRIPTION = COLORS + THUMBNAIL + 1  # and how much of its captioned line is caption
FACE_PATCH = (12, 14, 3)
CUT = 0.3  # L1 distance of colour histograms of neighbouring frames
SAME_PLACE = 12.0  # mean grey levels between the thumbnails of two shots from one place
MOST_PLACES = 40  # shots, the longest, that a place is looked for among
BLACK = 12  # mean grey level
FROZEN_FRAMES = 12
FROZEN_CHANGE = 0.02  # mean grey levels between neighbours
MOST_YAW = np.deg2rad(45)
LETTER_DARK, LETTER_BRIGHT = 50, 190  # grey levels that an outlined letter has side by side
LINE = (80, 11)  # px of a picture 256 wide that a word covers
CAPTION = 0.4  # share of a line that is letters
CAPTIONS_EVERYWHERE = 0.5  # share of the frames: then they are not left out, but reported
COVERED, COVERED_TIMES, COVERED_FRAMES = 1.2, 2.2, 8  # unlikeness, of the usual unlikeness, for how long
MOUTH_COVERED = "something covers the mouth"
CHUNK = 2000  # frames
PATCH_NOISE = 6.0  # grey levels

Array = np.ndarray


def describe_frame(frame: Array) -> Array:
    """What shows that a frame [S, S, 3] uint8 RGB is cut, black, frozen or captioned: [769], see DESCRIPTION."""
    small = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
    histogram = cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel() / 4096
    thumbnail = cv2.resize(small, (16, 16), interpolation=cv2.INTER_AREA).mean(2).ravel()
    return np.concatenate([histogram, thumbnail, [caption_share(frame)]]).astype(np.float32)


def caption_share(frame: Array) -> float:
    """How much of the frame's most captioned line is letters, 0..1: bright strokes with dark outlines."""
    grey = cv2.cvtColor(cv2.resize(frame, (256, 256), interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGB2GRAY)
    kernel = np.ones((3, 3), np.uint8)
    letters = (cv2.dilate(grey, kernel) > LETTER_BRIGHT) & (cv2.erode(grey, kernel) < LETTER_DARK)
    return float(cv2.blur(letters.astype(np.float32), LINE)[8:-8, 48:-48].max())


def sample_patch(frame: Array, points: Array) -> Array:
    """The lower face [12, 14, 3] uint8 in a place of its own, from landmarks [478, 2..3] px: to see what covers it."""
    corners = points[[*EYE_CORNERS, CHIN], :2].astype(np.float32)
    step = 4
    place = np.array([[1, -4], [13, -4], [7, 12]], np.float32) * step
    height, width, _ = FACE_PATCH
    warp = cv2.getAffineTransform(corners, place)
    fine = cv2.warpAffine(frame, warp, (width * step, height * step), borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def find_bad_spans(descriptions: Array, patches: Array, hidden: Array, framing: Array, track: Track) -> list[Span]:
    """Spans that training must leave out, and why.

    descriptions: [T, 769]; patches: [T, 12, 14, 3] uint8; hidden: [T] bool, see `mouth_cover.find_covered_mouths`;
    framing: [T], see `framings.number_framings`.
    """
    grey = descriptions[:, COLORS:-1]
    still = np.concatenate([[False], _changes(grey) / THUMBNAIL < FROZEN_CHANGE])
    yaw = torch.asin(track.rotation[:, 0, 2].clamp(-1, 1)).abs().numpy()
    seen = track.confidence.numpy() >= 1
    spans = to_spans(track.confidence.numpy() < 0.3, "no face found")
    spans += to_spans(grey.mean(1, dtype=np.float32) < BLACK, "black picture")
    spans += to_spans(still, "frozen picture", at_least=FROZEN_FRAMES)
    spans += to_spans(yaw > MOST_YAW, "face turned away")
    hidden = hidden & (yaw <= MOST_YAW)
    spans += to_spans(hidden, MOUTH_COVERED)
    spans += to_spans(find_covered(patches, seen) & ~hidden & (yaw <= MOST_YAW), "something covers the face")
    cut = np.concatenate([[False], np.diff(framing) != 0])
    spans += to_spans(cut | np.roll(cut, -1), "cut between two framings")  # may lie a frame beside
    captioned = has_caption(descriptions)
    if captioned.mean() <= CAPTIONS_EVERYWHERE:
        spans += to_spans(captioned, "caption in the picture")
    return sorted(spans + find_other_shots(descriptions, framing), key=lambda span: span.start)


def has_caption(descriptions: Array) -> Array:
    """Which frames show a caption, [T] bool."""
    return descriptions[:, -1] > CAPTION


def same_shot(descriptions: Array, framing: Array) -> Array:
    """Whether a frame and the next belong to the same shot, [T - 1] bool; framing: [T]."""
    return np.asarray((_changes(descriptions[:, :COLORS]) <= CUT) & (np.diff(framing) == 0))


def _changes(rows: Array) -> Array:
    """L1 distance of each row [T, D] from the one before [T - 1], a few at a time."""
    starts = range(0, max(1, len(rows) - 1), CHUNK)
    parts = (np.diff(rows[start : start + CHUNK + 1].astype(np.float32), axis=0) for start in starts)
    return np.concatenate([np.abs(part).sum(1) for part in parts])


def find_other_shots(descriptions: Array, framing: Array) -> list[Span]:
    """All shots but those of one place that are longest together: another has another plate.

    descriptions: [T, 769]; framing: [T]: another framing of the place has its colours, elsewhere in the picture.
    """
    borders = [0, *(np.flatnonzero(~same_shot(descriptions, framing)) + 1).tolist(), len(descriptions)]
    shots = [(a, b) for a, b in pairwise(borders) if b > a]
    framings = framing[[start for start, _ in shots]]
    middles, lengths = np.stack([_middle(descriptions, shot) for shot in shots]), np.array([b - a for a, b in shots])
    usual = np.argsort(-lengths, kind="stable")[:MOST_PLACES].tolist()
    kept = max((_same_place(middles, framings, one) for one in usual), key=lambda same: int(lengths[same].sum()))
    return [Span(*shot, "another shot after a cut") for shot, same in zip(shots, kept, strict=True) if not same]


def _same_place(middles: Array, framings: Array, one: int) -> Array:
    """Which shots [N] bool show the place of one of them, from their middles [N, 768] and framings [N]."""
    apart = np.abs(middles - middles[one])
    alike = (apart[:, COLORS:].mean(1) <= SAME_PLACE) | (framings != framings[one])
    return np.asarray((apart[:, :COLORS].sum(1) <= CUT) & alike)


def _middle(descriptions: Array, shot: tuple[int, int]) -> Array:
    step = max(1, (shot[1] - shot[0]) // 200)
    return np.median(descriptions[shot[0] : shot[1] : step, :-1].astype(np.float32), axis=0)


def find_covered(patches: Array, seen: Array) -> Array:
    """Frames [T] bool whose lower face stays unlike this person's for a while: a hand, a cup, a microphone."""
    if seen.sum() < 4 * COVERED_FRAMES:
        return np.zeros(len(patches), bool)
    some = patches[np.flatnonzero(seen)[:: max(1, int(seen.sum()) // 500)]].astype(np.float32)
    usual = np.median(some, axis=0)
    spread = 1.48 * np.median(np.abs(some - usual), axis=0) + PATCH_NOISE
    unlike = np.concatenate([_unlikeness(patches[i : i + CHUNK], usual, spread) for i in range(0, len(patches), CHUNK)])
    least = max(COVERED, COVERED_TIMES * float(np.median(unlike[seen])))
    spans = to_spans((unlike > least) & seen, "", at_least=COVERED_FRAMES)
    return covered(spans, len(patches))


def _unlikeness(patches: Array, usual: Array, spread: Array) -> Array:
    cells = (np.abs(patches.astype(np.float32) - usual) / spread).mean(-1).reshape(len(patches), -1)
    return np.quantile(cells, 0.75, axis=1)


def to_spans(bad: Array, reason: str, at_least: int = 1) -> list[Span]:
    """Runs of frames [T] bool of some length."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(int), [0]])))
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [Span(a, b, reason) for a, b in runs if b - a >= at_least]


def covered(spans: Sequence[Span], length: int) -> Array:
    """Which frames lie in spans, [T] bool."""
    inside = np.zeros(length, bool)
    for span in spans:
        inside[span.start : span.stop] = True
    return inside
