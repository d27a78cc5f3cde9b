"""Formats are read forward: files of earlier versions, kept as bytes in tests/data, and answers to newer ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from avatar.core import avatar_file
from avatar.core.avatar_file import load_avatar, save_avatar
from avatar.core.files import UserError
from avatar.core.motion_space import load_motion
from avatar.core.speech_model import KernelRegression
from avatar.core.versions import Format, check_version, convert, parse_tag
from avatar.pipelines.upgrade import upgrade

DATA = Path(__file__).parent / "data"


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def test_an_avatar_of_format_8_is_read() -> None:
    avatar = load_avatar(DATA / "format_8.avatar")
    assert avatar.style.amplitude_gain == 1.25
    assert avatar.style.lag_seconds == 0.04
    assert len(avatar.style.own) == 4
    assert isinstance(avatar.speech.decoder, KernelRegression)
    assert avatar.speech.features == "whisper"
    assert avatar.speech.voice is not None
    assert avatar.speech.voice.shape == (4, 10)
    assert (avatar.crop, avatar.trained_on, avatar.matte.numel()) == ((1, 2, 16), None, 0)
    assert avatar.provenance["consent"] == "own clip"
    assert avatar.frame.tolist() == [1, 2, 3]


def test_upgrade_rewrites_it_in_the_present_format(tmp_path: Path) -> None:
    path = tmp_path / "a.avatar"
    # its frame is no picture; without one there is nothing to be matted
    save_avatar(replace(load_avatar(DATA / "format_8.avatar"), frame=torch.zeros(0, dtype=torch.uint8)), path)
    assert metadata(path)["format"] == avatar_file.FORMAT.tag == "avatar/9"
    assert upgrade(path) == f"{path}: is of format avatar/9 already"
    again, first = load_avatar(path), load_avatar(DATA / "format_8.avatar")
    assert torch.equal(again.speech.lid_slope, first.speech.lid_slope)
    assert torch.equal(again.style.own.expression, first.style.own.expression)


def test_upgrade_makes_the_matte_of_an_avatars_frame(avatar_file: Path, tmp_path: Path) -> None:
    path, built = tmp_path / "a.avatar", load_avatar(avatar_file)
    save_avatar(replace(built, matte=torch.zeros(0, 0, dtype=torch.uint8)), path)
    assert "avatar/9 -> avatar/9" in upgrade(path)
    assert torch.equal(load_avatar(path).matte, built.matte)
    assert 0.1 < (built.matte > 127).float().mean() < 0.9


def test_a_motion_of_format_1_is_read(tmp_path: Path) -> None:
    motion = load_motion(DATA / "format_1.motion")
    assert (len(motion), motion.fps, motion.space_id) == (4, 25.0, "abc")
    path = Path(shutil.copy(DATA / "format_1.motion", tmp_path))
    assert "is of format motion/1 already" in upgrade(path)


def test_other_files_are_not_upgraded(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(UserError, match="is no avatar, motion or take"):
        upgrade(tmp_path / "x.txt")
    with pytest.raises(UserError, match="is not a take"):
        upgrade(tmp_path)


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ({"format": "avatar/10", "reader": "0.3.0"}, "avatar-builder 0.3.0 and later read it"),
        ({"format": "avatar/12"}, "a newer avatar-builder reads it"),
        ({"format": "avatar/7"}, "cannot be converted to avatar/9; build it again from its clip"),
    ],
)
def test_versions_that_cannot_be_read_say_what_does(tmp_path: Path, note: dict[str, str], words: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "a.avatar", note)
    with pytest.raises(UserError, match=words):
        load_avatar(tmp_path / "a.avatar")


def test_two_versions_back_are_converted_step_by_step(tmp_path: Path) -> None:
    kind = Format("thing", 5, "0.2.0", "make it again", {3: lambda old: [*old, 4], 4: lambda old: [*old, 5]})
    assert convert(kind, 3, [3]) == [3, 4, 5]
    assert convert(kind, 5, ["as it is"]) == ["as it is"]
    check_version(kind, 3, tmp_path)
    with pytest.raises(UserError, match="thing/2, which cannot be converted to thing/5; make it again"):
        check_version(kind, 2, tmp_path)
    assert [parse_tag(kind, tag) for tag in ("thing/4", "other/4", "thing/x", None)] == [4, None, None, None]
