"""The one pass over the frames of a clip: pictures and mattes to disk, landmarks and other small things to memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avatar.core.files import whole
from avatar.core.landmarks import POINTS
from avatar.core.progress import Progress
from preprocess.matte import Matting, median_of_three, refine_matte
from preprocess.mouth import SAMPLES, sample_profile
from preprocess.spans import DESCRIPTION, FACE_PATCH, describe_frame, sample_patch
from preprocess.take_folder import TakeFolder

FILE = "pass.npz"  # in the folder of a Take that is not finished
BATCH = 16  # frames
BATCHES_AHEAD = 2  # so that no thread waits for another, and few frames are in memory
FAST = 0.008  # mean change of the mask over two frames from which the one between gets a mask of its own

Array = np.ndarray
Detect = Callable[[Array], Array | None]
"""A frame [S, S, 3] uint8 RGB -> landmarks [478, 3] px, None without a face."""
Detector = AbstractContextManager[Detect]


@dataclass(frozen=True)
class FrameObservations:
    """All that later stages know of the frames but their pictures."""

    landmarks: Array  # [T, 478, 3] float32 px, zeros without a face
    found: Array  # [T] bool: whether there is a face
    profiles: Array  # [T, 64, 3] uint8, see mouth.sample_profile
    patches: Array  # [T, 12, 14, 3] uint8, see spans.sample_patch
    descriptions: Array  # [T, 769] float16, see spans.describe_frame


class _FaceObservation(NamedTuple):
    landmarks: Array
    profile: Array
    patch: Array


class _Rows:
    """The rows of `FrameObservations`, in arrays that grow in place: an hour of frames is held only once."""

    def __init__(self, expected: int) -> None:
        shapes = ((POINTS, 3), (), (SAMPLES, 3), FACE_PATCH, (DESCRIPTION,))
        kinds = (np.float32, bool, np.uint8, np.uint8, np.float16)
        room = max(1, expected)
        self._columns = [np.zeros((room, *shape), kind) for shape, kind in zip(shapes, kinds, strict=True)]
        self.count = 0

    def add(self, face: _FaceObservation | None, description: Array) -> None:
        if self.count == len(self._columns[0]):
            self._resize(self.count + self.count // 4 + 1)
        landmarks, found, profiles, patches, descriptions = self._columns
        if face is not None:
            found[self.count] = True
            landmarks[self.count], profiles[self.count], patches[self.count] = face
        descriptions[self.count] = description
        self.count += 1

    def finish(self) -> FrameObservations:
        self._resize(self.count)
        return FrameObservations(*self._columns)

    def _resize(self, count: int) -> None:
        for column in self._columns:
            column.resize((count, *column.shape[1:]), refcheck=False)


def observe(
    frames: Iterator[Array], expected: int, folder: TakeFolder, detector: Detector, progress: Progress
) -> FrameObservations:
    """Write frames [S, S, 3] uint8 RGB and their mattes, collect the rest; each kind of work in its own thread.

    expected: about how many frames there are.
    """
    folder.create()
    rows, masker, mattes = _Rows(expected), _Masker(), _MatteWriter(folder)
    with (
        detector as detect,
        ThreadPoolExecutor(1) as mesh,
        ThreadPoolExecutor(1) as network,
        ThreadPoolExecutor(1) as refiner,
        ThreadPoolExecutor(1) as writer,
    ):
        waiting: list[list[Future]] = []
        for start, batch in _batches(frames):
            masked = network.submit(masker.mask, batch)
            waiting.append(
                [
                    mesh.submit(lambda b: [_observe_face(detect, frame) for frame in b], batch),
                    writer.submit(_write_frames, folder, start, batch),
                    refiner.submit(mattes.add, masked),
                ]
            )
            while len(waiting) > BATCHES_AHEAD:
                _collect(waiting.pop(0), rows)
                progress("track", rows.count, expected)
        for jobs in waiting:
            _collect(jobs, rows)
        refiner.submit(mattes.close, network.submit(masker.close)).result()
    progress("track", rows.count, rows.count)
    return rows.finish()


def save_observations(observations: FrameObservations, root: Path) -> None:
    """Keep the observations in the folder of a Take that is not finished."""
    with whole(root / FILE) as temporary:
        np.savez(temporary, **{field.name: getattr(observations, field.name) for field in fields(FrameObservations)})


def load_observations(root: Path) -> FrameObservations | None:
    """What a killed run kept, if it came to the end of its pass."""
    path = root / FILE
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as data:
        return FrameObservations(**{field.name: data[field.name] for field in fields(FrameObservations)})


def _observe_face(detect: Detect, frame: Array) -> _FaceObservation | None:
    points = detect(frame)
    return (
        None if points is None else _FaceObservation(points, sample_profile(frame, points), sample_patch(frame, points))
    )


def _collect(jobs: list[Future], rows: _Rows) -> None:
    faces, descriptions, _ = (job.result() for job in jobs)
    for face, description in zip(faces, descriptions, strict=True):
        rows.add(face, description)


def _batches(frames: Iterable[Array]) -> Iterator[tuple[int, list[Array]]]:
    batch: list[Array] = []
    start = 0
    for frame in frames:
        batch.append(frame)
        if len(batch) == BATCH:
            yield start, batch
            start, batch = start + BATCH, []
    if batch:
        yield start, batch


def _write_frames(folder: TakeFolder, start: int, batch: list[Array]) -> list[Array]:
    for index, frame in enumerate(batch, start):
        folder.write_frame(index, frame)
    return [describe_frame(frame) for frame in batch]


Masked = list[tuple[Array, Array]]
"""Frames [S, S, 3] and their soft masks [S / 2, S / 2]."""


class _Masker:
    """Masks of frames in order: of every other one by the network, of those between as the mean of their neighbours'
    where these are alike. The refined matte follows the frame's own edges anyway.
    """

    def __init__(self) -> None:
        self._network = Matting()
        self._last: Array | None = None
        self._between: Array | None = None

    def mask(self, batch: list[Array]) -> Masked:
        """Frames that are ready with these; one may stay open until the next call."""
        ready: Masked = []
        for frame in batch:
            if self._last is not None and self._between is None:
                self._between = frame
                continue
            mask = self._network(frame)
            if self._last is not None and self._between is not None:
                moved = np.abs(self._last - mask).mean() > FAST
                ready.append((self._between, self._network(self._between) if moved else (self._last + mask) / 2))
            ready.append((frame, mask))
            self._last, self._between = mask, None
        return ready

    def close(self) -> Masked:
        left = [] if self._between is None else [(self._between, self._network(self._between))]
        self._network.close()
        return left


class _MatteWriter:
    """Mattes of frames in order, each the median of itself and its neighbours."""

    def __init__(self, folder: TakeFolder) -> None:
        self._folder = folder
        self._last: list[Array] = []
        self._count = 0

    def add(self, masked: Future[Masked]) -> None:
        for frame, mask in masked.result():
            matte = refine_matte(frame, mask)
            if not self._last:
                self._last = [matte, matte]
                continue
            before, now = self._last
            self._write(median_of_three(before, now, matte))
            self._last = [now, matte]

    def close(self, masked: Future[Masked]) -> None:
        self.add(masked)
        if self._last:
            self._write(self._last[1])

    def _write(self, matte: Array) -> None:
        self._folder.write_matte(self._count, matte)
        self._count += 1
