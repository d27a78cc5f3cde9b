"""The table of options: its page, its limits, and that every flag of the command reaches what it names."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from avatar.cli import app
from avatar.cli.options_page import options_page
from avatar.core.consent import NOT_STATED
from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.named_files import NamesFile, marked
from avatar.core.recipe import Recipe
from avatar.pipelines.option_markers import FileOfSettings
from avatar.pipelines.option_table import Option, options_of
from avatar.pipelines.options import Verb
from avatar.pipelines.verbs import VERBS
from avatar.play import look
from avatar.render.nerf import NerfSettings
from preprocess import request
from tests.recorded import ALIASED, OWN, TOGETHER, Calls, arrived, invoke, record_pipelines, sample

ROOT = Path(__file__).parent.parent


def test_the_page_of_options_is_that_of_the_table() -> None:
    page = (ROOT / "docs" / "options.md").read_text()
    assert page == options_page(), "run: python -m avatar.cli.options_page > docs/options.md"


def test_options_load_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "scipy", "mediapipe", "cv2", "PIL", "avatar.play", "avatar.render", "preprocess")
    code = f"import sys, avatar.cli, avatar.pipelines.arguments; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def option(verb: Verb, name: str) -> Option:
    return next(one for one in options_of(VERBS[verb]) if one.name == name)


def test_limits_are_those_of_what_is_called() -> None:
    assert (option("speak", "size").least, option("speak", "size").most) == (look.LEAST_SIZE, look.MOST_SIZE)
    assert option("speak", "orbit").most == look.MOST_ORBIT
    assert option("preprocess", "consent").default == option("build", "consent").default == NOT_STATED
    assert get_args(option("preprocess", "face").type) == request.FACES
    assert option("motion", "head").most == 2
    with pytest.raises(UserError, match="'head' must lie between 0 and 2"):
        importlib.import_module("avatar.core.recipe").parse(Controls, {"head": 2.1}, "controls")


def test_settings_that_name_a_file_know_it() -> None:
    assert marked(Recipe, NamesFile).keys() == {"encoder", "speech", "background"}
    assert marked(Controls, NamesFile).keys() == {"style", "pose", "expression_from"}
    assert marked(NerfSettings, NamesFile).keys() == {"generic"}
    expected = {
        "preprocess": {"landmarker", "consent"},
        "build": {"recipe", "consent"},
        "evaluate": {"lpips", "face_network", "syncnet", "landmarker", "words"},
    }
    expected |= {
        "render": {"background", "light", "grade", "revoked", "sign", "sign_key", "sign_command"},
        "motion": {"style", "pose", "expression_from", "controls", "revoked"},
    }
    expected["speak"] = expected["motion"] | expected["render"] | {"announce", "footage"}
    expected["dub"] = (expected["render"] - {"background", "light", "grade"}) | {"segments"}
    expected["say"] = (expected["speak"] - {"announce", "footage"}) | {
        "caption_font",
        "voice_files",
        "voice_model",
        "voice_like",
    }
    voice = {"caption_font", "voice_files", "voice_model", "voice_like"}
    expected["present"] = expected["motion"] | expected["render"] | voice
    expected["present"] |= {"script", "sounds", "recording", "fonts", "brand"}
    for name, verb in VERBS.items():
        files = marked(verb, NamesFile).keys() | marked(verb, FileOfSettings).keys()
        options = {one.name for one in options_of(verb) if one.given.role == "option"}
        assert files & options == expected[name]
        assert files - options == {one.name for one in options_of(verb)} - options, "inputs and outputs are files"


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> dict[Verb, Calls]:
    """Recorded calls of the pipeline of each verb."""
    return record_pipelines(monkeypatch)


def command_line(verb: Verb, folder: Path, one: Option, typed: list[str]) -> list[str]:
    """A command with an option given in some way, and beside it what is required."""
    arguments: list[str] = []
    for other in options_of(VERBS[verb]):
        wanted = other.required or (verb == "render" and other.name == "output")
        wanted |= (verb, other.name) == ("dub", "speech") and one.name != "segments"
        if other.name == one.name:
            arguments += typed
        elif wanted and not (verb == "render" and other.name == "output" and one.name == "frames_dir"):
            value = sample(other, folder, verb)[0]
            arguments += [value] if other.given.positional else [other.flags[0], value]
    together = [part for name, value in TOGETHER.get(one.name, {}).items() for part in (f"--{name}", value)]
    return [verb, *arguments, *together]


FLAGS = [
    (verb, one.name, flag)
    for verb in VERBS
    for one in options_of(VERBS[verb])
    for flag in [*([""] if one.given.positional else []), *one.flags, *(f"--{name}" for name in one.aliases)]
]


@pytest.mark.parametrize(("verb", "name", "flag"), FLAGS)
def test_every_flag_reaches_what_it_names(
    verb: Verb, name: str, flag: str, pipelines: dict[Verb, Calls], tmp_path: Path
) -> None:
    one = option(verb, name)
    if one.type is bool:
        typed, expected = [flag], True
    else:
        value, expected = sample(one, tmp_path, verb)
        value, expected = ALIASED.get(flag.removeprefix("--"), (value, expected))
        typed = [flag, value] if flag else [value]
    printed = invoke(*command_line(verb, tmp_path, one, typed))
    if (verb, name) == ("evaluate", "output"):
        assert json.loads((tmp_path / "x.json").read_text())["scores"][0]["value"] == 31.5
        return
    assert arrived(verb, pipelines[verb].last, name) == expected
    if name == "output" and verb != "evaluate":
        assert str(expected) in printed


@pytest.mark.parametrize("verb", list(VERBS))
def test_defaults_are_those_of_the_table(verb: Verb, pipelines: dict[Verb, Calls], tmp_path: Path) -> None:
    options = options_of(VERBS[verb])
    invoke(*command_line(verb, tmp_path, options[0], [sample(options[0], tmp_path, verb)[0]]))
    without = {
        "start": 0.0,
        "background_from": 0.0,
        "budget": None,
        "recipe": "default",
        "controls": 1.0,
    }  # where nothing is something
    without |= {name: OWN.get(name, field.default) for name, field in Controls.model_fields.items()}
    without |= {"seed": 0, "holdout": 0.0, "tracker": "auto", "size": "512"} if verb == "build" else {}
    for one in options:
        if one.given.role == "option":
            expected = without[one.name] if one.default is None and one.name in without else one.default
            assert arrived(verb, pipelines[verb].last, one.name) == expected, one.name


@pytest.mark.parametrize("verb", ["speak", "motion"])
def test_controls_go_over_those_of_the_avatars_recipe(verb: Verb, pipelines: dict[Verb, Calls], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("{head: 0.8, blink: 0.3}")
    plain = [verb, "a.avatar", "s.wav", "-o", tmp_path / "x.csv"]
    if verb == "speak":
        plain[-1] = tmp_path / "x.mp4"
    invoke(*plain)
    assert (pipelines[verb].last["controls"].seed, pipelines[verb].last["controls"].head) == (5, 0.5)
    invoke(*plain, "--seed", 0, "--controls", tmp_path / "c.yaml", "--blink", 0)
    assert pipelines[verb].last["controls"] == Controls(seed=0, head=0.8, blink=0)


def test_folders_of_render_are_named_by_the_take(pipelines: dict[Verb, Calls], tmp_path: Path) -> None:
    for extra, target in ((["-o", "d"], (None, Path("d"))), (["-o", "d", "--fps", 50], (Path("d"), None))):
        invoke("render", "a.avatar", "--track", "t", *extra)
        assert (pipelines["render"].last["target"].out, pipelines["render"].last["target"].frames_dir) == target


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["speak", "a.avatar", "-o", "x.mp4"], "give SPEECH or --drv_aud FILE"),
        (
            ["motion", "a", "s", "--drv_aud", "t", "-o", "x"],
            "'drv_aud' is another name of 'speech', which is given too",
        ),
        (["build", "v.mp4", "-o", "x.avatar", "--budget", "soon"], "--budget: 'soon' is not a duration"),
        (["preprocess", "v.mp4", "-o", "t", "--size", "100"], "--size: must be native, or a multiple of 16"),
        (["speak", "a", "s", "-o", "x.mp4", "--pose", "nearby"], "--pose: must be generated, still or take:DIR"),
        (["speak", "a", "s", "-o", "x.mp4", "--pose", "still", "--drv_pose", "static"], "another name of 'pose'"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UserError), result.output
    assert words in str(result.exception)


def test_what_is_out_of_its_limits_is_wrong_use() -> None:
    for flag, value in (("--mouth-gain", "9"), ("--head", "-1"), ("--orbit", "21"), ("--seed", "x")):
        result = CliRunner().invoke(app, ["speak", "a", "s", "-o", "x.mp4", flag, value])
        assert result.exit_code == 2
        assert flag in result.output
