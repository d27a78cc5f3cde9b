"""A Take knows the request it was made for: it is used again for the same one, and for no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar.core.consent import NOT_STATED
from avatar.core.files import UserError, digest_file
from avatar.core.media import Stretch
from avatar.core.take import FORMAT, Take, open_take, read_track
from avatar.pipelines.build import find_take
from preprocess import first_pass, run
from preprocess.detectors import DETECTORS
from preprocess.request import TakeRequest, reuse_take, state_consent
from preprocess.run import make_take
from tests.actors import SHORT_SECONDS, short_film
from tests.conftest import made_once

PLAIN = TakeRequest(size=128)
FULL = TakeRequest(
    size=128, face="largest", stretch=Stretch(0.2, 3.5), seconds=2.0, consent="signed on paper, see folder 3"
)
FORMAT_1 = Path(__file__).parent / "data" / "format_1.take.json"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_film(tmp_path_factory)


@pytest.fixture(scope="module")
def plain_take(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return (
        made_once(tmp_path_factory, "plain_take", lambda folder: make_take(clip, folder / "x.take", PLAIN)) / "x.take"
    )


@pytest.fixture
def plain(plain_take: Path, tmp_path: Path) -> Path:
    """A Take of `PLAIN` that a test may change."""
    return Path(shutil.copytree(plain_take, tmp_path / "x.take"))


@pytest.fixture
def landmarker(tmp_path: Path) -> Path:
    (tmp_path / "face.task").write_bytes(b"a model")
    return tmp_path / "face.task"


def test_the_same_request_uses_a_take_again(clip: Path, plain: Path) -> None:
    before = digest_file(plain / "track.safetensors"), (plain / "take.json").stat().st_mtime_ns
    take = make_take(clip, plain, PLAIN, holdout=0.5)
    assert (digest_file(plain / "track.safetensors"), (plain / "take.json").stat().st_mtime_ns) == before
    assert len(take.test) == take.length // 2
    assert take.request == PLAIN.record()


@pytest.mark.parametrize(
    ("option", "change", "made", "requested"),
    [
        ("face", {"face": "largest"}, "auto", "largest"),
        ("size", {"size": 256}, "128", "256"),
        ("start", {"stretch": Stretch(0.25)}, "0", "0.25"),
        ("end", {"stretch": Stretch(0.0, 3.5)}, "none", "3.5"),
        ("select", {"seconds": 2.0}, "none", "2"),
    ],
)
def test_another_request_is_refused_in_a_line_that_names_the_option(
    clip: Path, plain_take: Path, option: str, change: dict[str, Any], made: str, requested: str
) -> None:
    with pytest.raises(UserError) as refused:
        make_take(clip, plain_take, replace(PLAIN, **change))
    assert f"was made with {option} {made}, but {option} {requested} was requested; remove it" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_another_landmarker_or_tracker_is_refused(
    clip: Path, plain_take: Path, landmarker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = digest_file(landmarker)[:16]
    with pytest.raises(UserError, match=f"made with landmarker none, but landmarker {digest} was requested;"):
        make_take(clip, plain_take, replace(PLAIN, landmarker=landmarker))
    monkeypatch.setitem(DETECTORS, "other", DETECTORS["torch"])
    with pytest.raises(UserError, match="made with tracker auto, but tracker other was requested;"):
        make_take(clip, plain_take, replace(PLAIN, tracker="other"))


def test_all_that_differs_is_named_at_once(clip: Path, plain_take: Path) -> None:
    with pytest.raises(UserError, match="with face auto, size 128, but face left, size 64 was requested; remove it"):
        make_take(clip, plain_take, replace(PLAIN, face="left", size=64))


def test_a_take_of_another_clip_is_refused(clip: Path, plain_take: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"exists and is not a take of other\.mp4"):
        make_take(other, plain_take, PLAIN)
    with pytest.raises(UserError, match=r"exists and is not a take of clip\.mp4"):
        make_take(clip, tmp_path, PLAIN)


def test_options_reach_the_take_and_its_memory(clip: Path, tmp_path: Path) -> None:
    take = make_take(clip, tmp_path / "x.take", FULL)
    assert take.request == {
        "tracker": "auto", "face": "largest", "size": "128", "start": "0.2", "end": "3.5", "select": "2",
        "landmarker": "", "audio_track": "",
    }  # fmt: skip
    assert take.source["consent"] == FULL.consent
    assert abs(take.length - 3.3 * take.fps) <= 1
    assert take.first_source_frame == 5
    left_out = [span for span in take.excluded if "most informative" in span.reason]
    assert left_out, take.excluded
    assert make_take(clip, tmp_path / "x.take", replace(FULL, consent=NOT_STATED)).source == take.source
    words = r"with start 0\.2, end 3\.5, select 2, but start 0, end none, select none was requested"
    with pytest.raises(UserError, match=words):
        make_take(clip, tmp_path / "x.take", replace(FULL, stretch=Stretch(), seconds=None))


def test_a_consent_is_filled_in_kept_and_not_replaced(clip: Path, plain: Path) -> None:
    assert make_take(clip, plain, replace(PLAIN, consent="signed")).source["consent"] == "signed"
    assert open_take(plain).source["consent"] == "signed"
    assert make_take(clip, plain, PLAIN).source["consent"] == "signed"
    with pytest.raises(UserError, match="states the consent 'signed', not 'by mail'; make another take for it"):
        make_take(clip, plain, replace(PLAIN, consent="by mail"))
    assert open_take(plain).source["consent"] == "signed"
    assert len(read_track(open_take(plain))) == open_take(plain).length


def test_a_take_that_is_built_from_gets_its_consent_too(plain: Path, tmp_path: Path) -> None:
    assert find_take(plain, tmp_path / "y.take", TakeRequest(consent="signed")).root == plain
    assert open_take(plain).source["consent"] == "signed"
    with pytest.raises(UserError, match="--face"):
        find_take(plain, tmp_path / "y.take", TakeRequest(face="left"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"face": "front"}, "--face: 'front' is unknown; choose one of auto, left, right, largest"),
        ({"size": 100}, "--size: 100 is no multiple of 16 from 64 on, which films need; try 96"),
        ({"size": 8}, "try 64"),
        ({"seconds": 0.0}, "--select: 0 s is nothing to train on"),
        ({"landmarker": Path("/nowhere/face.task")}, "no such landmarker"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        TakeRequest(**given)


def test_every_field_but_the_consent_is_remembered(landmarker: Path) -> None:
    other: dict[str, Any] = {
        "tracker": "x", "face": "left", "size": 256, "consent": "signed", "stretch": Stretch(1.0, 2.0), "seconds": 3.0,
        "landmarker": landmarker, "audio_track": 1, "preview": True,
    }  # fmt: skip
    assert set(other) == {field.name for field in fields(TakeRequest)}
    same = [name for name, value in other.items() if TakeRequest(**{name: value}).record() == TakeRequest().record()]
    assert same == ["consent", "preview"]  # of a preview the Take itself says that it is one


def test_times_are_remembered_to_the_millisecond() -> None:
    times = [TakeRequest(stretch=Stretch(10000 + start)).record()["start"] for start in (0.0, 0.001, 0.002, 0.0021)]
    assert times == ["10000", "10000.001", "10000.002", "10000.002"]


# format 1


def take_of_format_1(root: Path, change: Callable[[dict[str, Any]], None] = lambda source: None) -> Take:
    """A folder with nothing but what `open_take` asks for."""
    content = json.loads(FORMAT_1.read_text())
    change(content["source"])
    for name in ("frames", "mattes"):
        (root / name).mkdir(parents=True)
    for name in ("track.safetensors", "background.png"):
        (root / name).touch()
    (root / "take.json").write_text(json.dumps(content))
    return open_take(root)


def test_a_take_of_format_1_is_read(tmp_path: Path) -> None:
    take = take_of_format_1(tmp_path / "x.take")
    assert take.request == {"size": "128", "start": "0.5", "end": "4", "select": "2", "landmarker": "face.task"}
    assert take.source == {"name": "clip.mp4", "sha256": "0f0f", "fps": "25", "consent": "not stated"}
    assert (take.space_id, take.first_source_frame, len(take.test)) == ("", 12, 9)
    assert [span.reason for span in take.excluded] == ["no face found"]


def test_stating_the_consent_of_a_take_of_format_1_writes_the_present_format(tmp_path: Path) -> None:
    take = take_of_format_1(tmp_path / "x.take")
    assert state_consent(take, NOT_STATED) is take
    assert json.loads((take.root / "take.json").read_text())["format"] == 1
    state_consent(take, "signed")
    assert json.loads((take.root / "take.json").read_text())["format"] == FORMAT.version
    assert open_take(take.root) == replace(take, source=take.source | {"consent": "signed"})


def test_a_take_of_format_1_is_used_for_what_it_is_known_to_be(tmp_path: Path) -> None:
    source = {"name": "clip.mp4", "sha256": "0f0f", "fps": "25", "consent": NOT_STATED}

    def plain(source: dict[str, Any]) -> None:
        for name in ("stretch", "select", "landmarker"):
            del source[name]

    take = take_of_format_1(tmp_path / "plain.take", plain)
    assert reuse_take(take.root, source, PLAIN.record(), 0.1) == take
    with pytest.raises(UserError, match="was made with face not known, but face left was requested"):
        reuse_take(take.root, source, replace(PLAIN, face="left").record(), 0.1)
    cut = take_of_format_1(tmp_path / "cut.take")
    with pytest.raises(UserError, match=r"select 2, landmarker face\.task, but .*, landmarker none was requested"):
        reuse_take(cut.root, source, PLAIN.record(), 0.1)


# runs that were killed


class Killed(BaseException):
    """As SIGKILL: nothing tidies up after it."""


def kill(*_: object, **__: object) -> None:
    raise Killed


@pytest.fixture
def killed(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run of `PLAIN` was to put its Take when it was killed after its first pass."""
    with monkeypatch.context() as patched:
        patched.setattr(run, "_finish", kill)
        with pytest.raises(Killed):
            make_take(clip, tmp_path / "x.take", PLAIN)
    assert [path.name for path in tmp_path.iterdir()] == [".x.take.part"]
    return tmp_path / "x.take"


def test_a_killed_run_goes_on_after_its_first_pass(
    clip: Path, plain_take: Path, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_pass, "observe", kill)
    take = make_take(clip, killed, PLAIN)
    assert sorted(path.name for path in killed.parent.iterdir()) == ["x.take"]
    assert sorted(path.name for path in take.root.iterdir()) == sorted(path.name for path in plain_take.iterdir())
    assert digest_file(take.root / "track.safetensors") == digest_file(plain_take / "track.safetensors")


def test_what_a_killed_run_left_is_not_used_for_another_request(
    clip: Path, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_pass, "observe", kill)
    left = killed.with_name(".x.take.part")
    assert len(list((left / "frames").iterdir())) == round(SHORT_SECONDS * 25)
    with pytest.raises(Killed):
        make_take(clip, killed, replace(PLAIN, face="largest"))
    assert sorted(path.name for path in left.iterdir()) == ["key.json"]


def test_a_run_killed_while_it_writes_its_observations_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = first_pass._Rows(1)
    rows.add(None, np.zeros(first_pass.DESCRIPTION, np.float16))
    observations = rows.finish()
    save = np.savez

    def half(path: Path, **arrays: np.ndarray) -> None:
        save(path, **arrays)
        path.write_bytes(path.read_bytes()[:100])
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", half)
        with pytest.raises(Killed):
            first_pass.save_observations(observations, tmp_path)
    assert first_pass.load_observations(tmp_path) is None
    first_pass.save_observations(observations, tmp_path)
    again = first_pass.load_observations(tmp_path)
    assert again is not None
    assert all(np.array_equal(getattr(again, f.name), getattr(observations, f.name)) for f in fields(again))
