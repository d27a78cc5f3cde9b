"""Whether a clip is good enough, and what to film differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.geometry import eye_distance
from avatar.core.landmarks import LOWER_LIP, UPPER_LIP
from avatar.core.sync import SURE
from avatar.core.take import UNLIKE_PLATE, Span, Track
from preprocess.spans import covered

LEAST_FACE_SECONDS = 2.0
FEW_EYE_PX = 20.0  # outer eye corners, in the source
LEAST_USABLE = 0.2  # share of the frames
STILL_LIPS = 0.008  # eye distances; speech moves them by .025 and more
SHORT_SECONDS = 12.0
SHAKY_CAMERA_PX, MOVING_CAMERA_PX = 2.5, 5.0  # at 512
SHALLOW_PAUSES_DB = 18.0
LEAST_COVERED = 0.02  # share of the frames
MUCH_CLIPPED = 0.3  # share of the seconds
FEW_CAPTIONS = 0.02  # share of the frames

Array = np.ndarray


def check_faces(found: Array, fps: float, name: str) -> None:
    """Raise UserError when no face, or a face for too short, was seen; found [T] bool."""
    seconds = float(found.sum()) / fps
    if seconds == 0:
        raise UserError(f"{name}: no face found; the face must be in the picture, frontal and well lit")
    if seconds < LEAST_FACE_SECONDS:
        raise UserError(f"{name}: a face is seen for {seconds:.1f} s only; film at least {LEAST_FACE_SECONDS + 1:g} s")


@dataclass(frozen=True)
class Fault:
    """Why an avatar should not be made of a Take, and what to expect of one that is made all the same."""

    ground: str
    expected: str


@dataclass(frozen=True)
class Verdict:
    """What a Take is good for, and what to film differently."""

    grade: Literal["Good", "Usable, could be better", "Not usable as it is"]
    advice: tuple[str, ...]
    faults: tuple[Fault, ...] = ()  # their grounds come first in the advice

    @property
    def usable(self) -> bool:
        """Whether anything can be made of the Take."""
        return not self.faults

    def __str__(self) -> str:
        return f"{self.grade}: {'; '.join(self.advice)}." if self.advice else f"{self.grade}."


def assess_quality(quality: Mapping[str, float]) -> Verdict:
    """Assess a Take by its quality figures (see docs/formats.md); a figure that an older Take lacks counts as good."""
    quality = {"usable": 1.0, "sound_rms": 1.0, "eye_px": 60.0, "yaw_degrees": 0.0} | dict(quality)
    faults = tuple(fault for bad, fault in _faults(quality) if bad)
    advice = (*(fault.ground for fault in faults), *(words for bad, words in _improvements(quality) if bad))
    if faults:
        return Verdict("Not usable as it is", advice, faults)
    return Verdict("Usable, could be better", advice) if advice else Verdict("Good", ())


def _faults(quality: Mapping[str, float]) -> Sequence[tuple[bool, Fault]]:
    usable, hidden = quality["usable"], quality.get("mouth_covered", 0.0)
    covered_all_through = usable < LEAST_USABLE and hidden > 0.5
    return (
        (
            covered_all_through,
            Fault(
                f"the mouth is covered in {hidden:.0%} of the clip; film it free",
                "lips that do not move, with what covers them painted on the face",
            ),
        ),
        (
            usable < LEAST_USABLE and not covered_all_through,
            Fault("nearly all of the clip was left out; see the reasons in its report", "a face that is blurred"),
        ),
        (
            quality["sound_rms"] <= 0,
            Fault(
                "the clip has no speech; lip motion cannot be learned from it",
                "lips as they are in general, not this person's",
            ),
        ),
        (_lips_rest(quality), Fault("the lips never move; film the person speaking", "lips that hardly move")),
        (
            _is_foreign(quality),
            Fault(
                f"the lips do not follow the sound ({100 * (1 - quality.get('sync_certainty', 1.0)):.0f} % sure); give "
                "the sound that was recorded with the picture",
                "lips that do not follow what is said",
            ),
        ),
    )


def _improvements(quality: Mapping[str, float]) -> Sequence[tuple[bool, str]]:
    moved, seconds = quality.get("camera_px", 0.0), quality.get("seconds", SHORT_SECONDS)
    captions, hidden = quality.get("captions", 0.0), quality.get("mouth_covered", 0.0)
    changes = quality.get("plate_error", 0.0) > UNLIKE_PLATE
    own = "or show another background"
    return (
        (
            LEAST_USABLE <= quality["usable"] < 0.8,
            "much of the clip was left out; film one shot, looking at the camera",
        ),
        (seconds < SHORT_SECONDS, f"only {seconds:.0f} s are left to train on; film 20 s and more"),
        (
            quality.get("source_eye_px", FEW_EYE_PX) < FEW_EYE_PX,
            f"the face has only {quality.get('source_eye_px', 0):.0f} px between the eyes, so that it will be blurred; "
            "film closer",
        ),
        (quality["eye_px"] < 60, "the face is small; film closer"),
        (quality["yaw_degrees"] > 30, "the head turns far; keep within 30 degrees"),
        (
            hidden > LEAST_COVERED and quality["usable"] >= LEAST_USABLE,
            f"the mouth is covered in {hidden:.0%} of the clip; keep it free",
        ),
        (
            0 < quality.get("pause_depth_db", SHALLOW_PAUSES_DB) < SHALLOW_PAUSES_DB,
            "music or noise lies behind the voice; record the voice alone",
        ),
        (quality.get("clipped", 0.0) > MUCH_CLIPPED, "the sound is clipped; turn the recording level down"),
        (captions > FEW_CAPTIONS, f"captions are burnt into {captions:.0%} of the frames; use the clip without them"),
        (changes, f"the background changes all the time; film before a still one, {own}"),
        (
            moved > SHAKY_CAMERA_PX and not changes,
            f"the camera {_moves(moved)} ({moved:.1f} px); put it on a tripod, {own}",
        ),
    )


def _moves(px: float) -> str:
    return "moves" if px > MOVING_CAMERA_PX else "shakes"


def lips_follow(quality: Mapping[str, float]) -> bool:
    """Whether a Take's lips move, and with its sound as far as its length shows: whether they can be trained on."""
    return not _lips_rest(quality) and not _is_foreign(quality)


def _lips_rest(quality: Mapping[str, float]) -> bool:
    return quality.get("lip_motion", 1.0) < STILL_LIPS


def _is_foreign(quality: Mapping[str, float]) -> bool:
    return quality.get("sync_certainty", 1.0) <= 1 - SURE


def lip_motion(landmarks: Tensor, confidence: Tensor) -> float:
    """Standard deviation of the lip opening over frames with a face, in distances of the outer eye corners."""
    seen = confidence > 0.3
    if seen.sum() < 2:
        return 0.0
    eyes = eye_distance(landmarks[seen]).median().clamp_min(1)
    gap = (landmarks[:, UPPER_LIP, :2] - landmarks[:, LOWER_LIP, :2])[seen].norm(dim=-1)
    return float((gap / eyes).std())


def measure_track(track: Track, spans: Sequence[Span]) -> dict[str, float]:
    """Quality figures of a track whose `spans` are left out, see docs/formats.md."""
    usable = float(1 - covered(spans, len(track)).mean())
    yaw = torch.rad2deg(torch.asin(track.rotation[:, 0, 2].clamp(-1, 1)).abs())
    return {
        "usable": usable,
        "seconds": usable * len(track) / track.fps,
        "eye_px": float(eye_distance(track.landmarks).median()),
        "yaw_degrees": float(yaw.quantile(0.99)),
        "face_found": float((track.confidence > 0.3).float().mean()),
        "lip_motion": lip_motion(track.landmarks, track.confidence),
    }
