"""The one pass over the frames of a clip: pictures and mattes to disk, landmarks and other small things to memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import islice, pairwise, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avatar.core.files import whole
from avatar.core.landmarks import POINTS
from avatar.core.progress import Progress
from avatar.core.threads import torch_threads
from preprocess.matte import median_of_three, refine_matte
from preprocess.mouth import SAMPLES, sample_profile
from preprocess.mouth_cover import PATCH, sample_mouth, sample_skin
from preprocess.spans import DESCRIPTION, FACE_PATCH, describe_frame, sample_patch
from preprocess.take_folder import TakeFolder

FILE = "observations.npz"  # in the folder of a Take that is not finished
BATCHES_AHEAD = 2  # so that no thread waits for another, and few frames are in memory
FAST = 0.008  # mean change of the mask over two frames from which the one between gets a mask of its own

Array = np.ndarray
Masked = list[tuple[Array, Array]]
"""Frames [S, S, 3] and their soft masks [S / 2, S / 2]."""


@dataclass(frozen=True)
class Networks:
    """What looks at frames [B, S, S, 3] uint8 RGB, in order; see `preprocess.detectors.PersonDetector`."""

    landmarks: Callable[[Array], list[Array | None]]
    masks: Callable[[Array], Array]
    batch: int  # frames that they are best given at a time


@dataclass(frozen=True)
class FrameObservations:
    """All that later stages know of the frames but their pictures."""

    landmarks: Array  # [T, 478, 3] float32 px, zeros without a face
    found: Array  # [T] bool: whether there is a face
    profiles: Array  # [T, 64, 3] uint8, see mouth.sample_profile
    patches: Array  # [T, 12, 14, 3] uint8, see spans.sample_patch
    mouths: Array  # [T, 16, 24, 3] uint8, see mouth_cover.sample_mouth
    skins: Array  # [T, 3] uint8, see mouth_cover.sample_skin
    descriptions: Array  # [T, 769] float16, see spans.describe_frame


class _FaceObservation(NamedTuple):
    landmarks: Array
    profile: Array
    patch: Array
    mouth: Array
    skin: Array


class _Rows:
    """The rows of `FrameObservations`, in arrays that grow in place: an hour of frames is held only once."""

    def __init__(self, expected: int) -> None:
        shapes = ((POINTS, 3), (), (SAMPLES, 3), FACE_PATCH, PATCH, (3,), (DESCRIPTION,))
        kinds = (np.float32, bool, np.uint8, np.uint8, np.uint8, np.uint8, np.float16)
        room = max(1, expected)
        self._columns = [np.zeros((room, *shape), kind) for shape, kind in zip(shapes, kinds, strict=True)]
        self.count = 0

    def add(self, face: _FaceObservation | None, description: Array) -> None:
        if self.count == len(self._columns[0]):
            self._resize(self.count + self.count // 4 + 1)
        landmarks, found, *of_face, descriptions = self._columns
        if face is not None:
            found[self.count] = True
            for column, value in zip((landmarks, *of_face), face, strict=True):
                column[self.count] = value
        descriptions[self.count] = description
        self.count += 1

    def finish(self) -> FrameObservations:
        self._resize(self.count)
        return FrameObservations(*self._columns)

    def _resize(self, count: int) -> None:
        for column in self._columns:
            column.resize((count, *column.shape[1:]), refcheck=False)


def observe(
    frames: Iterator[Array], expected: int, folder: TakeFolder, networks: Networks, progress: Progress
) -> FrameObservations:
    """Write frames [S, S, 3] uint8 RGB and their mattes, collect the rest.

    Each network has a thread of its own, all else is done by one thread a core. expected: about how many frames there
    are.
    """
    folder.create()
    rows, masker, mattes = _Rows(expected), _Masker(networks.masks), _MatteWriter(folder)
    with (
        torch_threads(1),  # of each network: the cores are taken by the threads below
        ThreadPoolExecutor(1) as mesh,
        ThreadPoolExecutor(1) as network,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        looked_at: deque[_Looked] = deque()
        refining: deque[_Refining] = deque()

        def advance(looked_ahead: int, refined_ahead: int) -> None:
            """Go on with the oldest batches, until at most so many are left."""
            while len(looked_at) > looked_ahead:
                refining.append(_refine(looked_at.popleft(), pool))
                while len(refining) > refined_ahead:
                    _collect(refining.popleft(), rows, mattes, pool)
                    progress("track", rows.count, expected)

        for start, batch in _batches(frames, networks.batch):
            written = [pool.submit(_write_frame, folder, index, frame) for index, frame in enumerate(batch, start)]
            found, masked = mesh.submit(networks.landmarks, np.stack(batch)), network.submit(masker.mask, batch)
            looked_at.append(_Looked(batch, found, masked, written))
            advance(BATCHES_AHEAD, 1)
        advance(0, 0)
        mattes.close([refine_matte(frame, mask) for frame, mask in masker.close()], pool)
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


@dataclass(frozen=True)
class _Looked:
    """A batch that the networks look at."""

    frames: list[Array]
    landmarks: Future[list[Array | None]]
    masked: Future[Masked]
    descriptions: list[Future[Array]]


@dataclass(frozen=True)
class _Refining:
    """A batch whose landmarks are used, and mattes sharpened."""

    faces: list[Future[_FaceObservation | None]]
    descriptions: list[Future[Array]]
    mattes: list[Future[Array]]


def _refine(batch: _Looked, pool: ThreadPoolExecutor) -> _Refining:
    pairs = zip(batch.frames, batch.landmarks.result(), strict=True)
    faces = [pool.submit(_observe_face, frame, points) for frame, points in pairs]
    mattes = [pool.submit(refine_matte, frame, mask) for frame, mask in batch.masked.result()]
    return _Refining(faces, batch.descriptions, mattes)


def _collect(batch: _Refining, rows: _Rows, mattes: _MatteWriter, pool: ThreadPoolExecutor) -> None:
    for face, description in zip(batch.faces, batch.descriptions, strict=True):
        rows.add(face.result(), description.result())
    mattes.add([matte.result() for matte in batch.mattes], pool)


def _observe_face(frame: Array, points: Array | None) -> _FaceObservation | None:
    if points is None:
        return None
    samples = (sample(frame, points) for sample in (sample_profile, sample_patch, sample_mouth, sample_skin))
    return _FaceObservation(points, *samples)


def _batches(frames: Iterator[Array], size: int) -> Iterator[tuple[int, list[Array]]]:
    start = 0
    while batch := list(islice(frames, size)):
        yield start, batch
        start += len(batch)


def _write_frame(folder: TakeFolder, index: int, frame: Array) -> Array:
    folder.write_frame(index, frame)
    return describe_frame(frame)


class _Masker:
    """Masks of frames in order: of every other one by the network, of those between as the mean of their neighbours'
    where these are alike. The refined matte follows the frame's own edges anyway.
    """

    def __init__(self, find: Callable[[Array], Array]) -> None:
        self._find = find
        self._last: Array | None = None
        self._open: list[Array] = []  # a frame whose next neighbour is not known

    def mask(self, batch: list[Array]) -> Masked:
        """Frames that are ready with these; one may stay open until the next call."""
        frames = [*self._open, *batch]
        begun = self._last is not None
        sure, between = frames[begun::2], frames[not begun :: 2]
        masks = list(self._find(np.stack(sure))) if sure else []
        ends = [self._last, *masks] if begun else masks
        between, self._open = between[: len(ends) - 1], between[len(ends) - 1 :]
        self._last = ends[-1]
        means = [(one + other) / 2 for one, other in pairwise(ends)]
        moved = [bool(np.abs(one - other).mean() > FAST) for one, other in pairwise(ends)]
        quick = [frame for frame, fast in zip(between, moved, strict=True) if fast]
        own = iter(self._find(np.stack(quick)) if quick else ())
        middle = [(f, next(own) if fast else m) for f, fast, m in zip(between, moved, means, strict=True)]
        pairs = (
            zip_longest(middle, zip(sure, masks, strict=True))
            if begun
            else zip_longest(zip(sure, masks, strict=True), middle)
        )
        return [one for pair in pairs for one in pair if one is not None]

    def close(self) -> Masked:
        """The frame that stayed open."""
        return [(frame, self._find(frame[None])[0]) for frame in self._open]


class _MatteWriter:
    """Mattes of frames in order, each the median of itself and its neighbours."""

    def __init__(self, folder: TakeFolder) -> None:
        self._folder = folder
        self._last: list[Array] = []
        self._count = 0
        self._written: deque[Future[None]] = deque()

    def add(self, mattes: list[Array], pool: ThreadPoolExecutor) -> None:
        """The next ones."""
        while self._written:
            self._written.popleft().result()
        for matte in mattes:
            if not self._last:
                self._last = [matte, matte]
                continue
            before, now = self._last
            self._write(pool, before, now, matte)
            self._last = [now, matte]

    def close(self, mattes: list[Array], pool: ThreadPoolExecutor) -> None:
        """The last ones; waits until all are written."""
        self.add(mattes, pool)
        if self._last:
            self._write(pool, *self._last, self._last[1])
        self.add([], pool)

    def _write(self, pool: ThreadPoolExecutor, *three: Array) -> None:
        self._written.append(pool.submit(self._write_median, self._count, three))
        self._count += 1

    def _write_median(self, index: int, three: tuple[Array, ...]) -> None:
        self._folder.write_matte(index, median_of_three(*three))
