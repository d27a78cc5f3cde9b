"""Backgrounds that stand still."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from avatar.core.files import UserError
from avatar.scene.still import read_background, resize_plate


def test_backgrounds_are_colours_or_pictures(tmp_path: Path) -> None:
    assert read_background("#20a040", (8, 8))[0, 0].tolist() == [32, 160, 64]
    wide = Image.new("RGB", (30, 10), "red")
    wide.paste("blue", (10, 0, 20, 10))
    wide.save(tmp_path / "wide.png")
    assert (read_background(str(tmp_path / "wide.png"), (6, 6)) == torch.tensor([0, 0, 255])).all()  # its middle square
    with pytest.raises(UserError, match="neither a picture file nor a colour"):
        read_background("no-such-thing", (8, 8))
    (tmp_path / "x.png").write_text("no")
    with pytest.raises(UserError, match="not a picture"):
        read_background(str(tmp_path / "x.png"), (8, 8))


def test_plates_of_another_size_keep_their_colours() -> None:
    plate = torch.zeros(16, 16, 3, dtype=torch.uint8)
    plate[:, 8:] = 200
    for size in (8, 16, 40):
        resized = resize_plate(plate, size)
        assert resized.shape == (size, size, 3)
        assert resized[size // 2, 0].tolist() == [0, 0, 0]
        assert resized[size // 2, -1].tolist() == [200, 200, 200]
