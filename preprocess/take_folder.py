"""The folder of a Take while it is made: pictures by frame, and whole or not there at all in the end."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from avatar.core.files import UserError, hidden_sibling, sole_maker
from avatar.core.outputs import check_output_folder

JPEG_QUALITY = 95  # of frames: they are trained on, and an hour has 90000
PNG_COMPRESSION = 1  # of mattes: the fastest; mostly flat, they are small anyway
TO_OPENCV = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}  # by channels
KEPT_FRAMES = 64 + 12 * (os.cpu_count() or 1)  # decoded: those that each of the threads' keyframes is compared with

Array = np.ndarray
ReadFrame = Callable[[int], Array]
"""Frame -> its picture [S, S] uint8, grey, or its matte."""


@dataclass(frozen=True)
class TakeFolder:
    """Frames and mattes of a Take that is not finished."""

    root: Path

    def create(self) -> None:
        """Make the folders of the pictures, where they are missing."""
        for name in ("frames", "mattes"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def frame_path(self, frame: int) -> Path:
        return self.root / "frames" / f"{frame:06d}.jpg"

    def write_frame(self, frame: int, picture: Array) -> None:
        """Write a frame [S, S, 3] uint8 RGB."""
        write_picture(self.frame_path(frame), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])

    def write_matte(self, frame: int, matte: Array) -> None:
        """Write the matte [S, S] uint8 of a frame."""
        write_picture(self._matte_path(frame), matte, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])

    def read_frame(self, frame: int) -> Array:
        """A frame [S, S, 3] uint8 RGB."""
        return cv2.cvtColor(read_picture(self.frame_path(frame)), cv2.COLOR_BGR2RGB)

    def read_matte(self, frame: int) -> Array:
        """The matte [S, S] uint8 of a frame."""
        return read_picture(self._matte_path(frame), cv2.IMREAD_GRAYSCALE)

    def grey_reader(self) -> ReadFrame:
        """Reads frames as grey [S, S] uint8; the last ones are kept, since neighbours are compared."""

        @functools.lru_cache(maxsize=KEPT_FRAMES)
        def read(frame: int) -> Array:
            return read_picture(self.frame_path(frame), cv2.IMREAD_GRAYSCALE)

        return read

    def _matte_path(self, frame: int) -> Path:
        return self.root / "mattes" / f"{frame:06d}.png"


def read_picture(path: Path, flags: int = cv2.IMREAD_COLOR) -> Array:
    """A picture as OpenCV reads it, flags: OpenCV's; of any name, which OpenCV itself does not open.

    Raises: UserError when it is none.
    """
    try:
        data = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(data, flags) if len(data) else None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if picture is None:
        raise UserError(f"{path}: is not a picture that can be read")
    return picture


def write_picture(path: Path, picture: Array, options: Sequence[int] = ()) -> None:
    """Write [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA uint8; options: OpenCV's.

    Raises: OSError when it cannot be written.
    """
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    ordered = picture if channels == 1 else cv2.cvtColor(picture, TO_OPENCV[channels])
    done, data = cv2.imencode(path.suffix, ordered, list(options))
    if not done:
        raise OSError(22, "cannot be coded as such a picture", str(path))
    path.write_bytes(data.tobytes())


@contextmanager
def resumable(out: Path, key: str) -> Iterator[Path]:
    """Yield a folder that becomes `out`. What a killed run with the same key left in it is still there.

    It is removed when a UserError is raised: nothing of it can be used again.
    Raises: UserError when the place cannot be written, or another process makes it.
    """
    check_output_folder(out)
    part = hidden_sibling(out, "part")
    note = part / "key.json"
    with sole_maker(out):
        if out.exists():
            raise UserError(f"{out}: was made by another process just now; run the command again to use it")
        if not note.exists() or note.read_text() != key:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            note.write_text(key)
        try:
            yield part
        except UserError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        note.unlink()
        part.rename(out)
