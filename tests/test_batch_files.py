"""Files that settings name, wherever they stand: resolved, waited for, checked, and digested for the address."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from avatar.batch.expand import read_batch
from avatar.batch.plan import make_plan
from tests.test_batch import ONE, addresses, make_studio, problems, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_studio(tmp_path)


BUILD = {"kind": "build", "source": "clip.mp4", "output": "c.avatar"}
SPEAK = {"kind": "speak", "avatar": "anna.avatar", "speech": "one.wav", "output": "o.mp4"}
NAMED = [
    (BUILD | {"recipe": {"speech": "FILE"}}, "recipe.speech"),
    (BUILD | {"recipe": {"drv_aud": "FILE"}}, "recipe.speech"),
    (BUILD | {"recipe": {"background": "FILE"}}, "recipe.background"),
    (BUILD | {"recipe": {"bg_img": "FILE"}}, "recipe.background"),
    (BUILD | {"recipe": {"encoder": "FILE"}}, "recipe.encoder"),
    (BUILD | {"recipe": {"renderer": {"kind": "nerf", "generic": "FILE"}}}, "recipe.renderer.generic"),
    (BUILD | {"recipe": {"drv_style": "FILE"}}, "recipe.controls.style"),
    (BUILD | {"recipe": {"controls": {"pose": "take:FILE"}}}, "recipe.controls.pose"),
    (BUILD | {"recipe": {"controls": {"drv_pose": "FILE"}}}, "recipe.controls.pose"),
    (SPEAK | {"controls": {"style": "FILE"}}, "controls.style"),
    (SPEAK | {"controls": {"drv_style": "FILE"}}, "controls.style"),
    (SPEAK | {"controls": {"pose": "take:FILE"}}, "controls.pose"),
    (SPEAK | {"controls": {"drv_pose": "FILE"}}, "controls.pose"),
    (SPEAK | {"style": "FILE"}, "style"),
    (SPEAK | {"pose": "take:FILE"}, "pose"),
    (SPEAK | {"background": "FILE"}, "background"),
    (SPEAK | {"kind": "motion", "output": "o.motion", "style": "FILE"}, "style"),
    ({"kind": "preprocess", "video": "clip.mp4", "output": "c.take", "landmarker": "FILE"}, "landmarker"),
    ({"kind": "evaluate", "avatar": "anna.avatar", "take": "clip.mp4", "output": "f.json", "lpips": "FILE"}, "lpips"),
]
"""Jobs that name a file, and the key that does: by this project's names and by those of others."""


def naming(entry: dict, file: str) -> dict:
    return json.loads(json.dumps(entry).replace("FILE", file))


@pytest.mark.parametrize(("entry", "key"), NAMED)
def test_files_that_settings_name_are_inputs(folder: Path, entry: dict, key: str) -> None:
    Image.new("L", (1, 1)).save(folder / "named.png")
    picture = (folder / "named.png").read_bytes()
    text = json.dumps({"jobs": [naming(entry, "named.png")]})
    job = read_batch(write(folder, text)).jobs[0]
    assert job.files == {key: str(folder / "named.png")}
    assert not [found for found in problems(folder, text) if "does not exist" in found]
    (before,) = addresses(folder, text)
    assert addresses(folder, text) == [before]
    (folder / "named.png").write_bytes(picture + b"changed")
    assert addresses(folder, text) != [before], "another content is another job"
    os.rename(folder / "named.png", folder / "renamed.png")
    (folder / "renamed.png").write_bytes(picture)
    assert addresses(folder, text.replace("named.png", "renamed.png")) == [before], "another name is not"
    assert f"{key}: {folder / 'named.png'} does not exist, and no job makes it" in "".join(problems(folder, text))


@pytest.mark.parametrize(("entry", "key"), NAMED)
def test_jobs_that_make_named_files_are_waited_for(folder: Path, entry: dict, key: str) -> None:
    maker = {"kind": "speak", "avatar": "bert.avatar", "speech": "two.wav", "output": "made/named.mp4"}
    plan, wrong = make_plan(write(folder, json.dumps({"jobs": [naming(entry, "made/named.mp4"), maker]})))
    assert not wrong
    assert plan.waits[entry["output"]] == {"made/named.mp4"}


def test_a_colour_is_no_file(folder: Path) -> None:
    for colour in ("white", "'#20a040'", "transparent", "'hsl(120, 50%, 50.5%)'"):
        job = read_batch(write(folder, ONE.replace("o.mp4", "o.mov") + f", background: {colour}}}")).jobs[0]
        assert not job.files
        assert job.options["background"] == colour.strip("'")
