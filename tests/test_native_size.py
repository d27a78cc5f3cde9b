"""A size of `native`: as many pixels as the source has for the crop; what a Take remembers of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from avatar.core.files import UserError
from avatar.core.recipe import Recipe
from avatar.core.take import open_take
from avatar.pipelines.options import Build, Preprocess
from avatar.pipelines.takes import make_take
from preprocess.actor import film_actor
from preprocess.request import TakeRequest


@pytest.mark.parametrize(("side", "size"), [(700.9, 688), (1500.0, 1024), (30.0, 64), (512.0, 512)])
def test_it_is_the_crops_own(side: float, size: int) -> None:
    assert TakeRequest(size="native").size_of(side) == size
    assert TakeRequest(size=256).size_of(side) == 256


def test_a_take_has_the_sources_pixels(tmp_path: Path) -> None:
    """The actor fills 192 px of the picture; a Take of the usual size would be enlarged."""
    film_actor(tmp_path / "a.mp4", seconds=2.0, seed=5, size=192)
    take = make_take(tmp_path / "a.mp4", tmp_path / "a.take", TakeRequest(size="native"))
    assert take.camera.size == int(take.crop[2]) // 16 * 16
    assert 176 <= take.camera.size <= 192
    assert open_take(tmp_path / "a.take").request["size"] == "native"
    again = make_take(tmp_path / "a.mp4", tmp_path / "a.take", TakeRequest(size="native"))
    assert again.camera.size == take.camera.size
    with pytest.raises(UserError, match="size"):
        make_take(tmp_path / "a.mp4", tmp_path / "a.take", TakeRequest(size=256))


def test_options_and_recipes_know_it() -> None:
    assert Recipe(size="native").size == "native"
    assert Preprocess(video="a.mp4", output="a.take", size=640).size == "640"
    assert Build(source="a.mp4", output="a.avatar", size="native").size == "native"
    for wrong in (100, 2048, "large", -16):
        with pytest.raises(ValidationError, match="native, or a multiple of 16"):
            Preprocess(video="a.mp4", output="a.take", size=wrong)
