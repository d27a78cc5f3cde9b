"""Files that ask for more than they are: refused in a line before any work."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from avatar.core.avatar_file import load_avatar, save_avatar
from avatar.core.deflate import deflate, inflate
from avatar.core.files import UserError
from avatar.core.take import read_plate
from avatar.play.look import read_background
from tests.test_core import make_avatar

MB = 1_000_000


def stream(size: int) -> torch.Tensor:
    """So many zeros, deflated."""
    packer = zlib.compressobj()
    data = b"".join(packer.compress(bytes(MB)) for _ in range(size // MB)) + packer.flush()
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, [800 * MB]), (9, [100 * MB]), (1, [1 << 40, 1 << 40]), (1, [-1]), (1, [2.5]), (1, ["a"]), (1, [True, 9])],
)
def test_an_avatar_does_not_inflate_to_gigabytes(
    count: int, shape: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_avatar(make_avatar(), tmp_path / "a.avatar")
    with safe_open(tmp_path / "a.avatar", "pt") as file:
        note, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(note["avatar"])
    zeros = stream(10 * MB)
    for index in range(count):
        tensors[f"renderer.{index}"] = zeros.clone()
        header["deflated"][f"renderer.{index}"] = ["uint8", shape]
    save_file(tensors, tmp_path / "b.avatar", note | {"avatar": json.dumps(header)})
    monkeypatch.setattr(zlib, "decompressobj", lambda: pytest.fail("nothing is inflated"))
    with pytest.raises(UserError, match="damaged or edited avatar file"):
        load_avatar(tmp_path / "b.avatar")


def png_header(path: Path, width: int, height: int) -> Path:
    """The beginning of a PNG of so many pixels."""
    size = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [len(one[4:]).to_bytes(4, "big") + one + zlib.crc32(one).to_bytes(4, "big") for one in (size, data)]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def test_a_background_of_900_megapixels(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has too many pixels; make it smaller first"):
        read_background(str(png_header(tmp_path / "wall.png", 30000, 30000)), 64)


def test_a_take_whose_plate_is_of_900_megapixels(tmp_path: Path) -> None:
    png_header(tmp_path / "background.png", 30000, 30000)
    with pytest.raises(UserError, match=r"background\.png: cannot be read .*; redo the take"):
        read_plate(SimpleNamespace(root=tmp_path))  # type: ignore[arg-type]


def test_flat_pictures_and_blendshapes_are_within_bounds() -> None:
    noise = torch.randint(-128, 128, (3000, 3000), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    tensors = {"frame": torch.full((4000, 4000, 3), 9, dtype=torch.uint8), "shapes": noise}
    back = inflate(*deflate(tensors))
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
