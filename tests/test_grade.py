"""Colour: a background's white and exposure, and tables of colours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar.core.files import UserError
from avatar.scene.grade import matching_gain, read_table, tone_of


def plain(*colour: int) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.uint8).expand(40, 40, 3)


def test_a_person_comes_nearer_to_the_white_of_the_background() -> None:
    own = tone_of(plain(128, 128, 128))
    assert matching_gain(own, own).abs().max() < 1e-6
    red, green, blue = matching_gain(own, tone_of(plain(150, 128, 100))).tolist()
    assert red > green > blue
    assert red - blue <= 0.31
    dark, bright = (matching_gain(own, tone_of(plain(value, value, value))) for value in (30, 250))
    assert -0.36 < dark.mean() < -0.2
    assert 0.2 < bright.mean() < 0.36


def write_table(path: Path, size: int, change: float = 0.0) -> Path:
    lines = ["TITLE x", "# made for a test", f"LUT_3D_SIZE {size}"]
    step = 1 / (size - 1)
    for blue in range(size):
        for green in range(size):
            lines += [f"{red * step} {green * step} {blue * step * (1 - change)}" for red in range(size)]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("size", [2, 17, 65])
def test_tables_change_colours(tmp_path: Path, size: int) -> None:
    colours = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    same = read_table(write_table(tmp_path / "x.cube", size))(colours)
    assert torch.allclose(same, colours, atol=1e-5)
    less = read_table(write_table(tmp_path / "y.cube", size, 0.5))(colours)
    inside = colours.clamp(0, 1)
    assert torch.allclose(less[..., :2], colours[..., :2], atol=1e-5)
    assert torch.allclose(less[..., 2], colours[..., 2] - 0.5 * inside[..., 2], atol=1e-5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("LUT_3D_SIZE 2\n0 0 0", "has 1 colours for LUT_3D_SIZE 2"),
        ("LUT_3D_SIZE 900\n", "2 to 65 cubed are read"),
        ("LUT_1D_SIZE 4\n", "one dimension"),
        ("DOMAIN_MAX 4 4 4\nLUT_3D_SIZE 2\n", "another range"),
        ("LUT_3D_SIZE 2\n0 0\n", "none of a .cube file"),
        ("LUT_3D_SIZE 2\n" + "nan 0 0\n" * 8, "no numbers"),
        ("\x00\x01\x02", "none of a .cube file"),
    ],
)
def test_bad_tables_are_one_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "x.cube").write_text(content)
    with pytest.raises(UserError, match=words) as refused:
        read_table(tmp_path / "x.cube")
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="no such"):
        read_table(tmp_path / "missing.cube")
