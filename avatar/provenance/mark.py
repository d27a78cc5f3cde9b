"""The invisible mark: a 32-bit number in a film's luma, there in every frame, too weak to be seen.

A tile of band-limited noise repeats over the picture. It is a sum of keyed carriers: a pilot, by which a reader finds
scale and offset after crops and rescaling, and one carrier for each byte of the number and its check, shifted
cyclically by what the byte is. The shifts of a carrier are nearly orthogonal, so a byte is read by the highest of 256
correlations: M-ary orthogonal signalling, as in spread spectrum (Cox, Kilian, Leighton, Shamoon 1997). The tile stands
still: encoders keep what stays, and the sums over tiles and frames leave it alone.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Iterator

import numpy as np

TILE = 128  # px of the reader's picture, whose shorter side has TILES of them
TILES = 4
BAND = (5, 20)  # cycles a tile: periods of 6 to 26 px at 512 px; lower is seen, higher is lost in encoding and at 360p
BYTES = 7  # of the number, 4, and of its check, 3
STEP = 8  # px of the tile between shifts: 16 x 16 of them are a byte
PILOT_GAIN = 1.5  # the pilot is looked for at every offset and scale, a byte at 256 shifts
KEY = 0x6176_6D6B  # of the carriers; public: a mark says where a film is from, it does not prove it
FLAT, GAIN, MOST = 0.55, 0.12, 1.6  # strength, grey levels rms: in flat areas, for each level of gradient, at most
MEAN_SQUARE = 1.5  # of the strength over a picture, at most, so that one full of texture keeps 46 dB, too
AT_ONCE = 64  # rows that are marked at a time, so that they stay in the processor's cache
BLOCK = 16  # px in which texture is measured
SETTLES = np.float32(8)  # frames in which strength follows texture, so that noise does not make it flicker
WINDOW = 4  # px apart that its gradients are taken
VIDEO_RANGE = (16, 235)  # of luma in NV12

Box = tuple[int, int, int, int]
"""Left, top, right, bottom of a part of frames, px."""


@functools.cache
def carriers() -> np.ndarray:
    """Spectra [1 + BYTES, TILE, TILE // 2 + 1] complex128 of the pilot and the bytes' carriers: phases, in the band."""
    phases = np.random.default_rng(KEY).uniform(-np.pi, np.pi, (1 + BYTES, TILE, TILE // 2 + 1))
    vertical, horizontal = np.fft.fftfreq(TILE, 1 / TILE)[:, None], np.arange(TILE // 2 + 1)[None]
    radius = np.hypot(vertical, horizontal)
    inside = (radius >= BAND[0]) & (radius <= BAND[1]) & (horizontal > 0)  # a column of 0 would need mirrored phases
    return np.exp(1j * phases) * inside


def with_check(number: int) -> bytes:
    """The bytes [BYTES] of a number of 32 bits and its check."""
    data = number.to_bytes(4, "big")
    return data + (zlib.crc32(data) >> 8).to_bytes(BYTES - 4, "big")


def read_checked(values: bytes) -> int | None:
    """The number in bytes, None when the check contradicts it."""
    number = int.from_bytes(values[:4], "big")
    return number if with_check(number) == values else None


def tile(number: int, size: int = TILE) -> np.ndarray:
    """The mark's tile [size, size] float32 of a number of 32 bits, root mean square 1."""
    spectra = carriers()
    total = PILOT_GAIN * spectra[0]
    vertical, horizontal = np.fft.fftfreq(TILE)[:, None], np.arange(TILE // 2 + 1)[None] / TILE
    for value, spectrum in zip(with_check(number), spectra[1:], strict=True):
        row, column = (value // 16) * STEP, (value % 16) * STEP
        total = total + spectrum * np.exp(-2j * np.pi * (vertical * row + horizontal * column))
    wide = np.zeros((size, size // 2 + 1), complex)
    most = BAND[1] + 1
    wide[:most, :most], wide[-most:, :most] = total[:most, :most], total[-most:, :most]
    values = np.fft.irfft2(wide, (size, size))
    return (values / values.std()).astype(np.float32)


class Marker:
    """Adds the mark of one number to the frames of one film, in order."""

    def __init__(self, number: int, height: int, width: int, box: Box | None = None) -> None:
        """number: 0 .. 2^32 - 1; height, width: of the frames, px; box: what of them is marked, default all.

        The box is BLOCK px at least a side; tiles count from the frame's corner all the same.
        """
        left, top, right, bottom = box or (0, 0, width, height)
        self._height, self._box = height, (slice(top, bottom), slice(left, right))
        size = max(2 * BAND[1] + 2, round(min(height, width) / TILES))
        repeated = np.tile(tile(number, size), (-(-height // size), -(-width // size)))
        self._pattern = np.ascontiguousarray(repeated[self._box])
        self._strength: np.ndarray | None = None
        self._rows, self._columns = _Between(bottom - top), _Between(right - left)

    def add(self, frame: np.ndarray) -> np.ndarray:
        """A frame with the mark: RGB [H, W, 3], RGB and alpha [H, W, 4], or NV12 [3 H / 2, W]; all uint8.

        The mark is stronger where texture hides it, and the same in all colours, so it lies in the luma alone. What
        is clear (alpha 0) is not changed.
        """
        marked = frame.copy()
        coded = frame.ndim == 2
        given, part = (one[: self._height if coded else None][self._box] for one in (frame, marked))
        lowest, highest = VIDEO_RANGE if coded else (0, 255)
        planes = [(given, part)] if coded else [(given[..., index], part[..., index]) for index in range(3)]
        for rows, change in self._changes(given if coded else given[..., 1]):
            if not coded and frame.shape[2] == 4:
                change *= given[rows, :, 3] > 0
            for plane, out in planes:  # one by one: numpy is slow along a short last axis
                values = np.add(plane[rows], change, dtype=np.int16)
                out[rows] = np.clip(values, lowest, highest, out=values)
        return marked

    def _changes(self, luma: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """What is added, int16, a few rows at a time; whole levels: rounding does not flicker with what they go to."""
        strength = _strength(luma)
        if self._strength is not None:
            strength = self._strength + (strength - self._strength) / SETTLES
        self._strength = strength
        first, second, share = self._columns.all()
        wide = strength[:, first] * (1 - share) + strength[:, second] * share
        for start in range(0, len(luma), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            first, second, share = self._rows.all(rows)
            change = wide[first]
            change += (wide[second] - change) * share[:, None]
            change *= self._pattern[rows]
            yield rows, np.rint(change, out=change).astype(np.int16)


def mark_frames(frames: Iterable[np.ndarray], number: int) -> Iterator[np.ndarray]:
    """Frames of one size, as `Marker.add` takes them, with the mark of a number; one by one."""
    marker: Marker | None = None
    for frame in frames:
        if marker is None:
            height = frame.shape[0] * 2 // 3 if frame.ndim == 2 else frame.shape[0]
            marker = Marker(number, height, frame.shape[1])
        yield marker.add(frame)


def _strength(luma: np.ndarray) -> np.ndarray:
    """Grey levels rms [h, w] float32 of the mark in each block of luma."""
    height, width = luma.shape[0] // BLOCK, luma.shape[1] // BLOCK
    part = luma[: height * BLOCK : 2, : width * BLOCK : 2].astype(np.int16)
    step = WINDOW // 2
    gradient = np.zeros_like(part)
    np.abs(part[:, step:] - part[:, :-step], out=gradient[:, step:])
    gradient[step:] += np.abs(part[step:] - part[:-step])
    blocks = gradient.reshape(height, BLOCK // 2, width, BLOCK // 2)
    texture = blocks.sum((1, 3), dtype=np.int32) / (BLOCK // 2) ** 2 / 2
    strength = np.minimum(FLAT + GAIN * texture, MOST)
    return (strength * min(1, np.sqrt(MEAN_SQUARE / (strength**2).mean()))).astype(np.float32)


class _Between:
    """Where pixels of a row or column lie between the centres of blocks, for linear interpolation.

    By two of the blocks each and no matrix: a BLAS library shares even small products among threads, which on a busy
    machine wait for each other for tens of milliseconds.
    """

    def __init__(self, length: int) -> None:
        blocks = length // BLOCK
        at = np.clip((np.arange(length) + 0.5) / BLOCK - 0.5, 0, blocks - 1)
        self._first = np.minimum(at.astype(np.intp), max(0, blocks - 2))
        self._second = np.minimum(self._first + 1, blocks - 1)
        self._share = (at - self._first).astype(np.float32)

    def all(self, part: slice = slice(None)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Blocks [n] before and after each pixel of a part, and the share 0..1 of the second."""
        return self._first[part], self._second[part], self._share[part]
