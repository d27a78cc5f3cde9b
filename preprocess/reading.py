"""Frames of a clip, decoded by several processes: pieces of it side by side, handed on in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from avatar.core.files import UserError
from avatar.core.media import Stretch, VideoInfo, read_video

PIECE_SECONDS = 6.0
EARLIER_SECONDS = 1.0  # that a piece begins before its first frame: what it shows may have begun then
CORES_EACH = 2  # of a process
LEAST_PROCESSES = 3  # with fewer, what the pieces share costs more than is gained
END_SECONDS = 2.0  # by which a picture may end before its file
SEEKABLE = (".mp4", ".mov", ".m4v", ".mkv", ".webm")  # names of files whose index leads to any time exactly

Array = np.ndarray
Crop = tuple[float, float, float]


def read_frames(path: Path, info: VideoInfo, *, size: int, crop: Crop, fps: float, stretch: Stretch) -> Iterator[Array]:
    """As `read_video`, by several processes where there are cores for them; info: of the stretch."""
    processes = min((os.cpu_count() or 1) // CORES_EACH, int(info.seconds / PIECE_SECONDS))
    if processes < LEAST_PROCESSES or path.suffix.lower() not in SEEKABLE:
        yield from read_video(path, size=size, crop=crop, fps=fps, stretch=stretch)
    else:
        yield from read_pieces(path, info, processes, size=size, crop=crop, fps=fps, stretch=stretch)


def read_pieces(
    path: Path, info: VideoInfo, processes: int, *, size: int, crop: Crop, fps: float, stretch: Stretch
) -> Iterator[Array]:
    """As `read_video`, so many pieces at a time."""
    length, count = round(PIECE_SECONDS * fps), 0
    first = range(0, max(1, round(info.seconds * fps)), length)

    def read(start: int) -> list[Array]:
        earlier = min(start, round(EARLIER_SECONDS * fps))
        stop = None if start == first[-1] else stretch.start + (start + length) / fps
        piece = Stretch(stretch.start + (start - earlier) / fps, stretch.stop if stop is None else stop)
        frames = read_video(path, size=size, crop=crop, fps=fps, stretch=piece)
        try:
            return list(islice(frames, earlier, None if stop is None else earlier + length))
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
