"""Frames to train on: which, how often, in which order, and decoded ahead of the training."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.eyes import are_shut
from avatar.core.files import UserError
from avatar.core.take import Take, Track, read_frames, read_mattes
from avatar.render.base import random_generator
from avatar.render.foreground import PersonFinder
from avatar.render.losses import weight_blobs
from avatar.render.near_plate import complete_plate

HARD_SHARE = 0.2  # of the frames, drawn twice an epoch
BLINK_SHARE, MOST_REPEATS = 0.06, 10  # of an epoch's frames: 15 blinks a minute, a quarter second each; times each
SURE = 0.3  # confidence of the track, below which landmarks cannot be relied on
CACHE_BYTES = 700_000_000  # decoded pictures kept in memory; of longer clips the others are decoded each time
AHEAD = 4  # frames decoded ahead: covers the longest of a thread's turns
POLL_SECONDS = 0.2  # how soon the decoding thread sees that the training is over


@dataclass(frozen=True)
class Visit:
    """One frame, when its turn has come."""

    frame: int
    epoch: int


@dataclass(frozen=True)
class TrainingFrame:
    """One frame to train on, decoded."""

    visit: Visit
    picture: Tensor  # [4, S, S] uint8 of `TrainingPictures`
    blobs: Tensor  # [3, 2, S] of `weight_blobs`


class HardExampleMiner:
    """Hard example mining (Shrivastava et al. 2016): the frames with the largest losses are trained on more often."""

    def __init__(self) -> None:
        self._losses: dict[int, dict[int, float]] = {}  # epoch -> frame -> loss

    def record(self, visit: Visit, loss: float) -> None:
        """Note the loss of a frame."""
        self._losses.setdefault(visit.epoch, {})[visit.frame] = loss

    def hardest(self, epoch: int) -> list[int]:
        """A share of all frames, those with the largest loss two epochs before: the last is not complete yet."""
        known = self._losses.pop(epoch - 2, {})
        return sorted(known, key=lambda frame: -known[frame])[: int(HARD_SHARE * len(known))]


def repeat_blinks(track: Track, frames: list[int]) -> list[int]:
    """Frames with shut eyes, as often as makes them a share of all: there are few, and viewers look at lids."""
    shut = [frame for frame, is_shut in zip(frames, are_shut(track.eyes[frames]).tolist(), strict=True) if is_shut]
    return shut * min(MOST_REPEATS, int(BLINK_SHARE * len(frames) / max(1, len(shut))))


def frames_to_train_on(take: Take, track: Track) -> list[int]:
    """The frames of an epoch, some of them more than once. Raises: UserError when there is none."""
    frames = [frame for frame in take.training_frames() if track.confidence[frame] > SURE]
    if not frames:
        raise UserError(f"{take.root}: no frame is left to train on; see its report.html")
    return frames + repeat_blinks(track, frames)


def visits(frames: list[int], seed: int, miner: HardExampleMiner) -> Iterator[Visit]:
    """Endless frames in random order, the hardest of each epoch twice."""
    generator = random_generator(seed)
    for epoch in itertools.count():
        chosen = frames + miner.hardest(epoch)
        for index in torch.randperm(len(chosen), generator=generator).tolist():
            yield Visit(chosen[index], epoch)


class TrainingPictures:
    """Frames of a Take as renderers are trained on them: edges before the plate, as `PersonFinder` finds them.

    Of a Take whose background does not stand, the plate lies behind the person: they are all that can be learned.
    """

    def __init__(self, take: Take) -> None:
        self.take, self.plate = take, complete_plate(take)  # [3, S, S] uint8
        self._find_person = PersonFinder(self.plate, stands=take.background_stands)

    def read(self, frame: int) -> Tensor:
        """Image and matte of a frame [4, S, S] uint8."""
        image = read_frames(self.take, [frame])[0].permute(2, 0, 1).contiguous()
        image, matte = self._find_person(image, read_mattes(self.take, [frame]))
        return torch.cat([image, matte])

    def cut_out(self, frame: int) -> Tensor:
        """The person of a frame alone [4, S, S] float: premultiplied colours and coverage, 0..255."""
        image, matte = self.read(frame).float().split([3, 1])
        return torch.cat([image - (1 - matte / 255) * self.plate, matte])


class Decoder:
    """Frames of a Take with their weights; the first ones that are decoded stay in memory."""

    def __init__(self, pictures: TrainingPictures, track: Track) -> None:
        self._pictures, self._track, self._camera = pictures, track, pictures.take.camera
        self._cache: dict[int, Tensor] = {}
        self._most = CACHE_BYTES // (4 * self._camera.size**2)

    def decode(self, visit: Visit) -> TrainingFrame:
        """The frame of a visit."""
        frame = visit.frame
        picture = self._cache.get(frame)
        if picture is None:
            picture = self._pictures.read(frame)
            if len(self._cache) < self._most:
                self._cache[frame] = picture
        (blobs,) = weight_blobs(self._track.landmarks[frame : frame + 1], self._camera)
        return TrainingFrame(visit, picture, blobs)


def decode_ahead(order: Iterator[Visit], decoder: Decoder) -> Generator[TrainingFrame, None, None]:
    """The frames of visits, decoded in a thread that is some frames ahead."""
    ready: queue.Queue[TrainingFrame | Exception] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()

    def put(item: TrainingFrame | Exception) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=POLL_SECONDS)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for visit in order:
                put(decoder.decode(visit))
                if stop.is_set():
                    return
        except Exception as error:
            put(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
