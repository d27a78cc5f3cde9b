"""Outputs destroy nothing: not what is read, nor what others put there; folders of pictures are of one run."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from avatar.core.avatar_file import save_avatar
from avatar.core.encode import write_video
from avatar.core.files import UserError, remove_folder, remove_leftovers, whole
from avatar.core.motion_space import save_motion
from avatar.core.outputs import check_output, check_output_folder
from avatar.core.page import write_page
from avatar.core.picture_folder import check_picture_folder, save_each
from avatar.core.speech_file import SpeechFile
from avatar.pipelines import build as building
from avatar.pipelines.arguments import check_outputs
from avatar.pipelines.evaluate import Evaluation, write_json
from avatar.pipelines.export import export_curves, export_frame, export_motion
from avatar.pipelines.options import Build, Evaluate, Motion, Render, Settings, Speak
from avatar.pipelines.speak import speak
from tests.test_bad_input import film
from tests.test_core import make_avatar, make_motion


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    """A folder with one of everything that is read or written."""
    save_avatar(make_avatar(), tmp_path / "my.avatar")
    film(tmp_path / "hello.mp4", sound=True)
    save_motion(make_motion(5), tmp_path / "m.motion", "")
    (tmp_path / "take").mkdir()
    (tmp_path / "take" / "take.json").write_text('{"format": 2}')
    (tmp_path / "take" / "report.html").write_text("report")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "000001.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "wall.png")
    (tmp_path / "c.yaml").write_text(f"style: {tmp_path / 'hello.mp4'}\n")
    (tmp_path / "r.yaml").write_text(f"speech: {tmp_path / 'hello.mp4'}\nrenderer: gaussian\n")
    (tmp_path / "link.mp4").symlink_to("hello.mp4")
    os.link(tmp_path / "hello.mp4", tmp_path / "hard.mp4")
    return tmp_path


SPEAK = {"avatar": "my.avatar", "speech": "hello.wav", "output": "o.mp4"}
READ: list[tuple[type[Settings], dict[str, object]]] = [
    (Speak, SPEAK | {"speech": "hello.mp4", "output": "hello.mp4"}),
    (Speak, SPEAK | {"speech": "hello.mp4", "output": "link.mp4"}),
    (Speak, SPEAK | {"speech": "link.mp4", "output": "hard.mp4"}),
    (Speak, SPEAK | {"background": "hello.mp4", "output": "hello.mp4"}),
    (Speak, SPEAK | {"style": "hello.mp4", "output": "./take/../hello.mp4"}),
    (Speak, SPEAK | {"controls": "c.yaml", "output": "hello.mp4"}),
    (Speak, SPEAK | {"pose": "take:take", "output": "take/frames"}),
    (Render, {"avatar": "my.avatar", "take": "take", "frames_dir": "take/frames"}),
    (Render, {"avatar": "my.avatar", "take": "take", "output": "o", "frames_dir": "o"}),
    (Motion, SPEAK | {"output": "my.avatar"}),
    (Build, {"source": "hello.mp4", "output": "hello.mp4"}),
    (Build, {"source": "hello.wav", "output": "hello.mp4", "recipe": "r.yaml"}),
    (Evaluate, {"avatar": "my.avatar", "take": "take", "output": "take/take.json"}),
    (Evaluate, {"avatar": "my.avatar", "take": "take", "page": "take/report.html"}),
    (Evaluate, {"avatar": "my.avatar", "take": "take", "sheet": "my.avatar"}),
]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("verb", "values"), READ, ids=lambda value: None)
def test_what_is_read_is_never_written(
    verb: type[Settings], values: dict[str, object], force: bool, studio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(studio)
    before = content(studio)
    with pytest.raises(UserError, match="choose another output"):
        check_outputs(verb.model_validate(values | ({"force": force} if "force" in verb.model_fields else {})))
    assert content(studio) == before


def test_outputs_beside_what_is_read_are_fine(studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(studio)
    check_outputs(Speak(**SPEAK))
    check_outputs(Build(source="hello.mp4", output="hello.avatar", recipe="r.yaml"))
    check_outputs(Evaluate(avatar="my.avatar", take="take", output="figures.json", page="page.html"))
    check_outputs(Motion(avatar="my.avatar", speech="hello.wav", output="m.motion"))


def test_library_functions_refuse_too(studio: Path) -> None:
    (studio / "m.ply").symlink_to("m.motion")
    before = content(studio)
    with pytest.raises(UserError, match="is what is read"):
        speak(make_avatar(), studio / "hello.mp4", studio / "link.mp4")
    with pytest.raises(UserError, match="is what is read"):
        export_frame(make_avatar(), studio / "m.ply", motion=studio / "m.motion")
    with pytest.raises(UserError, match=r"cannot be written as '\.avatar'"):
        export_motion(make_avatar(), studio / "hello.wav", studio / "my.avatar")
    assert content(studio) == before


def test_a_build_spares_what_its_film_would_replace(studio: Path) -> None:
    """`speech` in a recipe makes NAME.mp4 beside NAME.avatar: here the clip itself."""
    recipe = building.Recipe(speech=str(studio / "hello.wav"), renderer={"kind": "gaussian"})
    before = content(studio)
    with pytest.raises(UserError, match=r"hello\.mp4: is what is read"):
        building.build(studio / "hello.mp4", studio / "hello.avatar", recipe=recipe, device="cpu")
    assert content(studio) == before


WRONG_KIND = ["my.avatar", "hello.mp4", "m.motion", "wall.png", "c.yaml"]


@pytest.mark.parametrize("ending", [".avatar", ".motion", ".mp4", ".mov", ".webm", ".png", ".csv", ".json", ".html"])
def test_only_files_of_its_kind_are_replaced(ending: str, studio: Path) -> None:
    made = {
        ".avatar": "my.avatar", ".motion": "m.motion", ".mp4": "hello.mp4", ".mov": "hello.mp4", ".png": "wall.png",
    }  # fmt: skip
    for index, name in enumerate(WRONG_KIND):
        place = studio / f"{index}{ending}"
        shutil.copy(studio / name, place)
        if made.get(ending) == name:
            check_output(place, force=False)
            continue
        with pytest.raises(UserError, match="exists and is not such"):
            check_output(place, force=False)
        check_output(place, force=True)
    (studio / f"empty{ending}").touch()
    check_output(studio / f"empty{ending}")


def test_what_was_made_before_is_replaced(tmp_path: Path) -> None:
    export_curves(make_motion(5), tmp_path / "m.csv", layout="motion")
    write_page(tmp_path / "p.html", "title", "lead", [])
    write_json(Evaluation([], range(3), "held out"), tmp_path / "e.json")
    save_file({"a": make_motion(5).torso}, tmp_path / "w.safetensors", {"format": "encoder/1"})
    for name in ("m.csv", "p.html", "e.json", "w.safetensors"):
        check_output(tmp_path / name)
    (tmp_path / "package.json").write_text('{"name": "mine"}')
    (tmp_path / "budget.csv").write_text("month,sum\n")
    save_motion(make_motion(5), tmp_path / "x.safetensors", "")
    for name in ("package.json", "budget.csv", "x.safetensors"):
        with pytest.raises(UserError, match="exists and is not such"):
            check_output(tmp_path / name)


def test_what_is_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "o.mp4").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path / "o.mp4", force=True)
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "frames"):
        with pytest.raises(UserError, match="choose another"):
            check_output_folder(folder)
    (tmp_path / "kept.png").write_bytes(b"")
    (tmp_path / "kept.png").chmod(0o444)
    with pytest.raises(UserError, match="write-protected"):
        check_output(tmp_path / "kept.png")


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real.json").write_text("old")
    (tmp_path / "disk" / "real.json").chmod(0o600)
    (tmp_path / "link.json").symlink_to("disk/real.json")
    (tmp_path / "dangling.json").symlink_to("disk/new.json")
    for name in ("link.json", "dangling.json"):
        with whole(tmp_path / name) as temporary:
            temporary.write_text("new")
        assert (tmp_path / name).is_symlink()
    assert (tmp_path / "disk" / "real.json").read_text() == "new"
    assert (tmp_path / "disk" / "new.json").read_text() == "new"
    assert (tmp_path / "disk" / "real.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "disk" / ".link.0123abcd.part.json").touch()
    remove_leftovers(tmp_path / "link.json")
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {"real.json", "new.json"}


def test_pipes_and_devices_are_written_into(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    check_output(pipe, endings=(".json",))
    with whole(pipe) as temporary:
        temporary.write_text("figures")
    reader.join(10)
    assert got == [b"figures"]
    assert pipe.is_fifo()
    with whole(Path("/dev/null")) as temporary:
        temporary.write_text("gone")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(UserError, match="is not a folder"):
        check_picture_folder(Path("/dev/null"))


def frames(count: int, *, value: int = 7) -> Iterator[np.ndarray]:
    for _ in range(count):
        yield np.full((16, 16, 3), value, np.uint8)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_shorter_run_replaces_a_longer_one(tmp_path: Path) -> None:
    out = tmp_path / "frames"
    assert write_video(frames(5), out, fps=25) == 5
    assert write_video(frames(2, value=9), out, fps=25) == 2
    assert names(out) == ["000000.png", "000001.png"]
    assert np.asarray(Image.open(out / "000000.png")).max() == 9
    assert names(tmp_path) == ["frames"]


def test_pictures_of_others_stay(studio: Path) -> None:
    for name, match in (("notes.txt", r"holds notes\.txt"), ("000000.png", r"holds 000000\.png.*--force")):
        folder = studio / f"of {Path(name).stem}"
        folder.mkdir()
        Image.new("RGB", (4, 4)).save(folder / name, "png")
        before = content(folder)
        with pytest.raises(UserError, match=match):
            write_video(frames(1), folder, fps=25)
        assert content(folder) == before
    with pytest.raises(UserError, match=r"holds notes\.txt"):
        check_picture_folder(studio / "of notes", force=True)
    assert write_video(frames(1), studio / "of 000000", fps=25, force=True) == 1


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError])
def test_pictures_are_whole_or_not_there(end: type[BaseException], tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from frames(3)
        raise end

    with pytest.raises(end):
        write_video(broken(), tmp_path / "frames", fps=25)
    assert names(tmp_path) == []
    write_video(frames(2), tmp_path / "frames", fps=25)
    with pytest.raises(end):
        write_video(broken(), tmp_path / "frames", fps=25)
    assert names(tmp_path / "frames") == ["000000.png", "000001.png"], "of the run before"
    save = save_each(frames(3), tmp_path / "frames")
    next(save)
    save.close()
    assert names(tmp_path) == ["frames"]
    assert len(names(tmp_path / "frames")) == 2


@pytest.mark.parametrize("name", ["x" * 255, "ж" * 125 + ".csv", "y" * 239 + "." + "z" * 15])
def test_long_legal_names(name: str, tmp_path: Path) -> None:
    for text in ("old", "new"):
        with whole(tmp_path / name) as temporary:
            temporary.mkdir()
            (temporary / text).touch()
    assert names(tmp_path) == [name]
    assert names(tmp_path / name) == ["new"]
    with whole(tmp_path / name) as temporary:
        temporary.mkdir()
        left = temporary.with_name(re.sub(r"[0-9a-f]{8}(?=\.part)", "0123abcd", temporary.name))
        left.mkdir()  # as of a run that was killed
    assert names(tmp_path) == sorted([left.name, name])
    remove_leftovers(tmp_path / name)
    assert names(tmp_path) == [name]
    remove_folder(tmp_path / name)
    assert names(tmp_path) == []


def test_paths_are_known_as_what_is_read(studio: Path) -> None:
    """Given an avatar, a Take or a motion by name, functions spare it whatever they are to write, forced or not."""
    (studio / "link.mov").symlink_to("my.avatar")
    (studio / "link.csv").symlink_to("my.avatar")
    before = content(studio)
    with pytest.raises(UserError, match=r"link\.mov: is what is read"):
        speak(studio / "my.avatar", SpeechFile(studio / "hello.mp4", track=1), studio / "link.mov", force=True)
    with pytest.raises(UserError, match=r"link\.csv: is what is read"):
        export_motion(str(studio / "my.avatar"), studio / "hello.mp4", studio / "link.csv", force=True)
    with pytest.raises(UserError, match=r"no such avatar file"):
        speak(str(studio / "none.avatar"), studio / "hello.mp4", studio / "new.mov")
    assert content(studio) == before


ENDINGS = [("h.splat", None), ("h.obj", None), ("h.PLY", ".ply"), ("h.Png", ".png"), ("h", None)]


@pytest.mark.parametrize(("name", "found"), ENDINGS)
def test_endings_of_exports(name: str, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if found is None:
        with pytest.raises(UserError, match=r"cannot be written as '.*'; use \.ply or \.png"):
            export_frame(make_avatar(), tmp_path / name)
    else:
        monkeypatch.setattr("avatar.pipelines.export.export_depth", lambda *_, **__: None)
        monkeypatch.setattr("avatar.pipelines.export.export_splats", lambda *_, **__: 3)
        assert export_frame(make_avatar(), tmp_path / name) == (
            "depth in tenths of a millimetre" if found == ".png" else "3 splats"
        )
    assert names(tmp_path) == []


def test_endings_of_motions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatar.pipelines.export.make_motion", lambda *_, **__: make_motion(5, 32))
    assert export_motion(make_avatar(), tmp_path / "s.wav", tmp_path / "M.CSV", layout="arkit") == 5
    assert (tmp_path / "M.CSV").read_text().startswith("seconds,")
    for name in ("m.npz", "m", "m.motion.bak"):
        with pytest.raises(UserError, match=r"use \.motion or \.csv"):
            export_motion(make_avatar(), tmp_path / "s.wav", tmp_path / name)
    with pytest.raises(UserError, match="has no columns, which --layout arkit"):
        export_motion(make_avatar(), tmp_path / "s.wav", tmp_path / "m.motion", layout="arkit")
    assert names(tmp_path) == ["M.CSV"]
