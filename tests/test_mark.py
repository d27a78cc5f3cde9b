"""The invisible mark: too weak to be seen, read back from what was cut, cropped, rescaled and encoded again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from avatar.core.encode import write_video
from avatar.core.media import ffmpeg_binary
from avatar.provenance import mark
from avatar.provenance.detect import read_mark
from avatar.provenance.mark import Marker, mark_frames, read_checked, tile, with_check

NUMBER, SIDE, FRAMES = 0xC0FFEE42, 512, 25


def scene(count: int, height: int = SIDE, width: int = SIDE, seed: int = 0) -> np.ndarray:
    """Luma [count, H, W] uint8 of still texture as pictures have it (amplitude falls with frequency), and noise."""
    random = np.random.default_rng(seed)
    waves = np.fft.rfft2(random.standard_normal((height, width)))
    radius = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.arange(width // 2 + 1)[None])
    texture = np.fft.irfft2(waves / np.maximum(radius, 2) ** 1.2, (height, width))
    still = 128 + 25 * texture / texture.std()
    frames = still + random.standard_normal((count, height, width))
    return np.clip(np.rint(frames), 16, 235).astype(np.uint8)


def as_rgb(luma: np.ndarray) -> np.ndarray:
    return np.repeat(luma[..., None], 3, -1)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of marked pictures, as films are written."""
    out = tmp_path_factory.mktemp("mark") / "film.mp4"
    write_video(mark_frames(map(as_rgb, scene(FRAMES)), NUMBER), out, fps=25)
    return out


def encoded(film: Path, *options: str) -> list[np.ndarray]:
    """Luma of every fifth frame of the film after ffmpeg made another of it."""
    other = film.with_name("other.mkv")
    base = [ffmpeg_binary(), "-v", "error", "-y", "-i"]
    subprocess.run([*base, str(film), *options, "-pix_fmt", "yuv420p", str(other)], check=True, capture_output=True)
    raw = [*base, str(other), "-f", "image2pipe", "-c:v", "pgm", "-pix_fmt", "gray", "-"]
    data = subprocess.run(raw, check=True, capture_output=True).stdout
    size = tuple(int(value) for value in data.split(b"\n", 3)[1].split())
    header = len(b"P5\n%d %d\n255\n" % size)
    frames = np.frombuffer(data, np.uint8).reshape(-1, header + size[0] * size[1])[:, header:]
    return list(frames.reshape(-1, size[1], size[0])[::5])


X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf")
CHAINS = {
    "as written": ("-c:v", "copy"),
    "crf 28": (*X264, "28"),
    "360p": ("-vf", "scale=360:360", *X264, "23"),
    "cropped": ("-vf", "crop=iw*0.9:ih*0.9:20:31", *X264, "23"),
    "cropped and enlarged": ("-vf", "crop=iw*0.9:ih*0.9:20:31,scale=640:640", *X264, "23"),
    "gamma": ("-vf", "eq=gamma=1.3:brightness=0.05", *X264, "23"),
    "H.265": ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "28", "-x265-params", "log-level=error"),
    "side bars": ("-vf", "pad=910:512:199:0", *X264, "26"),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_the_number_is_read_after(chain: str, film: Path) -> None:
    reading = read_mark(encoded(film, *CHAINS[chain]))
    assert reading is not None
    assert reading.number == NUMBER
    if chain in ("cropped", "cropped and enlarged"):
        assert reading.scale == pytest.approx(1 / 0.9, rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_there_is_no_number_in_what_has_no_mark(seed: int) -> None:
    assert read_mark(scene(3, seed=seed)) is None
    assert read_mark(np.random.default_rng(seed).integers(0, 256, (2, 256, 300)).astype(np.uint8)) is None


def test_flat_pictures_hold_none_either() -> None:
    assert read_mark([np.full((128, 128), 40, np.uint8)]) is None
    assert read_mark([]) is None


@pytest.mark.parametrize("contrast", [0.1, 1.0, 2.0])
def test_the_picture_keeps_its_quality(contrast: float) -> None:
    frames = np.clip(128 + contrast * (scene(4).astype(float) - 128), 0, 255).astype(np.uint8)
    marked = np.stack(list(mark_frames(map(as_rgb, frames), NUMBER)))[..., 0]
    error = ((marked.astype(float) - frames) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 44.5
    assert error > 0.1, "there is a mark"
    flicker = [np.abs(np.diff(part.astype(float), axis=0)).mean() for part in (frames, marked)]
    assert flicker[1] < 1.02 * flicker[0]


def test_kinds_of_pixels_get_the_same_mark() -> None:
    luma = scene(1)[0]
    marker = Marker(NUMBER, SIDE, SIDE)
    nv12 = np.concatenate([luma, np.full((SIDE // 2, SIDE), 128, np.uint8)])
    alpha = np.concatenate([as_rgb(luma), np.full((SIDE, SIDE, 1), 77, np.uint8)], -1)
    change = marker.add(as_rgb(luma)).astype(int) - as_rgb(luma)
    assert (change == change[..., :1]).all()
    np.testing.assert_array_equal(marker.add(alpha)[..., :3], marker.add(as_rgb(luma)))
    np.testing.assert_array_equal(marker.add(alpha)[..., 3], 77)
    np.testing.assert_array_equal(marker.add(nv12)[SIDE:], 128)
    inside = (luma > 30) & (luma < 220)
    np.testing.assert_array_equal(marker.add(nv12)[:SIDE][inside], marker.add(as_rgb(luma))[..., 0][inside])
    assert marker.add(np.full_like(nv12, 235)).max() == 235
    assert marker.add(np.full_like(nv12, 16))[:SIDE].min() == 16


def test_the_tile_is_periodic_band_limited_and_of_one_number() -> None:
    small, large = tile(NUMBER), tile(NUMBER, 200)
    assert small.std() == pytest.approx(1, rel=1e-3)
    radius = np.hypot(np.fft.fftfreq(128)[:, None] * 128, np.arange(65)[None])
    power = np.abs(np.fft.rfft2(small.astype(float))) ** 2
    outside = (radius < mark.BAND[0]) | (radius > mark.BAND[1])
    assert power[outside].sum() < 1e-6 * power.sum()
    resized = ndimage.zoom(np.tile(small, (3, 3)), 200 / 128, order=3, grid_mode=True, mode="grid-wrap")[
        200:400, 200:400
    ]
    assert np.corrcoef(resized.ravel(), large.ravel())[0, 1] > 0.98
    assert abs(np.corrcoef(small.ravel(), tile(NUMBER ^ 1).ravel())[0, 1]) < 0.95


@pytest.mark.parametrize("number", [0, 1, NUMBER, 2**32 - 1])
def test_the_check_contradicts_every_wrong_byte(number: int) -> None:
    values = with_check(number)
    assert read_checked(values) == number
    for place in range(mark.BYTES):
        for change in (1, 0x80, 0xFF):
            wrong = bytearray(values)
            wrong[place] ^= change
            assert read_checked(bytes(wrong)) is None
