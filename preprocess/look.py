"""One pass over the frames of a clip: pictures and mattes to disk, landmarks and other small things to memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from avatar.core.landmarks import POINTS
from avatar.core.progress import Progress
from preprocess.matte import Matting, median_of_three, refine_matte
from preprocess.mouth import SAMPLES, sample_profile
from preprocess.spans import DESCRIPTION, FACE_PATCH, describe_frame, sample_patch

BATCH = 16
QUALITY = 95
FAST = 0.008  # mean change of the mask over two frames from which the one between is looked at itself

Array = np.ndarray
Detect = Callable[[Array], Array | None]
Detector = AbstractContextManager[Detect]
Face = tuple[Array, Array, Array]  # landmarks, profile, patch


@dataclass(frozen=True)
class Seen:
    """What one pass over the frames gave."""

    landmarks: Array  # [T, 478, 3] float32 px, zeros without a face
    found: Array  # [T] bool
    profiles: Array  # [T, 64, 3] uint8, see mouth.sample_profile
    patches: Array  # [T, 12, 14, 3] uint8, see spans.sample_patch
    descriptions: Array  # [T, 769] float16, see spans.describe_frame


class _Notes:
    """The rows of `Seen`, in arrays that grow where they are: an hour of frames is held only once."""

    def __init__(self, expected: int) -> None:
        shapes = ((POINTS, 3), (), (SAMPLES, 3), FACE_PATCH, (DESCRIPTION,))
        kinds = (np.float32, bool, np.uint8, np.uint8, np.float16)
        room = max(1, expected)
        self._columns = [np.zeros((room, *shape), kind) for shape, kind in zip(shapes, kinds, strict=True)]
        self.count = 0

    def add(self, face: Face | None, description: Array) -> None:
        if self.count == len(self._columns[0]):
            self._resize(self.count + self.count // 4 + 1)
        landmarks, found, profiles, patches, descriptions = self._columns
        if face is not None:
            found[self.count] = True
            landmarks[self.count], profiles[self.count], patches[self.count] = face
        descriptions[self.count] = description
        self.count += 1

    def finish(self) -> Seen:
        self._resize(self.count)
        return Seen(*self._columns)

    def _resize(self, count: int) -> None:
        for column in self._columns:
            column.resize((count, *column.shape[1:]), refcheck=False)


def look(frames: Iterator[Array], expected: int, part: Path, detector: Detector, report: Progress) -> Seen:
    """Write frames and mattes into the folder `part`, collect the rest; each kind of work in its own thread."""
    for name in ("frames", "mattes"):
        (part / name).mkdir(exist_ok=True)
    notes, cutter, mattes = _Notes(expected), _Cutter(), _MatteWriter(part / "mattes")
    with (
        detector as detect,
        ThreadPoolExecutor(1) as mesh,
        ThreadPoolExecutor(1) as network,
        ThreadPoolExecutor(1) as refiner,
        ThreadPoolExecutor(1) as writer,
    ):
        waiting: list[list[Future]] = []
        for start, batch in _batches(frames):
            cut = network.submit(cutter.cut, batch)
            waiting.append(
                [
                    mesh.submit(lambda b: [_find(detect, frame) for frame in b], batch),
                    writer.submit(_write_frames, part / "frames", start, batch),
                    refiner.submit(mattes.add, cut),
                ]
            )
            while len(waiting) > 2:
                _collect(waiting.pop(0), notes)
                report("track", notes.count, expected)
        for jobs in waiting:
            _collect(jobs, notes)
        refiner.submit(mattes.close, network.submit(cutter.close)).result()
    report("track", notes.count, notes.count)
    seen = notes.finish()
    np.savez(part / "pass.npz", **{field.name: getattr(seen, field.name) for field in fields(Seen)})
    return seen


def look_again(part: Path) -> Seen | None:
    """What a killed run had seen, if it came to the end of its pass."""
    path = part / "pass.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as data:
        return Seen(**{field.name: data[field.name] for field in fields(Seen)})


def _find(detect: Detect, frame: Array) -> Face | None:
    points = detect(frame)
    return None if points is None else (points, sample_profile(frame, points), sample_patch(frame, points))


def _collect(jobs: list[Future], notes: _Notes) -> None:
    faces, descriptions, _ = (job.result() for job in jobs)
    for face, description in zip(faces, descriptions, strict=True):
        notes.add(face, description)


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


def _write_frames(folder: Path, start: int, batch: list[Array]) -> list[Array]:
    for index, frame in enumerate(batch, start):
        write_picture(folder / f"{index:06d}.jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return [describe_frame(frame) for frame in batch]


def write_picture(path: Path, picture: Array, options: list[int] | None = None) -> None:
    """Write [H, W, 3] RGB or [H, W] grey uint8. Raises: OSError when it cannot be written."""
    ordered = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    if not cv2.imwrite(str(path), ordered, options or []):
        raise OSError(28, "cannot be written, is the disk full?", str(path))


Cut = list[tuple[Array, Array]]  # frames and their masks


class _Cutter:
    """Masks of frames in order: of every other one by the network, of those between as the mean of their neighbours'
    where these are alike. The refined matte follows the frame's own edges anyway.
    """

    def __init__(self) -> None:
        self._network = Matting()
        self._last: Array | None = None
        self._between: Array | None = None

    def cut(self, batch: list[Array]) -> Cut:
        """Frames that are ready with these; one may stay open until the next call."""
        ready: Cut = []
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

    def close(self) -> Cut:
        left = [] if self._between is None else [(self._between, self._network(self._between))]
        self._network.close()
        return left


class _MatteWriter:
    """Mattes of frames in order, each the median of itself and its neighbours."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: list[Array] = []
        self._count = 0

    def add(self, cut: Future[Cut]) -> None:
        for frame, mask in cut.result():
            matte = refine_matte(frame, mask)
            if not self._last:
                self._last = [matte, matte]
                continue
            before, now = self._last
            self._write(median_of_three(before, now, matte))
            self._last = [now, matte]

    def close(self, cut: Future[Cut]) -> None:
        self.add(cut)
        if self._last:
            self._write(self._last[1])

    def _write(self, matte: Array) -> None:
        write_picture(self._folder / f"{self._count:06d}.png", matte, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        self._count += 1
