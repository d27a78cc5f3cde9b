"""Backgrounds look as viewers show them, whatever kind of picture they are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from avatar.core.files import UserError
from avatar.scene.background import open_background
from avatar.scene.still import read_background

RED, BLUE = (200, 30, 30), (30, 60, 200)


def halves() -> Image.Image:
    """Red above, blue below."""
    picture = Image.new("RGB", (40, 40), RED)
    picture.paste(BLUE, (0, 20, 40, 40))
    return picture


def turned(orientation: int, transpose: Image.Transpose) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        stored = halves().transpose(transpose)
        exif = stored.getexif()
        exif[0x0112] = orientation
        stored.save(path, exif=exif, quality=95, subsampling=0)

    return make


def clear(path: Path) -> None:
    """What is clear has the wrong colour below, which no viewer shows."""
    shown = np.dstack([np.array(halves()), np.full((40, 40), 255)]).astype(np.uint8)
    Image.fromarray(shown).save(path)


def palette_png(path: Path) -> None:
    halves().convert("P", palette=Image.Palette.ADAPTIVE).save(path)


def cmyk(path: Path) -> None:
    halves().convert("CMYK").save(path, quality=95)


def profiled(path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    halves().save(path, icc_profile=profile.tobytes(), quality=95, subsampling=0)


MADE: dict[str, Callable[[Path], None]] = {
    "upside.jpg": turned(3, Image.Transpose.ROTATE_180),
    "phone.jpg": turned(6, Image.Transpose.ROTATE_90),
    "other.jpg": turned(8, Image.Transpose.ROTATE_270),
    "mirror.png": turned(4, Image.Transpose.FLIP_TOP_BOTTOM),
    "alpha.png": clear,
    "palette.png": palette_png,
    "print.jpg": cmyk,
    "profile.jpg": profiled,
    "plain.webp": lambda path: halves().save(path, lossless=True),
    "plain.gif": lambda path: halves().save(path),
    "plain.tif": lambda path: halves().save(path),
}


@pytest.mark.parametrize("name", MADE)
def test_it_looks_as_in_a_viewer(tmp_path: Path, name: str) -> None:
    MADE[name](tmp_path / name)
    shown = read_background(str(tmp_path / name), (40, 40)).numpy().astype(int)
    assert np.abs(shown[4:16] - RED).max() <= 8
    assert np.abs(shown[24:36] - BLUE).max() <= 8


def test_what_is_clear_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_background(str(tmp_path / "clear.png"), (8, 8)) == 255).all()
    with_clear = Image.new("P", (8, 8), 0)
    with_clear.putpalette([255, 0, 0])
    with_clear.save(tmp_path / "clear.gif", transparency=0)
    assert (read_background(str(tmp_path / "clear.gif"), (8, 8)) == 255).all()


def test_sixteen_bits_of_grey_are_grey(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(tmp_path / "deep.png")
    assert (read_background(str(tmp_path / "deep.png"), (8, 8)) == 100).all()


def test_a_profile_of_other_colours_is_used(tmp_path: Path) -> None:
    """A linear profile: half of the light is 188 of 255 in sRGB."""
    import struct

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    for tag in range(count):
        name, offset, _ = struct.unpack(">4sII", profile[132 + 12 * tag : 144 + 12 * tag])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            profile[offset : offset + 12] = b"curv" + bytes(8)  # no entries: linear
        elif name == b"desc":
            profile = bytearray(bytes(profile).replace("sRGB".encode("utf-16-be"), "line".encode("utf-16-be")))
    Image.new("RGB", (8, 8), (128, 128, 128)).save(tmp_path / "linear.png", icc_profile=bytes(profile))
    assert np.abs(read_background(str(tmp_path / "linear.png"), (8, 8)).numpy().astype(int) - 188).max() <= 2


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_animations_move(tmp_path: Path, ending: str) -> None:
    colours = ("red", "lime", "blue")
    pictures = [Image.new("RGB", (16, 16), colour) for colour in colours]
    more = {"lossless": True} if ending == "webp" else {}
    pictures[0].save(tmp_path / f"x.{ending}", save_all=True, append_images=pictures[1:], duration=200, loop=0, **more)
    shown = list(islice(open_background(str(tmp_path / f"x.{ending}"), (8, 8), 25.0), 17))  # type: ignore[arg-type]
    assert [int(frame[0, 0].argmax()) for frame in shown] == [0] * 5 + [1] * 5 + [2] * 5 + [0] * 2


def test_what_is_no_picture_is_said_in_a_line(tmp_path: Path) -> None:
    for name, content in (
        ("x.png", b"\x89PNG\r\n\x1a\n" + b"x" * 50),
        ("x.jpg", b"\xff\xd8\xff"),
        ("x.tif", b"II*\0xx"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="not a picture") as refused:
            open_background(str(tmp_path / name), (8, 8), 25.0)
        assert "\n" not in str(refused.value)
