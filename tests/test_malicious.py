"""Files that ask for other files: nothing is read, written or run that the caller did not name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from avatar.core.avatar_file import Avatar, save_avatar
from avatar.core.controls import resolve_controls
from avatar.core.files import UserError
from avatar.core.media import write_wav
from avatar.core.take import open_take, read_audio, read_frames, read_plate
from avatar.scene.still import read_background
from tests.actors import shorten
from tests.conftest import Filmed

WATCHED = """
import json, os, sys
seen = []
def note(event, arguments):
    if event in EVENTS:
        place = arguments[0]
        seen.append([event, os.fsdecode(place) if isinstance(place, (str, bytes)) else str(arguments[1:])])
EVENTS = ("open", "os.remove", "os.rename", "os.mkdir", "subprocess.Popen", "os.system", "os.exec", "socket.connect")
import numpy as np, torch
from avatar.core.files import UserError
from avatar.core.take import open_take, read_audio, read_frames, read_plate, read_still, read_track
from avatar.play.player import Player
from avatar.batch.plan import make_plan
sys.addaudithook(note)
end = "read"
try:
    {code}
except UserError as error:
    end = str(error)
print(json.dumps([end, seen]))
"""
"""Notes what Python opens, changes and runs while some code works; the file is called `path` in it."""

SPEAK = "path = sys.argv[1]; list(Player(path, device='cpu').speak([np.zeros(1600, np.float32)]))"
PLAN = "path = sys.argv[1]; from pathlib import Path; print(make_plan(Path(path))[1], file=sys.stderr)"


def watch(code: str, path: Path) -> tuple[str, list[tuple[str, str]]]:
    """How reading a file ended, and what happened meanwhile: event and path."""
    command = [sys.executable, "-c", WATCHED.replace("{code}", code), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    end, seen = json.loads(done.stdout.splitlines()[-1])
    return end, [(event, place) for event, place in seen]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder of somebody's files."""
    folder = tmp_path / "secret"
    folder.mkdir()
    write_wav(folder / "voice.wav", 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0)))
    Image.new("RGB", (64, 64), "red").save(folder / "picture.jpg")
    (folder / "config.json").write_text("{}")
    return folder


def test_an_avatar_opens_no_path_that_it_names(avatar: Avatar, secret: Path, tmp_path: Path) -> None:
    names = f"""
speech: {secret}/voice.wav
background: {secret}/picture.jpg
encoder: ../secret/config.json
renderer: {{kind: gaussian, generic: {secret}/config.json}}
controls: {{style: {secret}/voice.wav, pose: "take:{secret}"}}
"""
    source = {"name": f"../../{secret.name}/voice.wav", "sha256": str(secret / "voice.wav")}
    save_avatar(replace(avatar, recipe=names, provenance=source), tmp_path / "a.avatar")
    end, seen = watch(SPEAK, tmp_path / "a.avatar")
    assert end == "read"
    assert not [place for _, place in seen if "secret" in place]
    assert not [event for event, _ in seen if event not in ("open", "os.remove")]  # torch.compile's none; no process


def test_an_avatar_fetches_no_model(avatar: Avatar, tmp_path: Path) -> None:
    speech = replace(avatar.speech, features="hubert:somebody/a-model-of-theirs")
    save_avatar(replace(avatar, speech=speech), tmp_path / "a.avatar")
    end, seen = watch(SPEAK, tmp_path / "a.avatar")
    assert end == "speech model: its audio features, hubert:somebody/a-model-of-theirs, name no folder that is here"
    assert not [event for event, _ in seen if event != "open"]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("frames/000001.jpg", "picture.jpg"),
        ("mattes/000001.png", "picture.jpg"),
        ("audio.wav", "voice.wav"),
        ("frame.jpg", "picture.jpg"),
        ("frames", ""),
    ],
)
def test_links_out_of_a_take_are_not_followed(
    name: str, target: str, actor: Filmed, secret: Path, tmp_path: Path
) -> None:
    shorten(actor.take, 5, tmp_path / "t")
    place = tmp_path / "t" / name
    place.unlink() if place.is_file() else place.rename(tmp_path / "away")
    place.symlink_to(secret / target)
    with pytest.raises(UserError, match=rf"{place}: is a link that leads out of the take"):
        open_take(tmp_path / "t")


def test_links_within_a_take_are(actor: Filmed, tmp_path: Path) -> None:
    shorten(actor.take, 5, tmp_path / "t")
    place = tmp_path / "t" / "frames" / "000001.jpg"
    place.unlink()
    place.symlink_to("000000.jpg")
    (tmp_path / "linked").symlink_to(tmp_path / "t")
    frames = read_frames(open_take(tmp_path / "linked"), [0, 1])
    assert torch.equal(frames[0], frames[1])


def test_a_pipe_in_a_take_is_not_waited_for(actor: Filmed, tmp_path: Path) -> None:
    import os

    shorten(actor.take, 5, tmp_path / "t")
    (tmp_path / "t" / "audio.wav").unlink()
    os.mkfifo(tmp_path / "t" / "audio.wav")
    with pytest.raises(UserError, match=r"audio\.wav: is no file"):
        open_take(tmp_path / "t")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(/etc/passwd) (r) file\nshowpage\n%%EOF\n"


def test_postscript_is_no_picture(actor: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process is started"))
    (tmp_path / "wall.png").write_bytes(POSTSCRIPT)
    with pytest.raises(UserError, match=r"wall\.png: is not a picture that can be read"):
        read_background(str(tmp_path / "wall.png"), (64, 64))
    take = shorten(actor.take, 5, tmp_path / "t")
    for place, read in (
        (take.root / "background.png", read_plate),
        (take.frame_path(0), lambda t: read_frames(t, [0])),
    ):
        place.write_bytes(POSTSCRIPT)
        with pytest.raises(UserError, match=f"{place}: cannot be read"):
            read(take)


def test_a_job_file_runs_nothing_and_reads_what_it_names(secret: Path, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(
        f"jobs:\n  - kind: speak\n    id: !!python/object/apply:os.system ['touch {secret}/x']\n"
    )
    end, seen = watch(PLAN, tmp_path / "jobs.yaml")
    assert "is not YAML" in end
    opened = {place for _, place in seen if not place.endswith((".py", ".pyc"))}  # modules apart
    assert opened == {str(tmp_path / "jobs.yaml")}
    assert {event for event, _ in seen} == {"open"}
    assert not (secret / "x").exists()


def test_controls_run_nothing(avatar: Avatar, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("mouth_gain: !!python/name:os.system\n")
    with pytest.raises(UserError, match="is not YAML"):
        resolve_controls(avatar, tmp_path / "c.yaml")


def test_sound_that_says_it_is_longer_than_its_file(actor: Filmed, tmp_path: Path) -> None:
    take = shorten(actor.take, 5, tmp_path / "t")
    path = take.root / "audio.wav"
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    whole = len(read_audio(take))
    data[at : at + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(data)
    assert len(read_audio(take)) <= whole + 8
