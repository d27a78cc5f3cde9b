"""Which picture of a person stands for them best, where only one is used."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError, digest_file, plain_text
from avatar.core.geometry import eye_distance
from avatar.core.landmarks import LEFT_EYE, LOWER_LIP, NOSE_TIP, RIGHT_EYE, UPPER_LIP
from avatar.core.media import VideoInfo, measure, probe, read_small, read_still
from preprocess.crop import find_faces, looks_per_second, pick_face
from preprocess.detectors import Box, PersonDetector, open_detector
from preprocess.fit import lid_ratio
from preprocess.photo_files import LONGEST_SIDE, Photo
from preprocess.request import TakeRequest

LOOKED_SIDE = 640  # px of frames that are looked at
MOST_LOOKED = 60  # frames
MARGIN = 0.5  # of a face's width, about it
BLURRED = 0.5  # of the sharpest face's detail: so much less counts as much as shut eyes
NOSE_LENGTH = 0.5  # how far its tip lies before the eyes, in eye distances
OPEN_MOUTH, TURNED_RAD = 0.03, 0.26  # what counts as much as shut eyes: lip gap in eye distances, 15 degrees

Array = np.ndarray


def best_still(video: Path, request: TakeRequest, device: torch.device) -> Photo:
    """The frame of a clip that stands for the person best, as a photo. Raises: UserError for a clip without a face."""
    info, detector = probe(video), open_detector(request.tracker, device)
    if not info.has_video:
        raise UserError(f"{video}: has no picture; give a video or a photo")
    info = request.stretch.within(measure(video, info), str(video))
    boxes = pick_face(find_faces(video, info, detector, request.stretch), request.face, str(video))
    seconds = _best_second(video, info, boxes, request, detector)
    detector.close()
    picture = read_still(video, info, seconds, stretch=request.stretch)
    reduced = max(1.0, max(picture.shape[:2]) / LONGEST_SIDE)
    if reduced > 1:
        size = (round(picture.shape[1] / reduced), round(picture.shape[0] / reduced))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return Photo(plain_text(video.name), digest_file(video), picture, reduced)


def _best_second(
    video: Path, info: VideoInfo, boxes: list[Box | None], request: TakeRequest, detector: PersonDetector
) -> float:
    """When the face of boxes, which were looked for at an even rate, is most like a photo."""
    scale, rate = min(1.0, LOOKED_SIDE / max(info.width, info.height)), looks_per_second(info)
    small = (max(2, round(info.width * scale)), max(2, round(info.height * scale)))
    frames = read_small(video, width=small[0], height=small[1], fps=rate, stretch=request.stretch)
    every, seen = max(1, len(boxes) // MOST_LOOKED), list[tuple[float, Array, float]]()
    for index, (frame, box) in enumerate(zip(frames, boxes, strict=False)):
        if box is None or index % every:
            continue
        face = _about(frame, [value * scale for value in box])
        if (points := detector.landmarks(np.stack([face] * 2))[-1]) is not None:
            seen.append((index / rate, points, _detail(face)))
    if not seen:
        raise UserError(f"{video}: no face can be followed in it; film the face from the front")
    times, points, detail = (np.array(column) for column in zip(*seen, strict=True))
    landmarks, sharp = torch.from_numpy(points).float(), torch.from_numpy(detail / detail.max()).float()
    rank = rank_views(landmarks, _sideways(landmarks)) - ((1 - sharp) / BLURRED).clamp_min(0)
    return float(times[int(rank.argmax())])


def _about(frame: Array, box: list[float]) -> Array:
    """The face with a margin, 256 px a side."""
    left, top, wide, high = box
    margin = MARGIN * wide
    rows = slice(max(0, round(top - margin)), round(top + high + margin))
    part = frame[rows, max(0, round(left - margin)) : round(left + wide + margin)]
    return cv2.resize(part, (256, 256), interpolation=cv2.INTER_LINEAR)


def _detail(face: Array) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.CV_32F).std())


def _sideways(landmarks: Tensor) -> Tensor:
    """About how far heads are turned [T] rad, by where the nose lies between the eyes' outer corners."""
    left, right, nose = (landmarks[:, at, 0] for at in (LEFT_EYE.outer, RIGHT_EYE.outer, NOSE_TIP))
    across = (nose - (left + right) / 2) / eye_distance(landmarks)
    return torch.atan(across / NOSE_LENGTH).abs()


def rank_views(landmarks: Tensor, turn: Tensor) -> Tensor:
    """How well pictures stand for a person [T], higher is better: mouth nearly shut, eyes open, looking ahead.

    landmarks: [T, 478, 2..3] px; turn: [T] rad that heads are turned by, from what counts as frontal.
    """
    gap = (landmarks[:, UPPER_LIP, :2] - landmarks[:, LOWER_LIP, :2]).norm(dim=-1) / eye_distance(landmarks)
    lids = torch.from_numpy(np.mean([lid_ratio(landmarks.numpy(), eye) for eye in (LEFT_EYE, RIGHT_EYE)], axis=0))
    opened = (lids / torch.quantile(lids, 0.75).clamp_min(1e-3)).clamp_max(1)
    return opened.float() - (gap / OPEN_MOUTH).square() - (turn / TURNED_RAD).square()
