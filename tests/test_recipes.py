"""Recipes: those that ship, other projects' names, and errors of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.recipe import load_recipe, parse
from avatar.learn.settings import MotionSettings
from avatar.pipelines.build import build
from avatar.render.nerf import NerfSettings

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid_and_explained(path: Path) -> None:
    recipe = load_recipe(path)
    parse(NerfSettings, recipe.renderer, str(path))
    parse(Controls, recipe.controls, str(path))
    parse(MotionSettings, recipe.motion, str(path))
    assert any(path.stem in page.read_text() for page in path.parent.glob("*.md"))


def test_other_projects_names_are_known(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "renderer: nerf\ndrv_aud: a.wav\nbg_img: white\nmouth_amp: 0.4\nblink_mode: none\nlle_percent: 0.2\n"
        "drv_pose: static\ndrv_style: b.mp4\ncfg_scale: 1.5\ncontrols: {head: 0.5}\n"
    )
    recipe = load_recipe(tmp_path / "r.yaml")
    assert (recipe.renderer, recipe.speech, recipe.background) == ({"kind": "nerf"}, "a.wav", "white")
    controls = parse(Controls, recipe.controls, "r")
    assert (controls.mouth_gain, controls.blink, controls.lle, controls.head) == (0.4, 0, 0.2, 0.5)
    assert (controls.pose, controls.style, controls.expression_gain) == ("still", "b.mp4", 1.5)
    assert parse(Controls, {"drv_pose": "x.take"}, "c").followed == "x.take"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mouth_am: 1", "r.yaml: unknown key 'mouth_am'; did you mean 'mouth_amp'"),
        ("train_siz: 1", "r.yaml: unknown key 'train_siz'; did you mean 'train_size'"),
        ("budget_seconds: much", "r.yaml: 'budget_seconds' input should be a valid number"),
        ("mouth_amp: 1\ncontrols: {mouth_gain: 1}", "'mouth_amp' is another name of 'controls.mouth_gain'"),
        ("mouth_amp: 1\ncontrols: 3", "'controls' must be a section"),
        ("drv_aud: a\nspeech: b", "'drv_aud' is another name of 'speech'"),
        ("renderer: {kind: nerf, levls: 4}", "r.yaml, renderer: unknown key 'levls'; did you mean 'levels'"),
        ("renderer: {kind: nerf, levels: many}", "r.yaml, renderer: 'levels' input should be a valid integer"),
        ("renderer: {kind: nerf, backend: cuda}", "r.yaml, renderer: 'backend' input should be"),
        ("motion: {calibration: none}", "r.yaml, motion: 'calibration' input should be 'regression' or 'adversarial'"),
        ("motion: {calibrate: adversarial}", "r.yaml, motion: unknown key 'calibrate'; did you mean 'calibration'?"),
        ("controls: {lle: 7}", "r.yaml, controls: 'lle' input should be less"),
        ("renderer: nerv", "renderer 'nerv' is unknown; choose one of gaussian, nerf"),
        ("drv_aud: nowhere.wav", "nowhere.wav: no such sound file"),
    ],
)
def test_recipes_that_are_wrong_say_where(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        build(tmp_path / "x.take", tmp_path / "x.avatar", recipe=load_recipe(tmp_path / "r.yaml"))
    assert words in str(error.value)
