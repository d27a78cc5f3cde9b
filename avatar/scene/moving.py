"""Pictures that move behind a person: films, animations, stills that are slowly panned. Memory stays flat."""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.media import Stretch, probe, read_filling
from avatar.core.pictures import open_picture
from avatar.scene.still import Shape, as_shown, as_tensor, fill, open_still

Ending = Literal["loop", "hold"]
Pan = Literal["in", "out", "left", "right", "up", "down"]

ANIMATED = ("GIF", "PNG", "WEBP")  # formats whose pictures are one after the other; those of TIFF are pages
LEAST_MS = 20.0  # that a picture of an animation is shown
AHEAD = 6  # frames that are decoded while others are drawn: 37 MB of 1080p
JOIN_SECONDS, MOST_JOIN = 0.4, 0.25  # in which a film's end goes over into its beginning; of its length
PAN_SECONDS, PAN_SHARE = 20.0, 0.08  # one way, then back; how much of the picture's side lies outside


def play_film(path: Path, shape: Shape, fps: float, stretch: Stretch, end: Ending) -> Iterator[Tensor]:
    """Endless frames [H, W, 3] uint8 of what of a film fills the shape.

    end: `loop`: its last frames go over into its first ones; `hold`: its last frame stays.
    Raises: UserError for a file without pictures, or a stretch without any, when the first frame is asked for.
    """
    info = probe(path)
    if not info.has_video:
        raise UserError(f"{path}: has no picture; give a video, a picture or a colour as background")
    seconds = stretch.within(info, str(path)).seconds
    join = max(1, round(fps * min(JOIN_SECONDS, MOST_JOIN * seconds)))

    def frames() -> Iterator[np.ndarray]:
        return read_filling(path, height=shape[0], width=shape[1], fps=fps, stretch=stretch)

    once = end == "hold" or seconds * fps < 2  # a single picture has no end that could go over into its beginning
    yield from _hold(ahead(frames())) if once else _loop(lambda: ahead(frames()), join)


def _hold(frames: Iterator[np.ndarray]) -> Iterator[Tensor]:
    for frame in frames:
        yield (last := torch.from_numpy(frame.copy()))
    while True:
        yield last


def _loop(begin: Callable[[], Iterator[np.ndarray]], join: int) -> Iterator[Tensor]:
    ending: list[np.ndarray] = []
    while True:
        frames, waiting = begin(), deque[np.ndarray]()
        for index, last in enumerate(ending):
            if (first := next(frames, None)) is None:
                break
            yield torch.from_numpy(_mix(last, first, (index + 1) / (len(ending) + 1)))
        for frame in frames:
            waiting.append(frame)
            if len(waiting) > join:
                yield torch.from_numpy(waiting.popleft().copy())
        ending = list(waiting)


def _mix(one: np.ndarray, two: np.ndarray, share: float) -> np.ndarray:
    weight = round(256 * share)
    return ((one.astype(np.uint16) * (256 - weight) + two.astype(np.uint16) * weight + 128) >> 8).astype(np.uint8)


def ahead(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same frames, taken by a thread of its own before they are asked for; it ends with the iterator."""
    ready: queue.Queue[np.ndarray | BaseException | None] = queue.Queue(AHEAD)
    over = threading.Event()

    def put(item: np.ndarray | BaseException | None) -> bool:
        while not over.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for frame in frames:
                if not put(frame):
                    break
            put(None)
        except BaseException as error:
            put(error)
        finally:
            frames.close()  # type: ignore[attr-defined]

    thread = threading.Thread(target=work, name="background", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        thread.join()


def play_animation(path: Path, shape: Shape, fps: float) -> Iterator[Tensor] | None:
    """Endless pictures of an animated picture file, each for as long as it says; None for any other file."""
    try:
        with open_picture(path) as image:
            if getattr(image, "n_frames", 1) == 1 or image.format not in ANIMATED:
                return None
    except ValueError:
        return None  # whoever reads it as a picture says what is wrong with it
    return _play_whole(path, shape, fps)


def _play_whole(path: Path, shape: Shape, fps: float) -> Iterator[Tensor]:
    """As `_play`. Raises: UserError where a picture of the animation is damaged."""
    try:
        yield from _play(path, shape, fps)
    except ValueError as error:
        raise UserError(f"{path}: is not an animation that can be read ({error}); give another background") from error


def _play(path: Path, shape: Shape, fps: float) -> Iterator[Tensor]:
    with open_picture(path) as image:
        drawn, until = 0, 0.0
        while True:
            for frame in ImageSequence.Iterator(image):
                frame.load()  # how long it is shown is not known before
                until += max(float(frame.info.get("duration", 0)), LEAST_MS) / 1000
                if drawn >= (due := round(until * fps)):
                    continue
                picture = as_tensor(fill(as_shown(frame), shape))
                while drawn < due:
                    yield picture
                    drawn += 1


def pan_still(path: Path, shape: Shape, fps: float, pan: Pan) -> Iterator[Tensor]:
    """Endless frames [H, W, 3] uint8 of a picture over which the view moves slowly, there and back.

    Raises: UserError when it cannot be read, at once.
    """
    height, width = shape
    with open_still(path) as image:
        large = fill(as_shown(image), (round(height / (1 - PAN_SHARE)), round(width / (1 - PAN_SHARE))))
    return _pan(large, shape, fps, pan)


def _pan(large: Image.Image, shape: Shape, fps: float, pan: Pan) -> Iterator[Tensor]:
    height, width = shape
    spare, frame = (large.width - width, large.height - height), 0
    while True:
        share = 0.5 - 0.5 * math.cos(math.pi * frame / (fps * PAN_SECONDS))
        share = 1 - share if pan in ("out", "left", "up") else share
        if pan in ("in", "out"):
            left, top = share * spare[0] / 2, share * spare[1] / 2
            box = (left, top, large.width - left, large.height - top)
        else:
            left = share * spare[0] if pan in ("left", "right") else spare[0] / 2
            top = share * spare[1] if pan in ("up", "down") else spare[1] / 2
            box = (left, top, left + width, top + height)
        yield as_tensor(large.resize((width, height), Image.Resampling.BICUBIC, box))
        frame += 1
