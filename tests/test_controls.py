"""One way to the controls that an avatar speaks with: flags over a file over its recipe over the defaults."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from avatar.core.avatar_file import Avatar
from avatar.core.controls import Controls, resolve_controls
from avatar.core.files import UserError
from avatar.core.recipe import Recipe, to_yaml
from tests.test_core import make_avatar


def built_with(**controls: object) -> Avatar:
    return replace(make_avatar(), recipe=to_yaml(Recipe(controls=controls)))


def test_the_recipes_controls_are_honoured() -> None:
    assert resolve_controls(built_with(head=0.5)).head == 0.5
    assert resolve_controls(make_avatar()) == Controls()


def test_each_layer_goes_over_the_one_below(tmp_path: Path) -> None:
    avatar = built_with(head=0.5, blink=0.2, seed=7)
    (tmp_path / "c.yaml").write_text("blink: 2\ngaze: 0.5\n")
    found = resolve_controls(avatar, tmp_path / "c.yaml", {"gaze": 0.1, "seed": 0})
    assert (found.head, found.blink, found.gaze, found.seed) == (0.5, 2, 0.1, 0)
    assert resolve_controls(avatar, {"blink": 2}).blink == 2
    assert resolve_controls(avatar, {"blink_mode": "none"}).blink == 0  # another project's name


@pytest.mark.parametrize("control", [{"style": "/etc/passwd"}, {"pose": "take:/somewhere"}])
def test_an_avatars_recipe_may_not_name_files(control: dict[str, str]) -> None:
    with pytest.warns(UserWarning, match="the avatar's recipe names a file"):
        found = resolve_controls(built_with(head=0.5, **control))
    assert (found.style, found.pose, found.head) == (None, "generated", 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_controls(built_with(pose="still")).pose == "still"
    own = resolve_controls(make_avatar(), control)
    assert own.style == control.get("style")


def test_wrong_controls_say_where(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the avatar's recipe, controls: 'head' must lie between 0 and 2"):
        resolve_controls(built_with(head=9))
    (tmp_path / "c.yaml").write_text("head: 9\n")
    with pytest.raises(UserError, match=r"c\.yaml: 'head' must lie between 0 and 2"):
        resolve_controls(make_avatar(), tmp_path / "c.yaml")
    with pytest.raises(UserError, match="controls: 'lle'"):
        resolve_controls(make_avatar(), flags={"lle": 9})
