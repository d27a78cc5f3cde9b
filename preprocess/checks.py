"""What is wrong with a clip: spans to leave out, and whether enough is left. Never silent."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.take import Span, Track

CUT = 0.3  # L1 distance of colour histograms of neighbouring frames
BLACK = 12  # mean grey level
FROZEN_FRAMES = 12
FROZEN_CHANGE = 0.02  # mean grey levels between neighbours
MOST_YAW = np.deg2rad(45)
LEAST_FACE_SECONDS = 3.0
LEAST_EYE_PX = 20.0  # outer eye corners, in the crop
SILENT_RMS = 0.002

Array = np.ndarray


def describe_frame(frame: Array) -> Array:
    """What cut, black and frozen frames are told by: an 8^3 colour histogram (sum 1), a 16x16 grey thumbnail."""
    small = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
    bins = (small // 32).astype(np.int64)
    histogram = np.bincount((bins[..., 0] * 64 + bins[..., 1] * 8 + bins[..., 2]).ravel(), minlength=512) / 4096
    thumbnail = cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA).mean(2).ravel()
    return np.concatenate([histogram, thumbnail])


def find_bad_spans(descriptions: Array, track: Track) -> list[Span]:
    """Spans of frames that training must leave out, with the reason; descriptions [T, 768] of `describe_frame`."""
    grey = descriptions[:, 512:]
    still = np.concatenate([[False], np.abs(np.diff(grey, axis=0)).mean(1) < FROZEN_CHANGE])
    yaw = torch.asin(track.rotation[:, 0, 2].clamp(-1, 1)).abs().numpy()
    spans = _to_spans(track.confidence.numpy() < 0.3, "no face found")
    spans += _to_spans(grey.mean(1) < BLACK, "black picture")
    spans += [span for span in _to_spans(still, "frozen picture") if span.stop - span.start >= FROZEN_FRAMES]
    spans += _to_spans(yaw > MOST_YAW, "face turned away")
    return sorted(spans + find_cuts(descriptions), key=lambda span: span.start)


def same_shot(descriptions: Array) -> Array:
    """Whether a frame and the next belong to the same shot, [T - 1] bool."""
    return np.abs(np.diff(descriptions[:, :512], axis=0)).sum(1) <= CUT


def find_cuts(descriptions: Array) -> list[Span]:
    """Everything but the longest shot."""
    borders = [0, *(np.flatnonzero(~same_shot(descriptions)) + 1).tolist(), len(descriptions)]
    shots = [(a, b) for a, b in pairwise(borders) if b > a]
    longest = max(shots, key=lambda shot: shot[1] - shot[0])
    return [Span(a, b, "another shot after a cut") for a, b in shots if (a, b) != longest]


def _to_spans(bad: Array, reason: str) -> list[Span]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(int), [0]])))
    return [Span(int(a), int(b), reason) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def check_faces(found: Tensor, landmarks: Tensor, fps: float, name: str) -> None:
    """Raise UserError when no face, a face for too short, or too small a face was seen."""
    seconds = float(found.sum()) / fps
    if seconds == 0:
        raise UserError(f"{name}: no face found; the face must be in the picture, frontal and well lit")
    if seconds < LEAST_FACE_SECONDS:
        raise UserError(f"{name}: a face is seen for {seconds:.1f} s only; film at least {LEAST_FACE_SECONDS:g} s")
    width = float((landmarks[found][:, 33, :2] - landmarks[found][:, 263, :2]).norm(dim=-1).median())
    if width < LEAST_EYE_PX:
        raise UserError(f"{name}: the face is too small ({width:.0f} px between the eyes); film closer")


def is_silent(audio: Tensor) -> bool:
    """Whether a clip's sound [n] -1..1 holds nothing to hear."""
    return len(audio) == 0 or float(audio.square().mean().sqrt()) < SILENT_RMS


def verdict(usable: float, eye_px: float, yaw_degrees: float, *, has_sound: bool) -> str:
    """In words: good, usable or not usable, and what to film differently."""
    advice = []
    if usable < 0.8:
        advice.append("much of the clip was left out; film one shot without cuts, looking at the camera")
    if eye_px < 60:
        advice.append("the face is small; film closer")
    if yaw_degrees > 30:
        advice.append("the head turns far; keep within 30 degrees")
    if not has_sound:
        advice.append("there is no speech to hear; the lips cannot be learned")
    if usable < 0.2 or not has_sound:
        return f"Not usable as it is: {'; '.join(advice)}."
    return f"Usable, could be better: {'; '.join(advice)}." if advice else "Good."
