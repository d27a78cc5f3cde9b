"""What is wrong with a clip: spans to leave out, and whether enough is left. Never silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.take import Span, Track
from preprocess.landmarks import LOWER_LIP, UPPER_LIP

CUT = 0.3  # L1 distance of colour histograms of neighbouring frames
BLACK = 12  # mean grey level
FROZEN_FRAMES = 12
FROZEN_CHANGE = 0.02  # mean grey levels between neighbours
MOST_YAW = np.deg2rad(45)
LEAST_FACE_SECONDS = 3.0
LEAST_EYE_PX = 20.0  # outer eye corners, in the crop and in the source
SILENT_RMS = 0.002
LEAST_USABLE = 0.2  # share of the frames
STILL_LIPS = 0.008  # eye distances; speech moves them by .025 and more
SHORT_SECONDS = 12.0
SHAKY_CAMERA_PX, MOVING_CAMERA_PX = 2.5, 5.0  # at 512

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


def check_faces(found: Tensor, landmarks: Tensor, fps: float, name: str, *, scale: float = 1.0) -> None:
    """Raise UserError when no face, a face for too short, or too small a face was seen.

    scale: source px for a px of the crop.
    """
    seconds = float(found.sum()) / fps
    if seconds == 0:
        raise UserError(f"{name}: no face found; the face must be in the picture, frontal and well lit")
    if seconds < LEAST_FACE_SECONDS:
        raise UserError(f"{name}: a face is seen for {seconds:.1f} s only; film at least {LEAST_FACE_SECONDS:g} s")
    width = float((landmarks[found][:, 33, :2] - landmarks[found][:, 263, :2]).norm(dim=-1).median())
    width *= min(1.0, scale)
    if width < LEAST_EYE_PX:
        raise UserError(f"{name}: the face is too small ({width:.0f} px between the eyes); film closer")


def is_silent(audio: Tensor) -> bool:
    """Whether a clip's sound [n] -1..1 holds nothing to hear."""
    return len(audio) == 0 or float(audio.square().mean().sqrt()) < SILENT_RMS


@dataclass(frozen=True)
class Verdict:
    """What a Take is good for, and what to film differently."""

    grade: Literal["Good", "Usable, could be better", "Not usable as it is"]
    advice: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.grade}: {'; '.join(self.advice)}." if self.advice else f"{self.grade}."


def judge(quality: Mapping[str, float]) -> Verdict:
    """Judge a Take by its quality figures (see docs/formats.md); a figure that an older Take lacks counts as good."""
    moved, seconds = quality.get("camera_px", 0.0), quality.get("seconds", SHORT_SECONDS)
    fatal = (
        (quality["usable"] < LEAST_USABLE, "nearly all of the clip was left out; see the reasons in its report"),
        (quality["sound_rms"] <= 0, "there is no speech to hear; the lips cannot be learned"),
        (quality.get("lip_motion", 1.0) < STILL_LIPS, "the lips never move; film the person speaking"),
        (moved > MOVING_CAMERA_PX, f"the camera moves ({moved:.0f} px); put it on a tripod"),
    )
    better = (
        (
            LEAST_USABLE <= quality["usable"] < 0.8,
            "much of the clip was left out; film one shot, looking at the camera",
        ),
        (seconds < SHORT_SECONDS, f"only {seconds:.0f} s are left to learn from; film 20 s and more"),
        (quality["eye_px"] < 60, "the face is small; film closer"),
        (quality["yaw_degrees"] > 30, "the head turns far; keep within 30 degrees"),
        (SHAKY_CAMERA_PX < moved <= MOVING_CAMERA_PX, f"the camera shakes ({moved:.1f} px); put it on a tripod"),
    )
    grounds = [advice for bad, advice in fatal if bad]
    advice = (*grounds, *(advice for bad, advice in better if bad))
    if grounds:
        return Verdict("Not usable as it is", advice)
    return Verdict("Usable, could be better", advice) if advice else Verdict("Good", ())


def lip_motion(landmarks: Tensor, confidence: Tensor) -> float:
    """Standard deviation of the lip opening over frames with a face, in distances of the outer eye corners."""
    points = landmarks[confidence > 0.3, :, :2]
    if len(points) < 2:
        return 0.0
    eyes = (points[:, 33] - points[:, 263]).norm(dim=-1).median().clamp_min(1)
    return float(((points[:, UPPER_LIP] - points[:, LOWER_LIP]).norm(dim=-1) / eyes).std())
