"""The faces of a film, as `avatar sync` looks at them: who is where, their landmarks, and who speaks when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.landmarks import POINTS
from avatar.core.media import WHOLE, VideoInfo
from avatar.core.progress import Progress
from avatar.core.sync import SyncMeasurement
from avatar.motion.sync import FPS
from avatar.render.device import DeviceName, pick_device
from preprocess.crop import choose_crop, find_faces, follow_people, looks_per_second, pick_face, round_crop
from preprocess.detectors import Box, PersonDetector, open_detector
from preprocess.mouth import SAMPLES, refine_lips, sample_profile
from preprocess.reading import read_frames

SIZE = 256  # px a side that a face is looked at in: landmarks need no more
CLOSE = 2.2  # faces wide, where there are several: little of another is seen beside
LIKELY = 0.5  # certainty of a window: all windows that somebody speaks in are then measured together, and must be sure
ASIDE = 0.6  # face widths between landmarks and the person's box, beyond which they are somebody else's

Place = tuple[float, float, float]  # left, top, side, in px of the film


@dataclass(frozen=True)
class SeenFace:
    """One person's face, all along a film."""

    place: str  # "face 1 from the left"; empty where there is but one
    landmarks: Tensor  # [T, 478, 3] px at 25 frames/s, lips as far apart as the picture shows
    seen: Tensor  # [T] bool


def look_at_faces(film: Path, info: VideoInfo, which: str, device: DeviceName, progress: Progress) -> list[SeenFace]:
    """The faces of a film from the left to the right; only the one chosen, unless `which` is auto. None: no face."""
    detector = open_detector("auto", pick_device(device))
    try:
        faces = find_faces(film, info, detector)
        if not any(faces):
            return []
        people = follow_people(faces) if which == "auto" else []
        if len(people) < 2:
            return [_look(film, info, pick_face(faces, which, str(film)), "", detector, progress)]
        places = [f"face {number} from the left" for number in range(1, len(people) + 1)]
        return [
            _look(film, info, boxes, place, detector, progress) for boxes, place in zip(people, places, strict=True)
        ]
    finally:
        detector.close()


def _look(
    film: Path,
    info: VideoInfo,
    followed: list[Box | None],
    place: str,
    detector: PersonDetector,
    progress: Progress,
) -> SeenFace:
    boxes = [box for box in followed if box]
    crop = round_crop(choose_crop(boxes, info.width, info.height, CLOSE if place else None), SIZE)
    seen = list(_landmarks(film, info, crop, detector, progress))
    points = np.stack([point for point, _ in seen]).astype(np.float32)
    profiles, found = np.stack([profile for _, profile in seen]), points.any((1, 2))
    if place:
        found &= ~_somebody_else(points, crop, followed, looks_per_second(info))
    refined = refine_lips(points, profiles, found.astype(np.float32))
    return SeenFace(place, torch.from_numpy(refined), torch.from_numpy(found))


def _landmarks(
    film: Path, info: VideoInfo, crop: Place, detector: PersonDetector, progress: Progress
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    expected, done = ceil(info.seconds * FPS), 0
    nothing = np.zeros((POINTS, 3), np.float32), np.zeros((SAMPLES, 3), np.uint8)
    pictures = read_frames(film, info, size=SIZE, crop=crop, fps=FPS, stretch=WHOLE)
    while frames := list(islice(pictures, detector.batch)):
        for frame, points in zip(frames, detector.landmarks(np.stack(frames)), strict=True):
            yield nothing if points is None else (points, sample_profile(frame, points))
        done += len(frames)
        progress("track", done, max(expected, done))


def _somebody_else(points: np.ndarray, crop: Place, followed: list[Box | None], rate: float) -> np.ndarray:
    """Frames [T] bool whose landmarks [T, 478, 3] lie aside of the person's box, or where the person is not seen."""
    left, top, side = crop
    frames = (np.arange(len(points)) * rate / FPS).round().astype(int).clip(0, len(followed) - 1)
    middle = points[..., :2].mean(1) * side / SIZE + (left, top)
    other = np.ones(len(points), bool)
    for look in np.unique(frames):
        box = followed[look]
        if box:
            rows = frames == look
            away = np.linalg.norm(middle[rows] - (box[0] + box[2] / 2, box[1] + box[3] / 2), axis=1)
            other[rows] = away > ASIDE * box[2]
    return other


def find_speakers(measured: Sequence[SyncMeasurement]) -> list[int | None]:
    """Whose lips follow the sound best in each window of a film; None where nobody's are likely to."""
    found: list[int | None] = []
    for windows in zip(*(one.windows for one in measured), strict=True):
        best = max(range(len(windows)), key=lambda face: windows[face].certainty)
        found.append(best if windows[best].certainty > LIKELY else None)
    return found


def find_turns(speakers: Sequence[int | None], windows: Sequence[tuple[float, float]], face: int) -> list[Turn]:
    """When a face speaks: what a window (start, stop) says is said of its middle, to halfway to the next one's."""
    turns: list[Turn] = []
    middles = [(start + stop) / 2 for start, stop in windows]
    for number, speaker in enumerate(speakers):
        if speaker != face:
            continue
        begin = (middles[number - 1] + middles[number]) / 2 if number else windows[0][0]
        last = number + 1 == len(speakers)
        end = windows[-1][1] if last else (middles[number] + middles[number + 1]) / 2
        if turns and turns[-1][1] == begin:
            begin = turns.pop()[0]
        turns.append((begin, end))
    return turns


Turn = tuple[float, float]  # s: start, stop
