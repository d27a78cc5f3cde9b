"""Whether the lips of a film follow its sound, and how far the two are apart: `avatar sync`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError, whole
from avatar.core.landmarks import POINTS
from avatar.core.lips import lip_curves
from avatar.core.loudness import SILENCE_DB, is_spoken, measure_level
from avatar.core.media import WHOLE, VideoInfo, find_speech, measure, probe, read_speech
from avatar.core.motion_space import load_space
from avatar.core.page import Axis, to_curve, to_table, write_page
from avatar.core.progress import Progress, no_progress
from avatar.core.sync import SyncMeasurement
from avatar.motion.sync import FPS, LEAST_FRAMES, open_sync
from avatar.render.device import DeviceName, pick_device
from preprocess.crop import choose_crop, find_faces, pick_face, round_crop
from preprocess.detectors import PersonDetector, open_detector
from preprocess.mouth import SAMPLES, refine_lips, sample_profile
from preprocess.reading import read_frames
from preprocess.trackers import fit_landmarks

SIZE = 256  # px a side that the face is looked at in: landmarks need no more
TOLERANCE = 0.045  # s: sound that is so early is noticed (ITU-R BT.1359); late sound later, at .125 s
STILL_LIPS = 0.004  # eye distances of deviation of the opening
ABOVE_SILENCE_DB = 20.0  # that the faintest speech is louder than none
QUIET = 0.1  # share of the frames with speech, below which nobody is said to speak
Verdict = Literal["in sync", "sound late", "sound early", "lips do not follow the sound", "cannot be said"]


@dataclass(frozen=True)
class FilmSync:
    """What was found of a film."""

    film: str
    seconds: float
    verdict: Verdict
    reason: str  # why nothing can be said; else empty
    found: SyncMeasurement | None  # None without face or sound

    @property
    def offset(self) -> float | None:
        """Seconds by which the sound is late; None where the lips are not sure to follow it."""
        return self.found.whole.offset if self.found and self.found.whole.follows else None


def check_sync(
    film: Path,
    *,
    face: str = "auto",
    audio_track: int | None = None,
    tolerance: float = TOLERANCE,
    device: DeviceName = "cpu",
    progress: Progress = no_progress,
) -> FilmSync:
    """Measure a film. face: as of `TakeRequest`; tolerance: s of offset that still count as in sync.

    Raises: UserError when the file is no film or lacks the sound track.
    """
    info = probe(film)
    if not info.has_video:
        raise UserError(f"{film}: has no picture; give a film")
    info = measure(film, info)
    name = film.name
    if not info.has_audio:
        return FilmSync(name, info.seconds, "cannot be said", "it has no sound", None)
    if info.seconds * FPS < LEAST_FRAMES:
        return FilmSync(name, info.seconds, "cannot be said", f"it is {info.seconds:.2f} s long", None)
    landmarks, found = _look(film, info, face, device, progress)
    if int(found.sum()) < LEAST_FRAMES:
        reason = f"a face is seen for {float(found.sum()) / FPS:.1f} s only" if found.any() else "no face is seen"
        return FilmSync(name, info.seconds, "cannot be said", reason, None)
    track, _ = fit_landmarks(landmarks, found, load_space(), size=SIZE, fps=FPS)
    samples = torch.cat([torch.zeros(0), *read_speech(find_speech(film, track=audio_track), check_length=False)])
    expression = at_shown_times(track.expression, info.fps)
    measured = open_sync(samples)(expression, track.confidence > 0)
    reason = _why_not(samples, landmarks[found], measured)
    return FilmSync(name, info.seconds, _verdict(measured, reason, tolerance), reason, measured)


def _look(film: Path, info: VideoInfo, face: str, device: DeviceName, progress: Progress) -> tuple[Tensor, Tensor]:
    """Landmarks [T, 478, 3] px at 25 frames/s, lips as far apart as the picture shows, and where a face was [T]."""
    detector = open_detector("auto", pick_device(device))
    try:
        faces = find_faces(film, info, detector)
        if not any(faces):
            return torch.zeros(0, POINTS, 3), torch.zeros(0, dtype=torch.bool)
        boxes = [box for box in pick_face(faces, face, str(film)) if box]
        crop = round_crop(choose_crop(boxes, info.width, info.height), SIZE)
        seen = list(_landmarks(film, info, crop, detector, progress))
    finally:
        detector.close()
    points = np.stack([point for point, _ in seen]).astype(np.float32)
    profiles, found = np.stack([profile for _, profile in seen]), points.any((1, 2))
    refined = refine_lips(points, profiles, found.astype(np.float32))
    return torch.from_numpy(refined), torch.from_numpy(found)


def _landmarks(
    film: Path, info: VideoInfo, crop: tuple[float, float, float], detector: PersonDetector, progress: Progress
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    expected, done = ceil(info.seconds * FPS), 0
    nothing = np.zeros((POINTS, 3), np.float32), np.zeros((SAMPLES, 3), np.uint8)
    pictures = read_frames(film, info, size=SIZE, crop=crop, fps=FPS, stretch=WHOLE)
    while frames := list(islice(pictures, detector.batch)):
        for frame, points in zip(frames, detector.landmarks(np.stack(frames)), strict=True):
            yield nothing if points is None else (points, sample_profile(frame, points))
        done += len(frames)
        progress("track", done, max(expected, done))


def at_shown_times(expression: Tensor, fps: float) -> Tensor:
    """Expressions [T, K] of what `read_video` takes of a film at 25 frames/s, at the middle of each 25th of a second.

    Frame n is the last that begins, rounded, by n / 25 s; what it shows stands for the middle of the time it is shown.
    """
    count = len(expression)
    source = np.ceil((np.arange(count) + 0.5) * fps / FPS - 1e-6) - 1
    shown, wanted = (source + 0.5) / fps, (np.arange(count) + 0.5) / FPS
    values = expression.double().numpy()
    return torch.from_numpy(np.stack([np.interp(wanted, shown, column) for column in values.T], 1))


def _why_not(samples: Tensor, landmarks: Tensor, measured: SyncMeasurement) -> str:
    """Why nothing can be said of a film; empty where something can."""
    level = measure_level(samples)
    if not (is_spoken(level) & (level > SILENCE_DB + ABOVE_SILENCE_DB)).float().mean() > QUIET:
        return "nobody speaks"
    if float(lip_curves(landmarks)[:, 0].std()) < STILL_LIPS:
        return "the lips do not move"
    if measured.whole.follows is None:
        return f"the lips follow with a certainty of {measured.whole.certainty:.0%}, which is none"
    return ""


def _verdict(measured: SyncMeasurement, reason: str, tolerance: float) -> Verdict:
    if reason:
        return "cannot be said"
    if not measured.whole.follows:
        return "lips do not follow the sound"
    if abs(measured.whole.offset) <= tolerance:
        return "in sync"
    return "sound late" if measured.whole.offset > 0 else "sound early"


def describe(sync: FilmSync) -> str:
    """The result as a sentence."""
    if sync.reason:
        return f"{sync.film}: {sync.verdict}: {sync.reason}"
    assert sync.found
    one = sync.found.whole
    if not one.follows:
        return f"{sync.film}: {sync.verdict} ({1 - one.certainty:.0%} sure)"
    side = "later" if one.offset > 0 else "earlier"
    return f"{sync.film}: {sync.verdict}: the sound is {1000 * abs(one.offset):.0f} ms {side} than the lips " + (
        f"({one.certainty:.0%} sure)"
    )


def write_json(sync: FilmSync, path: Path) -> None:
    """Everything that was found; the offset of a part that is not sure to follow is null."""
    parts = [sync.found.whole, *sync.found.windows] if sync.found else []
    rows = [asdict(part) | {"offset": part.offset if part.follows else None} for part in parts]
    content = {"film": sync.film, "seconds": sync.seconds, "verdict": sync.verdict, "reason": sync.reason}
    with whole(path) as temporary:
        temporary.write_text(json.dumps(content | {"whole": rows[0] if rows else None, "windows": rows[1:]}, indent=1))


def write_sync_page(sync: FilmSync, path: Path) -> None:
    """A page with offset and certainty over time."""
    sections = []
    if sync.found and sync.found.windows:
        windows, axis = sync.found.windows, Axis(sync.seconds)
        offsets = [1000 * one.offset if one.follows else float("nan") for one in windows]
        sections = [
            ("Offset of the sound", to_curve({"sound later than lips": offsets}, axis, unit="ms")),
            ("Certainty", to_curve({"that the lips follow": [one.certainty for one in windows]}, axis, unit="0 to 1")),
        ]
    if sync.found:
        one = sync.found.whole
        rows = [["figure", "value"], ["certainty", f"{one.certainty:.3f}"], ["likeness", f"{one.likeness:.2f}"]]
        sections.append(("Figures", to_table([*rows, ["seconds with a face", f"{one.seconds:.1f}"]])))
    write_page(path, "Sound and lips", describe(sync), sections)
