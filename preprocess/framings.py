"""The framings of a clip that cuts between several: from which square of the source each frame is taken.

Faces that are looked for twice a second show that the framing changed. The frame of the cut is the one that differs
most from the frame before, in the half second between; a person who walks or a camera that zooms changes no frame more
than its neighbours, and stays in one framing. Faces are about as large in all squares, and the focal length that all
squares are taken to have is so many of their sides: a framing has a focal length of its own in px of the source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from avatar.core.media import Stretch, VideoInfo, read_small
from avatar.core.take import Framing
from preprocess.crop import choose_crop, framed_alike, looks_per_second, round_crop
from preprocess.detectors import Box

LEAST_SECONDS = 1.5  # of a framing, all its shots together
MOST_FRAMINGS = 3  # the clip is decoded once for each
MOST_CHANGES = 60  # that are looked into: somebody who jumps about all the time is no matter of framing
LATE = 0.5  # of the time between two looks: ffmpeg shows of frames that are nearest to a look the last
SMALL = 32  # px
CUT_CHANGE, CUT_TIMES = 6.0, 2.5  # grey levels; of the next largest change

Array = np.ndarray
Looks = list[Box | None]
"""The person's box in each frame that was looked at."""


@dataclass(frozen=True)
class _Shot:
    start: int
    stop: int
    boxes: list[Box]

    @property
    def middle(self) -> Array:
        return np.asarray(np.median(self.boxes, axis=0))


def find_framings(
    video: Path, info: VideoInfo, looks: Looks, *, size: Callable[[float], int], fps: float, stretch: Stretch
) -> tuple[Framing, ...]:
    """The framings of a clip, in order, each of some frames at `fps`.

    size: px a side of the pictures, by the side of the usual crop in the source. info: of the stretch. What belongs to
    none of them, being short, has the crop of the most usual one.
    """
    length, shots = round(info.seconds * fps), list[_Shot]()
    if len(changes := _changes(looks)) <= MOST_CHANGES:
        rate = looks_per_second(info)
        cuts = [_find_cut(video, info, (a / rate, (b + LATE) / rate), fps, stretch) for a, b in changes]
        borders = [0, *sorted({cut for cut in cuts if cut}), length]
        shots = [_Shot(a, b, _boxes_within(looks, a / fps * rate, b / fps * rate)) for a, b in pairwise(borders)]
    groups = _group([shot for shot in shots if shot.boxes], round(LEAST_SECONDS * fps))

    boxes = [[box for shot in group for box in shot.boxes] for group in groups]
    boxes = boxes if len(groups) > 1 else [[box for box in looks if box]]
    first = choose_crop(boxes[0], info.width, info.height)
    pixels = size(first[2])
    usual = round_crop(first, pixels)
    if len(groups) < 2:
        return (Framing(0, length, usual),)

    def crop_of(boxes: list[Box], in_faces: float) -> tuple[float, float, float]:
        return round_crop(choose_crop(boxes, info.width, info.height, in_faces), pixels)

    in_faces = usual[2] / float(np.median([max(box[2:]) for box in boxes[0]]))  # so that all faces are as large
    crops = [usual, *(crop_of(of_group, in_faces) for of_group in boxes[1:])]
    numbers = {shot.start: number for number, group in enumerate(groups) for shot in group}
    return _join([Framing(shot.start, shot.stop, crops[numbers.get(shot.start, 0)]) for shot in shots])


def main_crop(framings: tuple[Framing, ...]) -> tuple[float, float, float]:
    """The crop that most frames have."""
    lengths: dict[tuple[float, float, float], int] = {}
    for framing in framings:
        lengths[framing.crop] = lengths.get(framing.crop, 0) + framing.stop - framing.start
    return max(lengths, key=lambda crop: lengths[crop])


def number_framings(framings: tuple[Framing, ...], length: int) -> Array:
    """Which crop each of the frames has [T]: 0 for that of most; what follows the last framing has the last's."""
    crops = [main_crop(framings)]
    numbers = np.zeros(length, np.int64)
    for framing in framings:
        if framing.crop not in crops:
            crops.append(framing.crop)
        numbers[framing.start :] = crops.index(framing.crop)
    return numbers


def _changes(looks: Looks) -> list[tuple[int, int]]:
    """Neighbouring looks with a face that is framed in two ways."""
    seen = [(number, box) for number, box in enumerate(looks) if box]
    return [(a, b) for (a, one), (b, other) in pairwise(seen) if not framed_alike(np.array([one]), np.array(other))[0]]


def _find_cut(video: Path, info: VideoInfo, between: tuple[float, float], fps: float, stretch: Stretch) -> int | None:
    """The first frame after a cut that lies between two times, s; None where nothing is cut."""
    first, last = round(between[0] * fps), min(round(between[1] * fps) + 1, round(info.seconds * fps))
    if last - first < 2:
        return None
    part = Stretch(stretch.start + first / fps, stretch.start + last / fps)
    frames = np.stack([frame.mean(-1) for frame in read_small(video, width=SMALL, height=SMALL, fps=fps, stretch=part)])
    change = np.abs(np.diff(frames, axis=0)).mean((1, 2))
    if len(change) < 2:
        return None
    cut = int(change.argmax())
    others = float(np.delete(change, cut).max())
    return first + cut + 1 if change[cut] > max(CUT_CHANGE, CUT_TIMES * others) else None


def _boxes_within(looks: Looks, start: float, stop: float) -> list[Box]:
    return [box for number, box in enumerate(looks) if box and start <= number + LATE < stop]


def _group(shots: list[_Shot], least: int) -> list[list[_Shot]]:
    """Shots framed alike, the longest groups first; of so many frames each."""
    groups: list[list[_Shot]] = []
    for shot in sorted(shots, key=lambda shot: shot.start - shot.stop):
        alike = [group for group in groups if framed_alike(shot.middle[None], group[0].middle)[0]]
        if alike:
            alike[0].append(shot)
        else:
            groups.append([shot])
    lengths = [sum(shot.stop - shot.start for shot in group) for group in groups]
    order = sorted(range(len(groups)), key=lambda number: -lengths[number])[:MOST_FRAMINGS]
    return [groups[number] for number in order if lengths[number] >= least]


def _join(framings: list[Framing]) -> tuple[Framing, ...]:
    """Neighbours of one crop as one."""
    joined = framings[:1]
    for framing in framings[1:]:
        if framing.crop == joined[-1].crop:
            joined[-1] = Framing(joined[-1].start, framing.stop, framing.crop)
        else:
            joined.append(framing)
    return tuple(joined)
