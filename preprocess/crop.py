"""Which square of the source: faces found at a low rate, then head and shoulders of the chosen one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from avatar.core.files import UserError
from avatar.core.media import WHOLE, Stretch, VideoInfo, read_small
from preprocess.detectors import Box, PersonDetector

FRAMES_PER_SECOND = 2.0
MOST_FRAMES = 400  # of a clip, however long
SMALL_SIDE = 640
LONG_SECONDS = 120.0  # from here on keyframes are enough,
LEAST_KEYFRAMES = 12  # if there are so many different ones
BATCH = 16  # frames looked at together
WHOLE_BELOW = 4.2  # a picture at most this many faces wide is kept whole
SIDE_IN_FACES = 3.4
FACE_FROM_TOP = 0.42
ONE_FRAMING = 0.7  # share of the faces near the median one, from which the clip counts as framed in one way
NEAR, SAME_SIZE = 0.8, 1.35  # of faces framed alike: distance in their widths, ratio of their widths
RIVAL = 0.5  # a second face of this share of the largest's width is somebody
SOMETIMES = 0.15  # share of the looks that somebody must be seen in to be one of a film's people
TOGETHER = 0.5  # share of somebody's looks that show another face, too
MOST_PEOPLE = 4  # the largest: each costs the film's decoding once more
CLEARLY_LARGER = 1.5  # times as wide, from which another face is the largest from now on


def looks_per_second(info: VideoInfo) -> float:
    """How often a face is looked for."""
    return min(FRAMES_PER_SECOND, MOST_FRAMES / max(info.seconds, 1))


def find_faces(path: Path, info: VideoInfo, detector: PersonDetector, stretch: Stretch = WHOLE) -> list[list[Box]]:
    """Faces seen in frames taken twice a second over the clip (at most a few hundred), in source px."""
    scale = min(1.0, SMALL_SIDE / max(info.width, info.height))
    width, height = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    rate = looks_per_second(info)
    seen: list[list[Box]] = []
    different = 0
    if info.seconds > LONG_SECONDS:
        frames = read_small(path, width=width, height=height, fps=rate, stretch=stretch, keyframes=True)
        seen, different = _look(detector, frames)
    if different < LEAST_KEYFRAMES:
        seen, _ = _look(detector, read_small(path, width=width, height=height, fps=rate, stretch=stretch))
    across, down = info.width / width, info.height / height
    return [[(x * across, y * down, wide * across, high * down) for x, y, wide, high in boxes] for boxes in seen]


def _look(detector: PersonDetector, frames: Iterable[np.ndarray]) -> tuple[list[list[Box]], int]:
    """The faces in each frame, in its px, and how many frames are not the one before, shown again."""
    found: list[list[Box]] = []
    batch: list[np.ndarray] = []
    places: list[int] = []  # of each frame, among those that differ
    last: np.ndarray | None = None
    for frame in frames:
        if last is None or not np.array_equal(frame, last):
            if len(batch) == BATCH:
                found += detector.faces(np.stack(batch))
                batch = []
            batch.append(frame)
        places.append(len(found) + len(batch) - 1)
        last = frame
    found += detector.faces(np.stack(batch)) if batch else []
    return [found[place] for place in places], len(found)


def pick_face(faces: list[list[Box]], which: str, name: str) -> list[Box | None]:
    """The chosen person's box in each frame, None where there is nobody; which: of `request.FACES`.

    Without a choice the largest of several is taken, with a warning. Raises: UserError without any face.
    """
    seen = [boxes for boxes in faces if boxes]
    if not seen:
        raise UserError(f"{name}: no face found; the face must be in the picture, frontal and well lit")
    if which == "auto" and sum(_rivals(boxes) > 1 for boxes in seen) > 0.5 * len(seen):
        warnings.warn(
            f"{name}: several faces all the way; the largest is taken; --face left or --face right chooses another",
            stacklevel=2,
        )
    keys: dict[str, Callable[[Box], float]] = {"left": lambda box: box[0], "right": lambda box: -box[0]}
    if which in keys:
        return [min(_people(boxes), key=keys[which]) if boxes else None for boxes in faces]
    return _follow_largest(faces)


def _follow_largest(faces: list[list[Box]]) -> list[Box | None]:
    """The largest face of each frame; of two about as large the one that was it before."""
    followed: list[Box | None] = []
    last: Box | None = None
    for boxes in faces:
        largest = max(boxes, key=lambda box: box[2], default=None)
        if largest and last:
            same = np.flatnonzero(framed_alike(np.array(boxes), np.array(last)))
            if len(same) and largest[2] < CLEARLY_LARGER * boxes[same[0]][2]:
                largest = boxes[same[0]]
        followed.append(largest)
        last = largest or last
    return followed


def follow_people(faces: list[list[Box]]) -> list[list[Box | None]]:
    """The boxes, in each frame, of people who are seen beside each other, from the left to the right; None where not.

    Faces that are framed alike from one look to the next are one person's. Who is seen alone after a cut is left out:
    no more than one of the people may be left then.
    """
    people: list[list[Box | None]] = []
    last: list[Box] = []
    for number, boxes in enumerate(faces):
        for box in boxes:
            free = [person for person in range(len(people)) if len(people[person]) == number]
            alike = framed_alike(np.array([last[person] for person in free]), np.array(box)) if free else np.zeros(0)
            who = next((person for person, same in zip(free, alike, strict=True) if same), None)
            if who is None:
                people.append([None] * number)
                last.append(box)
                who = len(people) - 1
            people[who].append(box)
            last[who] = box
        people = [person if len(person) > number else [*person, None] for person in people]
    several = [number for number, boxes in enumerate(faces) if len(boxes) > 1]
    usual = [
        person
        for person in people
        if sum(map(bool, person)) >= SOMETIMES * len(faces)
        and sum(bool(person[number]) for number in several) >= TOGETHER * sum(map(bool, person))
    ]
    largest = sorted(usual, key=lambda person: -_middle_box(person)[2])[:MOST_PEOPLE]
    rivals = [person for person in largest if _middle_box(person)[2] >= RIVAL * _middle_box(largest[0])[2]]
    return sorted(rivals, key=lambda person: _middle_box(person)[0])


def _middle_box(person: list[Box | None]) -> np.ndarray:
    return np.asarray(np.median([box for box in person if box], axis=0))


def _people(boxes: list[Box]) -> list[Box]:
    largest = max(box[2] for box in boxes)
    return [box for box in boxes if box[2] >= RIVAL * largest]


def _rivals(boxes: list[Box]) -> int:
    return len(_people(boxes))


def choose_crop(boxes: list[Box], width: int, height: int, in_faces: float | None = None) -> tuple[float, float, float]:
    """(left, top, side) in source px: head and shoulders; the whole square where the face is already well framed.

    in_faces: how many faces wide instead, if the picture is large enough. Of a clip that is framed in several ways, the
    framing that most of the boxes show.
    """
    left, top, wide, high = np.median(_usual_framing(np.array(boxes)), axis=0)
    face = max(wide, high)
    shortest = float(min(width, height))
    side = shortest if shortest <= WHOLE_BELOW * face else SIDE_IN_FACES * face
    if in_faces is not None:
        side = min(shortest, in_faces * face)
    x = np.clip(left + wide / 2 - side / 2, 0, width - side)
    y = np.clip(top + high / 2 - FACE_FROM_TOP * side, 0, height - side)
    return float(x), float(y), float(side)


def _usual_framing(boxes: np.ndarray) -> np.ndarray:
    """Of boxes [N, 4] those of the usual framing [M, 4]: all, where most lie near the median."""
    if framed_alike(boxes, np.median(boxes, axis=0)).mean() >= ONE_FRAMING:
        return boxes
    return max((boxes[framed_alike(boxes, box)] for box in boxes), key=len)


def framed_alike(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Which boxes [N, 4] lie where another [4] does and are as large, [N] bool."""
    wide = np.maximum(boxes[:, 2], 1e-6)
    apart = np.linalg.norm(boxes[:, :2] + boxes[:, 2:] / 2 - box[:2] - box[2:] / 2, axis=1)
    size = np.maximum(wide / max(box[2], 1e-6), box[2] / wide)
    return np.asarray((apart < NEAR * box[2]) & (size < SAME_SIZE))


def round_crop(crop: tuple[float, float, float], size: int) -> tuple[float, float, float]:
    """The crop that a picture of `size` px can have: its corner on a whole px of the scaled frame."""
    scale = size / crop[2]
    return round(crop[0] * scale) / scale, round(crop[1] * scale) / scale, crop[2]
