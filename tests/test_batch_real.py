"""Batches of real jobs, by the command: a clip becomes a Take, an avatar, films, figures, as by the single commands."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.batch import storage
from avatar.core.avatar_file import load_avatar, save_avatar
from avatar.core.coding import Coding
from avatar.core.controls import Controls, resolve_controls
from avatar.core.media import ffmpeg_binary, probe, write_wav
from avatar.core.motion_space import load_motion
from avatar.core.recipe import Recipe, to_yaml
from avatar.pipelines.speak import Target, reenact, speak
from avatar.pipelines.speech_film import make_motion
from avatar.play.look import Look
from tests.conftest import Filmed


@pytest.fixture(scope="module")
def studio(avatar_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an avatar, whose recipe has controls of its own, and two speeches of a second and a half."""
    folder = tmp_path_factory.mktemp("studio")
    own = to_yaml(Recipe(controls={"seed": 5, "head": 0.3, "mouth_gain": 1.5}))
    save_avatar(replace(load_avatar(avatar_file), recipe=own), folder / "actor.avatar")
    sound = torch.randn(24000, generator=torch.Generator().manual_seed(0)) * torch.linspace(0, 0.2, 24000)
    write_wav(folder / "one.wav", sound)
    write_wav(folder / "two.wav", sound.flip(0))
    return folder


def avatar_batch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "avatar.cli", "batch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def write(folder: Path, *jobs: dict, name: str = "jobs.yaml") -> Path:
    (folder / name).write_text(json.dumps({"defaults": {"speak": {"size": 96, "quality": "draft"}}, "jobs": jobs}))
    return folder / name


def states(file: Path) -> dict[str, str]:
    lines = avatar_batch("status", file, "--json").stdout.splitlines()
    return {record["id"]: record["state"] for record in map(json.loads, lines)}


def same_pictures(one: Path, other: Path) -> bool:
    names = [sorted(path.name for path in folder.iterdir()) for folder in (one, other)]
    return names[0] == names[1] and all((one / name).read_bytes() == (other / name).read_bytes() for name in names[0])


def test_what_is_made_is_that_of_the_single_commands(studio: Path, actor: Filmed) -> None:
    take, avatar = actor.take, load_avatar(studio / "actor.avatar")
    file = write(
        studio,
        {"kind": "speak", "avatar": "actor.avatar", "speech": "*.wav", "output": "films/{speech}.mp4"},
        {"kind": "speak", "avatar": "*.avatar", "speech": "one.wav", "output": "{speech}", "controls": {"blink": 0}},
        {"kind": "motion", "avatar": "actor.avatar", "speech": "one.wav", "output": "one.motion"},
        {"kind": "render", "avatar": "actor.avatar", "take": str(take.root), "output": "seen", "size": 96},
    )
    ran = avatar_batch(file)
    assert ran.returncode == 0, ran.stderr
    assert "5 made, 0 unchanged" in ran.stdout
    for name in ("one", "two"):
        info = probe(studio / f"films/{name}.mp4")
        assert (info.width, info.has_audio, round(info.seconds, 1)) == (96, True, 1.5)
    look = Look(size=96, coding=Coding(quality="draft"))
    speak(avatar, studio / "one.wav", studio / "alone", controls=resolve_controls(avatar, {"blink": 0}), look=look)
    assert same_pictures(studio / "one", studio / "alone"), "with the controls of the avatar's own recipe"
    motion = make_motion(avatar, studio / "one.wav")
    assert torch.equal(load_motion(studio / "one.motion").rotation, motion.rotation)
    assert not torch.equal(motion.rotation, make_motion(avatar, studio / "one.wav", controls=Controls()).rotation)
    reenact(avatar, take, Target(frames_dir=studio / "seen_alone"), look=look)
    assert same_pictures(studio / "seen", studio / "seen_alone")
    assert "0 made, 5 unchanged" in avatar_batch(file).stdout
    (studio / "one" / "000003.png").unlink()
    assert "1 made, 4 unchanged" in avatar_batch(file).stdout, "a folder that this batch made is made anew"
    page = (studio / "jobs.batch" / "batch.html").read_text()
    assert "Everything is done" in page
    assert page.count("<img") == 1, "films in one row"


@pytest.mark.slow
def test_from_a_clip_to_figures(studio: Path, actor: Filmed) -> None:
    command = [ffmpeg_binary(), "-v", "error", "-i", str(actor.video), "-t", "4", "-vf", "scale=192:192"]
    subprocess.run([*command, str(studio / "clip.mp4")], check=True)
    file = write(
        studio,
        {"kind": "preprocess", "video": "clip.mp4", "output": "{video}.take", "size": 128},
        {"kind": "build", "source": "clip.take", "output": "{source}.avatar", "steps": 20, "holdout": 0.1},
        {"kind": "evaluate", "avatar": "clip.avatar", "take": "clip.take", "output": "f.json", "page": "f.html"},
        {"kind": "speak", "avatar": "clip.avatar", "speech": "one.wav", "output": "c.webm", "codec": "av1"},
        {"kind": "speak", "avatar": "clip.avatar", "speech": "clip.avatar", "output": "bad.mp4"},
        name="chain.yaml",
    )
    ran = avatar_batch(file)
    assert ran.returncode == 1
    assert states(file) == {
        "clip.take": "done",
        "clip.avatar": "done",
        "f.json": "done",
        "c.webm": "done",
        "bad.mp4": "failed",
    }
    figures = json.loads((studio / "f.json").read_text())
    assert any(score["metric"] == "psnr" for score in figures["scores"])
    assert figures["seen_before"] == "held out"
    status = avatar_batch("status", file)
    assert status.returncode == 1
    assert "bad.mp4: " in status.stdout
    assert "is not a video or sound file" in status.stdout
    file.write_text(file.read_text().replace('"size": 128', '"size": 144'))
    avatar_batch(file)
    assert probe(studio / "c.webm").has_audio
    assert load_avatar(studio / "clip.avatar").camera.size == 144, "a changed clip makes everything after it anew"


def test_places_elsewhere(studio: Path, tmp_path: Path) -> None:
    job = {
        "kind": "speak",
        "avatar": f"file://{studio}/actor.avatar",
        "speech": f"file://{studio}/*.wav",
        "output": f"file://{tmp_path}/films/{{speech}}.mp4",
    }
    file = write(tmp_path, job)
    ran = avatar_batch(file)
    assert ran.returncode == 0, ran.stderr
    assert [probe(tmp_path / f"films/{name}.mp4").width for name in ("one", "two")] == [96, 96]
    assert sorted(path.name for path in (tmp_path / "films").iterdir()) == ["one.mp4", "two.mp4"]
    assert "0 made, 2 unchanged" in avatar_batch(file).stdout
    (tmp_path / "films/one.mp4").write_text("spoilt")
    assert "1 made, 1 unchanged" in avatar_batch(file).stdout


def test_stores_keep_files_and_takes_whole(tmp_path: Path) -> None:
    take = tmp_path / "a.take"
    (take / "frames").mkdir(parents=True)
    for name in ("take.json", "frames/000000.jpg"):
        (take / name).write_text(name)
    storage.send(take, "memory://studio/a.take")
    storage.send(take / "take.json", "memory://studio/film.mp4")
    assert storage.glob_urls("memory://studio/*") == ["memory:///studio/a.take", "memory:///studio/film.mp4"]
    back = storage.fetch("memory://studio/a.take", tmp_path / "back")
    assert (back / "frames/000000.jpg").read_text() == "frames/000000.jpg"
    before = storage.tag("memory://studio/film.mp4")
    storage.send(take / "frames/000000.jpg", "memory://studio/film.mp4")
    assert storage.tag("memory://studio/film.mp4") != before
    assert storage.tag("memory://studio/none.mp4") == ""


def test_commands_that_start_nothing(studio: Path) -> None:
    file = write(
        studio, {"kind": "speak", "avatar": "actor.avatar", "speech": "one.wav", "output": "x.mp4"}, name="x.yaml"
    )
    assert "1 jobs, nothing wrong" in avatar_batch("check", file).stdout
    planned = avatar_batch(file, "--dry-run").stdout
    assert "speak            1 jobs, 0 unchanged" in planned
    assert "GB of disk" in planned
    assert json.loads(avatar_batch("schema").stdout)["title"] == "Avatar batch"
    for command in ("status", "report", "cancel"):
        refused = avatar_batch(command, file)
        assert refused.returncode == 1
        assert "nothing was run yet" in refused.stderr
    assert not (studio / "x.batch").exists()
    assert not (studio / "x.mp4").exists()


def test_every_problem_is_a_line_of_stderr(studio: Path) -> None:
    file = write(
        studio,
        {"kind": "speak", "avatar": "nobody.avatar", "speech": "one.wav", "output": "y.mp4"},
        {"kind": "speak", "avatar": "actor.avatar", "speech": "one.wav", "output": "y.mp4"},
        name="y.yaml",
    )
    for command in (["check", file], [file]):
        ran = avatar_batch(*command)
        assert ran.returncode == 1
        lines = ran.stderr.strip().splitlines()
        assert len(lines) == 2, ran.stderr
        assert all(line.startswith(f"error: {file}:1: ") for line in lines)
    assert not (studio / "y.batch").exists()
