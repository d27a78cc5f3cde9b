"""Frames of a clip, decoded by several processes: pieces of it side by side, handed on in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from math import inf
from pathlib import Path

import numpy as np

from avatar.core.files import UserError
from avatar.core.media import Stretch, VideoInfo, read_video
from avatar.core.take import Framing

PIECE_SECONDS = 6.0
EARLIER_SECONDS = 1.0  # that a piece begins before its first frame: what it shows may have begun then
LATER_SECONDS = 0.5  # that a piece is read beyond its last frame, which is deinterlaced by the next
CORES_EACH = 2  # of a process
LEAST_PROCESSES = 3  # with fewer, what the pieces share costs more than is gained
END_SECONDS = 2.0  # by which a picture may end before its file
EXACT = ("mov", "matroska")  # containers whose index leads to any time exactly

Array = np.ndarray
Crop = tuple[float, float, float]


def read_frames(path: Path, info: VideoInfo, *, size: int, crop: Crop, fps: float, stretch: Stretch) -> Iterator[Array]:
    """As `read_video`, by several processes where there are cores for them; info: of the stretch, measured."""
    processes = min((os.cpu_count() or 1) // CORES_EACH, int(info.seconds / PIECE_SECONDS))
    if processes < LEAST_PROCESSES or not has_pieces(info):
        yield from read_video(path, size=size, crop=crop, fps=fps, stretch=stretch)
    else:
        yield from read_pieces(path, info, processes, size=size, crop=crop, fps=fps, stretch=stretch)


def read_framings(
    path: Path, info: VideoInfo, framings: Sequence[Framing], *, size: int, fps: float, stretch: Stretch
) -> Iterator[Array]:
    """As `read_frames`, each frame with the crop of its framing; what follows the last has the last one's."""
    crops = list(dict.fromkeys(framing.crop for framing in framings))
    numbers = [crops.index(framing.crop) for framing in framings for _ in range(framing.start, framing.stop)]
    readers = [read_frames(path, info, size=size, crop=crop, fps=fps, stretch=stretch) for crop in crops]
    for frame, pictures in enumerate(zip(*readers, strict=True)):
        yield pictures[numbers[min(frame, len(numbers) - 1)]]


def has_pieces(info: VideoInfo) -> bool:
    """Whether pieces of a file, each read by itself, are together what is read of the whole."""
    return info.container in EXACT and info.longest_frame < EARLIER_SECONDS


def read_pieces(
    path: Path, info: VideoInfo, processes: int, *, size: int, crop: Crop, fps: float, stretch: Stretch
) -> Iterator[Array]:
    """As `read_video`, so many pieces at a time."""
    length, count = round(PIECE_SECONDS * fps), 0
    first = range(0, max(1, round(info.seconds * fps)), length)

    def read(start: int) -> list[Array]:
        earlier = min(start, round(EARLIER_SECONDS * fps))
        last = start == first[-1]
        later = stretch.start + (start + length) / fps + LATER_SECONDS
        stop = stretch.stop if last or later > (stretch.stop or inf) else later
        piece = Stretch(stretch.start + (start - earlier) / fps, stop)
        frames = read_video(path, size=size, crop=crop, fps=fps, stretch=piece)
        try:
            return list(islice(frames, earlier, None if last else earlier + length))
        except UserError:  # nothing left: the picture ends before its file
            return []

    with ThreadPoolExecutor(processes) as pool:
        waiting: deque[Future[list[Array]]] = deque()
        for start in first:
            waiting.append(pool.submit(read, start))
            if len(waiting) < processes and start != first[-1]:
                continue
            yield from (piece := waiting.popleft().result())
            count += len(piece)
            if len(piece) < length:
                break
        while waiting and count % length == 0:
            yield from (piece := waiting.popleft().result())
            count += len(piece)
    if count < (info.seconds - END_SECONDS) * fps:  # a piece was short, so that it cannot be trusted
        yield from islice(read_video(path, size=size, crop=crop, fps=fps, stretch=stretch), count, None)
