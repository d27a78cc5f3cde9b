"""Reads the invisible mark back from frames that were cut, cropped, rescaled or encoded again."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest
from itertools import product

import numpy as np
from PIL import Image
from scipy import fft, ndimage, sparse

from avatar.provenance.mark import BYTES, STEP, TILE, TILES, carriers, read_checked

SIDE = TILE * TILES  # px of the shorter side of pictures as they are read
SCALES = np.exp(0.005 * np.arange(-70, 54))  # of tiles in the picture, .70 to 1.30: what crops make of 1
NEARER = np.exp(0.00125 * np.arange(-2, 3))  # of the scales that fit best; a side is then right to .3 px
NEIGHBOUR = 13  # px of the window in which contrast is made equal
SOFT = 0.75  # grey levels: below it a window's contrast is noise
CLIP = 2.0  # times a window's contrast: edges are no more than that
CANDIDATES = 6  # scales and offsets that bytes are read at
GUESSES = 200  # sets of bytes that are tried for each
CHOICES = 4  # of each byte
LEAST = 3.3  # mean deviation of the bytes: the highest of 256 correlations with what has no mark is 2.8 +- .4


@dataclass(frozen=True)
class Reading:
    """What was read."""

    number: int
    confidence: float  # standard deviations that its bytes stand out by, on average; from LEAST on
    scale: float  # of the tiles against those of a picture that was not cropped
    offset: tuple[int, int]  # rows, columns of a tile that the mark lies shifted by


def read_mark(frames: Iterable[np.ndarray]) -> Reading | None:
    """The mark in luma frames [H, W] of one size, uint8; None where there is none. 5 s are enough."""
    total = None
    for frame in frames:
        even = equalize(frame)
        total = even if total is None else total + even
    return None if total is None else find(total)


def equalize(luma: np.ndarray) -> np.ndarray:
    """A frame [H, W] at the size it is read at, its band alone; float32.

    It is divided by the contrast about it to the power of 1.5: for noise of deviation s and a mark that grows with it
    by about the root, s^1.5 is the divisor of a matched filter.
    """
    height, width = luma.shape
    scale = SIDE / min(height, width)
    size = (round(width * scale), round(height * scale))
    picture = np.asarray(Image.fromarray(luma).resize(size, Image.Resampling.BICUBIC), np.float32)
    band = ndimage.gaussian_filter(picture, 0.8, truncate=2.5) - ndimage.gaussian_filter(picture, 6, truncate=2)
    contrast = np.sqrt(np.maximum(ndimage.uniform_filter(band * band, NEIGHBOUR), 0)) + SOFT
    return np.clip(band / contrast, -CLIP, CLIP) / np.sqrt(contrast)


def find(picture: np.ndarray) -> Reading | None:
    """The mark in a sum of equalized frames."""
    coarse = nlargest(CANDIDATES, (_fit(picture, scale) for scale in SCALES), key=lambda fit: fit.peak)
    finer = [max((_fit(picture, fit.scale * factor) for factor in NEARER), key=lambda fit: fit.peak) for fit in coarse]
    for fit in sorted(finer, key=lambda fit: -fit.peak):
        read = _read_bytes(fit.spectrum, fit.offset)
        if read:
            return Reading(*read, scale=fit.scale, offset=fit.offset)
    return None


@dataclass(frozen=True)
class _Fit:
    """How well the pilot fits at a scale, and where."""

    peak: float  # standard deviations
    scale: float
    offset: tuple[int, int]  # rows, columns
    spectrum: np.ndarray  # of the tile at that scale


def _fit(picture: np.ndarray, scale: float) -> _Fit:
    spectrum = _whiten(_fold(picture, scale))
    values = _correlate(spectrum, 0)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return _Fit(float(values[row, column]), float(scale), (int(row), int(column)), spectrum)


def _fold(picture: np.ndarray, scale: float) -> np.ndarray:
    """The sum [TILE, TILE] over the tiles of a picture in which they are `scale` times as large; float32."""
    height, width = picture.shape
    return (_folding(width, scale) @ (_folding(height, scale) @ picture).T).T


def _folding(length: int, scale: float) -> sparse.csr_array:
    """Matrix [TILE, length] float32 that interpolates linearly at px of tiles and adds up px of the same place."""
    count = TILE * -int(-length // (TILE * scale))
    at = ((np.arange(count) + 0.5) * scale - 0.5).astype(np.float32)
    left = np.floor(at).astype(int)
    source, place = np.concatenate([left, left + 1]), np.tile(np.arange(count) % TILE, 2)
    weight = np.concatenate([1 - (at - left), at - left]).astype(np.float32)
    inside = (source >= 0) & (source < length)
    return sparse.csr_array((weight[inside], (place[inside], source[inside])), (TILE, length))


@functools.cache
def _band() -> np.ndarray:
    return np.abs(carriers()[0]) > 0


def _whiten(folded: np.ndarray) -> np.ndarray:
    """The spectrum [TILE, TILE // 2 + 1] within the band, each frequency as strong as its neighbours are."""
    spectrum = fft.rfft2(folded) * _band()
    strength = np.abs(spectrum)
    smooth = ndimage.uniform_filter(strength, 5) / np.maximum(ndimage.uniform_filter(_band().astype(float), 5), 1e-9)
    return spectrum / np.maximum(smooth, 1e-12)


def _correlate(spectrum: np.ndarray, carrier: int) -> np.ndarray:
    """Correlation [TILE, TILE] with a carrier at every shift, in standard deviations."""
    values = fft.irfft2(spectrum * carriers()[carrier].conj(), (TILE, TILE))
    return values / max(values.std(), 1e-12)


def _read_bytes(spectrum: np.ndarray, offset: tuple[int, int]) -> tuple[int, float] | None:
    """The number whose check agrees, and by how many deviations its bytes stand out on average."""
    choices = []
    for carrier in range(1, BYTES + 1):
        shifted = np.roll(_correlate(spectrum, carrier), (-offset[0], -offset[1]), (0, 1))[::STEP, ::STEP].ravel()
        order = np.argsort(shifted)[::-1][:CHOICES]
        choices.append([(float(shifted[value]), int(value)) for value in order])
    guesses = nlargest(GUESSES, product(*choices), key=lambda guess: sum(z for z, _ in guess))
    for guess in guesses:
        number, confidence = read_checked(bytes(value for _, value in guess)), sum(z for z, _ in guess) / BYTES
        if number is not None and confidence >= LEAST:
            return number, confidence
    return None
