"""The command: every verb does its work; errors and notes are lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

import avatar.cli
from avatar.cli import app, make
from avatar.cli.commands import PLACES, Commands
from avatar.core.avatar_file import load_avatar, save_avatar
from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.recipe import Recipe, to_yaml
from avatar.core.take import open_take
from tests.conftest import Filmed
from tests.recorded import invoke, record
from tests.test_core import make_avatar

ROOT, DATA = Path(__file__).parent.parent, Path(__file__).parent / "data"


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of the command, in this process."""
    monkeypatch.setattr(sys, "argv", ["avatar", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        avatar.cli.main()
    return int(end.value.code or 0)


def test_a_recipe_that_names_a_file_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = to_yaml(Recipe(controls={"style": "/etc/passwd", "pose": "take:/root", "head": 0.25}))
    save_avatar(replace(make_avatar(), recipe=recipe), tmp_path / "a.avatar")
    calls = record(monkeypatch, "avatar.pipelines.export.export_motion", lambda _: 1)
    usual = warnings.showwarning
    assert run_main(monkeypatch, "motion", tmp_path / "a.avatar", "s.wav", "-o", tmp_path / "m.motion") == 0
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "note: the avatar's recipe names a file (pose: take:/root); name it yourself",
        "note: the avatar's recipe names a file (style: /etc/passwd); name it yourself",
    ]
    assert calls.last["controls"] == Controls(head=0.25)
    assert warnings.showwarning is usual


def test_warnings_of_others_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def examine() -> list[Any]:
        warnings.warn("no good", stacklevel=1)
        return []

    monkeypatch.setattr("avatar.pipelines.doctor.examine", examine)
    with pytest.warns(UserWarning, match="no good"):
        assert run_main(monkeypatch, "doctor") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x.mp4: has no\npicture"), 1, "error: x.mp4: has no picture"),
        (FileNotFoundError(2, "No such file", "x.mp4"), 1, "error: x.mp4: No such file"),
        (KeyboardInterrupt(), 130, "stopped; run the same command again to go on"),
    ],
)
def test_errors_are_a_line_and_a_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("avatar.pipelines.doctor.examine", fail)
    assert run_main(monkeypatch, "doctor") == code
    assert capsys.readouterr().err.splitlines()[-1] == line


def test_upgrade_goes_on_after_a_file_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one.motion", "two.motion"):
        shutil.copy(DATA / "format_1.motion", tmp_path / name)
    (tmp_path / "bad.avatar").write_text("x")
    files = [tmp_path / name for name in ("one.motion", "bad.avatar", "none.avatar", "two.motion")]
    assert run_main(monkeypatch, "upgrade", *files) == 1
    printed = capsys.readouterr()
    assert [line.split(":")[0] for line in printed.out.splitlines()] == [str(files[0]), str(files[3])]
    assert all(line.endswith("is of format motion/1 already") for line in printed.out.splitlines())
    errors = printed.err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("error: ") for line in errors)
    assert all(path.name in line for path, line in zip(files[1:3], errors, strict=True))
    assert run_main(monkeypatch, "upgrade", files[0]) == 0
    assert not capsys.readouterr().err


def test_pretrain_renderer_passes_all_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.yaml").write_text("renderer: {kind: nerf, levels: 6, generic: old.safetensors, lora_rank: 2}")
    monkeypatch.setattr("avatar.pipelines.pretrain_renderer.find_people", lambda corpus, progress: [corpus, "other"])
    calls = record(monkeypatch, "avatar.pipelines.pretrain_renderer.pretrain_renderer")
    flags = ["--steps", 7, "--size", 64, "--seed", 3, "--device", "cuda", "--recipe", tmp_path / "r.yaml"]
    assert "trained on 2 people" in invoke("pretrain-renderer", "-o", "g.safetensors", "--corpus", "clips", *flags)
    call = calls.last
    assert (call["takes"], call["out"]) == ([Path("clips"), "other"], Path("g.safetensors"))
    assert (call["steps"], call["size"], call["seed"], call["device"]) == (7, 64, 3, "cuda")
    assert (call["settings"].levels, call["settings"].generic, call["settings"].lora_rank) == (6, "", 0)


def test_a2m_passes_all_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = record(monkeypatch, "avatar.learn.corpus.make_corpus")
    invoke("a2m", "corpus", "-o", tmp_path, "--count", 120, "--seed", 2, "--no-flite", "--workers", 3)
    call = made.last
    assert (call["folder"], call["count"]) == (tmp_path, 120)
    assert (call["seed"], call["flite"], call["workers"]) == (2, False, 3)

    trained = record(monkeypatch, "avatar.learn.pretrain.pretrain", lambda _: {"width": 0.5})
    printed = invoke("a2m", "pretrain", tmp_path, "-o", "e", "--steps", 5, "--features", "hubert:x", "--seed", 2)
    assert "width 0.5" in printed
    call = trained.last
    assert (call["corpus"], call["out"]) == (tmp_path, Path("e"))
    assert (call["steps"], call["features"], call["seed"]) == (5, "hubert:x", 2)

    written = record(monkeypatch, "avatar.pipelines.speech_encoder.write_synthetic_samples", lambda _: 60)
    assert "60 utterances" in invoke("a2m", "samples", tmp_path, "-o", "s")
    assert (written.last["corpus"], written.last["out"]) == (tmp_path, Path("s"))


def test_a2m_train_takes_takes_or_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = record(monkeypatch, "avatar.pipelines.speech_encoder.finetune_on_takes", lambda _: 4)
    made = record(
        monkeypatch, "avatar.pipelines.speech_encoder.preprocess_corpus", lambda _: (Path("takes"), ["x.mp4: no face"])
    )
    assert "fine-tuned on 4 takes" in invoke("a2m", "train", "-o", "e", tmp_path, "--encoder", "old", "--seed", 2)
    call = fitted.last
    assert (call["folder"], call["out"], call["start"], call["seed"]) == (tmp_path, Path("e"), Path("old"), 2)
    assert "left out  x.mp4: no face" in invoke("a2m", "train", "-o", "e", "--corpus", tmp_path)
    assert (made.last["clips"], fitted.last["folder"]) == (tmp_path, Path("takes"))
    assert isinstance(CliRunner().invoke(app, ["a2m", "train", "-o", "e"]).exception, UserError)

    checked = record(monkeypatch, "avatar.pipelines.speech_encoder.cross_validate", lambda _: iter(["row one", "mean"]))
    assert invoke("a2m", "check", tmp_path, "--folds", 3, "--encoder", "old", "--seed", 2) == "row one\nmean\n"
    call = checked.last
    assert (call["folder"], call["folds"], call["start"], call["seed"]) == (tmp_path, 3, Path("old"), 2)


def test_doctor_names_what_is_missing_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = invoke("doctor")
    for name in ("avatar-builder", "native ops", "torch", "NeRF backends", "ffmpeg", "OpenCV", "shipped weights"):
        assert f"ok      {name}" in printed
    for name in ("avatar", "take", "motion"):
        assert re.search(rf"writes .*\b{name}/\d", printed)
    monkeypatch.setattr("avatar.core.media.ffmpeg_binary", lambda: "/no/ffmpeg")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "missing ffmpeg" in result.output


def test_the_version_is_the_packages() -> None:
    assert invoke("--version") == f"avatar-builder {version('avatar-builder')}\n"


def test_the_help_says_of_each_command_what_the_command_itself_says() -> None:
    """And no module has a command that the table of avatar/cli/commands.py lacks."""
    commands, files = Commands({}), Path(avatar.cli.__file__).parent.glob("*.py")
    for name, place in PLACES.items():
        assert commands[name].name == name
        assert " ".join(commands[name].help.split("\n\n")[0].split()) == place.line, name
    modules = {path.stem for path in files if "typer.Typer(" in path.read_text()} - {"__init__"}
    assert modules == {place.module for place in PLACES.values()}
    for module in modules:
        held = {
            name: one
            for name, one in vars(import_module(f"avatar.cli.{module}")).items()
            if isinstance(one, typer.Typer)
        }
        groups = {place.group for place in PLACES.values() if place.module == module and place.group}
        single = {name for name, place in PLACES.items() if place.module == module and not place.group}
        assert set(held) == groups | ({"app"} if single else set())
        if single:
            assert set(typer.main.get_group(held["app"]).commands) == single


def test_the_help_loads_no_command() -> None:
    code = "import sys, avatar.cli; sys.argv = ['avatar', '--help']\ntry: avatar.cli.main()\nexcept SystemExit: pass\n"
    code += (
        "print([name for name in ('pydantic', 'yaml', 'safetensors.torch', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "preprocess" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_motion_space_of_several_takes(actor: Filmed, tmp_path: Path) -> None:
    for name in ("anna", "bert", "cleo"):
        (tmp_path / "takes" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "takes" / name).symlink_to(actor.take.root)
    printed = invoke("motion-space", "build", tmp_path / "takes", "-o", tmp_path / "m.safetensors", "--modes", 4)
    assert printed == f"{tmp_path / 'm.safetensors'}: 4 modes from 3 takes\n"
    from avatar.core.motion_space import load_space

    assert load_space(tmp_path / "m.safetensors").modes == 4
    rows = invoke("motion-space", "check", tmp_path / "takes", "--modes", 4).splitlines()
    assert [row.split()[0] for row in rows] == ["anna", "bert", "cleo"]
    assert all(float(row.split()[-1].rstrip("%")) > 50 for row in rows), "their own copies are known"


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of the package's recording."""
    import torch

    from avatar.core.media import SAMPLE_RATE, read_speech, write_wav

    path = tmp_path_factory.mktemp("speech") / "one.wav"
    recording = ROOT / "avatar" / "assets" / "actor_speech.flac"
    write_wav(path, torch.cat(list(read_speech(recording)))[:SAMPLE_RATE])
    return path


def test_speak_makes_a_film(avatar_file: Path, speech: Path, tmp_path: Path) -> None:
    from avatar.core.media import probe

    out = tmp_path / "o.mp4"
    printed = invoke("speak", avatar_file, speech, "-o", out, "--size", 96, "--fps", 10, "--quality", "draft")
    assert printed.splitlines()[-1] == f"{out}: 10 frames, {out.stat().st_size / 1000:.1f} kB"
    info = probe(out)
    assert (info.width, info.fps, info.has_audio) == (96, 10, True)


def test_render_draws_the_held_out_frames(avatar_file: Path, actor: Filmed, tmp_path: Path) -> None:
    frames, film = tmp_path / "frames", tmp_path / "f.mp4"
    printed = invoke(
        "render", avatar_file, "--track", actor.take.root, "--frames-dir", frames, "-o", film, "--size", 64
    )
    assert printed.splitlines()[-1].startswith(f"{len(actor.take.test)} frames to {frames} and {film}, ")
    assert [path.name for path in sorted(frames.iterdir())] == [f"{index:06d}.png" for index in actor.take.test]
    assert film.stat().st_size > 1000


def test_motion_and_export(avatar_file: Path, speech: Path, tmp_path: Path) -> None:
    from avatar.core.motion_space import load_motion
    from avatar.pipelines.export import read_splats

    invoke("motion", avatar_file, speech, "-o", tmp_path / "m.motion", "--head", 0, "--blink", 0)
    still = load_motion(tmp_path / "m.motion")
    assert len(still) == 25
    invoke("motion", avatar_file, speech, "-o", tmp_path / "n.motion", "--head", 2, "--seed", 1)
    moving = load_motion(tmp_path / "n.motion")
    assert still.translation.std(0).max() < 0.1 * moving.translation.std(0).max()
    invoke("motion", avatar_file, speech, "-o", tmp_path / "m.csv", "--layout", "arkit")
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 26
    assert re.search(r"splats, \d+\.\d [kM]B\n$", invoke("export", avatar_file, "-o", tmp_path / "rest.ply"))
    moved = ["--motion", tmp_path / "n.motion", "--frame", 20]
    invoke("export", avatar_file, "-o", tmp_path / "moved.ply", *moved)
    assert (read_splats(tmp_path / "rest.ply")["x"] != read_splats(tmp_path / "moved.ply")["x"]).any()


@pytest.fixture(scope="module")
def small_clip(actor: Filmed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first four seconds of the actor's film, at 192 px."""
    from avatar.core.media import ffmpeg_binary

    path = tmp_path_factory.mktemp("clip") / "actor.mp4"
    command = [ffmpeg_binary(), "-v", "error", "-i", str(actor.video), "-t", "4", "-vf", "scale=192:192", str(path)]
    subprocess.run(command, check=True)
    return path


def test_the_whole_way_by_demo(small_clip: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def film(out: Path, *, seconds: float) -> None:
        shutil.copy(small_clip, out)

    monkeypatch.setattr("avatar.pipelines.demo.film_actor", film)
    monkeypatch.setattr("avatar.pipelines.demo.Recipe", partial(Recipe, size=128))
    printed = invoke("demo", "--folder", tmp_path, "--speech", speech, "--budget", "1s")
    printed, _, coming = printed.partition("\n\n")
    assert f" speak {tmp_path / 'actor.avatar'} hello.wav" in coming
    made = {line[:22].strip(): Path(line[22:].strip()) for line in printed.splitlines()[-4:]}
    assert set(made) == {"avatar", "video", "report of the clip", "evaluation"}
    assert all(path.stat().st_size > 1000 for path in made.values())
    assert load_avatar(made["avatar"]).trained_on is not None
    assert "held out, never trained on" in made["evaluation"].read_text()


def test_a_film_is_opened_on_a_desktop_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = tmp_path / "opened"
    player = tmp_path / ("open" if sys.platform == "darwin" else "xdg-open")
    player.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(start(*a, **k)) or started[-1])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    make.show_film(Path("film.mp4"))
    assert not started
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    make.show_film(Path("film.mp4"))
    assert started[0].wait(timeout=60) == 0
    assert opened.read_text() == "film.mp4\n"


def test_takes_are_made_exported_and_imported(
    small_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["preprocess", small_clip, "-o", tmp_path / "a.take", "--size", 128, "--end", "3.6s", "--holdout", 0.2]
    printed = invoke(*command)
    take = open_take(tmp_path / "a.take")
    assert (take.length, len(take.test), take.camera.size) == (90, 18, 128)
    assert f"{take.root}: 90 frames at 25 fps" in printed

    assert invoke(*command, "--consent", "signed") == printed, "the same take"
    assert open_take(take.root).source["consent"] == "signed"
    build = ["build", take.root, "-o", tmp_path / "a.avatar"]
    for wrong, words in (
        ([*command, "--consent", "nobody"], "states the consent 'signed', not 'nobody'"),
        ([*command, "--face", "left"], "was made with face auto"),
        ([*build, "--face", "left"], "--face"),
        ([*build, "--consent", "nobody"], "states the consent 'signed', not 'nobody'"),
    ):
        assert run_main(monkeypatch, *wrong) == 1
        assert words in capsys.readouterr().err.splitlines()[-1]

    assert "adnerf layout" in invoke("take", "export", take.root, "-o", tmp_path / "data")
    assert (tmp_path / "data" / "transforms_train.json").is_file()
    printed = invoke("take", "import", tmp_path / "data", "-o", tmp_path / "b.take", "--holdout", 0.1)
    assert len(open_take(tmp_path / "b.take").test) == round(0.1 * open_take(tmp_path / "b.take").length)
    assert str(tmp_path / "b.take" / "report.html") in printed
