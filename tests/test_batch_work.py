"""What a worker does with a job: each option reaches what it names, URLs are fetched, folders are whole."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar.batch import storage, work
from avatar.batch.jobs import Job, Need
from avatar.core.files import UserError
from avatar.core.picture_folder import save_each
from avatar.core.progress import no_progress
from avatar.pipelines.option_table import Option, options_of
from avatar.pipelines.options import Build, Render, Speak, Verb
from avatar.pipelines.verbs import VERBS
from tests.recorded import OWN, TOGETHER, Calls, arrived, record_pipelines, sample

OPTIONS = [(verb, one) for verb in VERBS for one in options_of(VERBS[verb])]


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> dict[Verb, Calls]:
    """Recorded calls of the pipeline of each verb."""
    work._load.cache_clear()
    return record_pipelines(monkeypatch)


def required(verb: Verb, folder: Path) -> dict[str, Any]:
    found = [one for one in options_of(VERBS[verb]) if one.required or one.name in ("output", "speech")]
    return {one.name: sample(one, folder, verb)[0] for one in found}


@pytest.mark.parametrize(("verb", "one"), OPTIONS, ids=[f"{verb}-{one.name}" for verb, one in OPTIONS])
def test_every_option_reaches_what_it_names(
    verb: Verb, one: Option, pipelines: dict[Verb, Calls], tmp_path: Path
) -> None:
    value, expected = (True, True) if one.type is bool else sample(one, tmp_path, verb)
    values = required(verb, tmp_path) | TOGETHER.get(one.name, {}) | {one.name: value}
    if one.name == "segments":
        del values["speech"]
    work.RUN[verb](VERBS[verb].model_validate(values), False, no_progress)
    if (verb, one.name) == ("evaluate", "output"):
        assert json.loads(Path(value).read_text())["scores"][0]["value"] == 31.5
    else:
        assert arrived(verb, pipelines[verb].last, one.name) == expected


@pytest.mark.parametrize("verb", ["speak", "motion"])
def test_controls_go_over_those_of_the_avatars_recipe(verb: Verb, pipelines: dict[Verb, Calls], tmp_path: Path) -> None:
    plain = required(verb, tmp_path)
    work.RUN[verb](VERBS[verb].model_validate(plain), False, no_progress)
    controls = pipelines[verb].last["controls"]
    assert (controls.seed, controls.head) == (OWN["seed"], OWN["head"])
    work.RUN[verb](
        VERBS[verb].model_validate(plain | {"controls": {"seed": 0, "blink": {"0": 1, "2.5": 0}}}), False, no_progress
    )
    controls = pipelines[verb].last["controls"]
    assert (controls.seed, controls.head, controls.blink) == (0, OWN["head"], {0: 1, 2.5: 0})


def test_files_at_urls_are_fetched(tmp_path: Path) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "p.png")
    (tmp_path / "a.take").mkdir()
    (tmp_path / "a.take" / "take.json").write_text("{}")
    store = f"memory://{tmp_path.name}"
    storage.send(tmp_path / "p.png", f"{store}/p.png")
    storage.send(tmp_path / "a.take", f"{store}/a.take")
    options = {"background": f"{store}/p.png", "controls": {"pose": f"take:{store}/a.take", "head": 1}}
    files = {"background": f"{store}/p.png", "controls.pose": f"{store}/a.take"}
    inputs = {"avatar": f"{store}/a.avatar", "speech": f"{store}/p.png"}
    outputs = {"output": f"{store}/films/o.mp4"}
    job = Job("o.mp4", "speak", 1, "", inputs, outputs, options, Need(), 60.0, files=files)
    with work.local_copies(job) as values:
        assert Path(values["background"]).read_bytes() == (tmp_path / "p.png").read_bytes()
        assert Path(values["speech"]).name == "p.png"
        assert values["speech"] != values["background"], "files of one name do not meet"
        pose = values["controls"]["pose"]
        assert pose.startswith("take:/")
        assert Path(pose.removeprefix("take:"), "take.json").read_text() == "{}"
        assert values["avatar"] == inputs["avatar"], "is fetched where it is not loaded yet"
        Path(values["output"]).write_text("film")
    assert not Path(values["background"]).exists()
    assert storage.fetch(outputs["output"], tmp_path).read_text() == "film"
    assert job.options["background"] == f"{store}/p.png"


def draw(call: dict[str, Any]) -> int:
    """Write a picture where the pipeline does."""
    out = call["out"] if "out" in call else call["target"].frames_dir
    return sum(1 for _ in save_each([np.zeros((2, 2, 3), np.uint8)], out))


@pytest.mark.parametrize("verb", ["speak", "render"])
def test_folders_of_pictures_are_whole_and_nothing_else(
    verb: Verb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pipelines: dict[Verb, Calls]
) -> None:
    name = {"speak": "speak", "render": "reenact"}[verb]
    home = importlib.import_module("avatar.pipelines.speak")
    recorded = getattr(home, name)

    def drawing(*arguments: Any, **named: Any) -> int:
        recorded(*arguments, **named)
        return draw(pipelines[verb].last)

    monkeypatch.setattr(home, name, drawing)
    values = required(verb, tmp_path) | {"output": str(tmp_path / "frames")}
    options = VERBS[verb].model_validate(values)
    work.RUN[verb](options, False, no_progress)
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["000000.png"]
    with pytest.raises(UserError, match="exists, and this batch did not make it"):
        work.RUN[verb](options, False, no_progress)
    shutil.copy(tmp_path / "frames" / "000000.png", tmp_path / "frames" / "000001.png")  # of a longer run
    work.RUN[verb](options, True, no_progress)
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["000000.png"]
    (tmp_path / "frames" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds mine\.txt"):
        work.RUN[verb](options, True, no_progress)
    assert (tmp_path / "frames" / "mine.txt").exists()
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


def test_only_takes_of_this_batch_are_made_anew(pipelines: dict[Verb, Calls], tmp_path: Path) -> None:
    clip, take = tmp_path / "clip.mp4", tmp_path / "x.take"
    clip.touch()
    take.mkdir()
    options = Build(source=str(clip), output=str(tmp_path / "x.avatar"))
    work.RUN["build"](options, False, no_progress)
    assert take.exists()
    work.RUN["build"](Build(source=str(take), output=str(tmp_path / "x.avatar")), True, no_progress)
    assert take.exists(), "the source itself"
    work.RUN["build"](options, True, no_progress)
    assert not take.exists()


def test_a_style_is_taken_anew_when_its_clip_may_have_changed(pipelines: dict[Verb, Calls], tmp_path: Path) -> None:
    kept = tmp_path / "o.style.take"
    kept.mkdir()
    options = Speak(avatar="a", speech="s", output=str(tmp_path / "o.mp4"), style="c.mp4")
    work.RUN["speak"](options, False, no_progress)
    assert kept.exists()
    work.RUN["speak"](options, True, no_progress)
    assert not kept.exists()


def test_render_makes_a_film_and_frames(pipelines: dict[Verb, Calls], tmp_path: Path) -> None:
    values = {"avatar": "a", "take": "t", "output": str(tmp_path / "o.mp4")}
    work.RUN["render"](Render(**values), False, no_progress)
    target = pipelines["render"].last["target"]
    assert (target.out, target.frames_dir) == (tmp_path / "o.mp4", None)
