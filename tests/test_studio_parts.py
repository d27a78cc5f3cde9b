"""Parts of the studio: previews, hints on filming, checks, time left, the page's words."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import avatar.studio
from avatar.batch.progress import JobProgress, ProgressFile, progress_path, read_progress
from avatar.core.files import UserError
from avatar.core.media import read_speech
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.studio.checking import check_clip
from avatar.studio.drawing import SIDE, Drawer
from avatar.studio.estimates import seconds_left
from avatar.studio.looking import Looker
from tests.conftest import Filmed

PAGE = Path(avatar.studio.__file__).parent / "page"
SPEECH = Path(avatar.studio.__file__).parents[1] / "assets" / "actor_speech.flac"


def test_previews_are_the_players_frames(avatar_file: Path) -> None:
    drawer = Drawer()
    request = {"what": "frames", "avatar": str(avatar_file), "speech": str(SPEECH), "controls": {"head": 2.0}}
    parts = drawer.answer(request, b"")
    head, _ = next(parts)
    assert head["seconds"] == 8.0
    drawn = [
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16) for _, data in (next(parts), next(parts))
    ]
    player = Player(avatar_file, look=Look(size=SIDE))
    player.controls = player.controls.model_copy(update={"head": 2.0})
    truth = [frame for frame, _ in zip(player.speak(list(read_speech(SPEECH))), range(2), strict=False)]
    assert np.abs(drawn[0] - truth[0]).mean() < 3
    assert drawn[0].shape == (SIDE, SIDE, 3)


def test_a_clear_background_is_shown_as_chequers(avatar_file: Path) -> None:
    request = {"what": "frames", "avatar": str(avatar_file), "speech": str(SPEECH), "background": "transparent"}
    parts = Drawer().answer(request, b"")
    next(parts)
    picture = np.asarray(Image.open(io.BytesIO(next(parts)[1])).convert("L"), np.int16)
    assert abs(int(picture[4, 4]) - int(picture[4, 18])) > 20


@pytest.fixture(scope="module")
def looker() -> Looker:
    return Looker()


def _jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _hints(looker: Looker, picture: np.ndarray) -> list[str]:
    [(found, _)] = looker.answer({}, _jpeg(picture))
    return found["hints"]


def test_hints_on_filming(looker: Looker, actor: Filmed) -> None:
    frame = np.asarray(Image.open(actor.take.frame_path(3)).convert("RGB"))
    grey = np.full_like(frame, 120)
    small = grey.copy()
    small[200:260, 200:260] = np.asarray(Image.fromarray(frame).resize((60, 60)))
    wide = np.concatenate([frame, grey], 1)
    both = np.concatenate([frame, frame], 1)
    assert _hints(looker, frame) == []
    assert "too-dark" in _hints(looker, frame // 5)
    assert "off-centre" in _hints(looker, wide)
    assert "two-faces" in _hints(looker, both)
    assert _hints(looker, grey) == ["no-face"]
    looker._rim = None
    assert "camera-moves" not in _hints(looker, frame)
    assert "camera-moves" in _hints(looker, np.roll(frame, 150, 1))
    with pytest.raises(UserError, match="no picture"):
        list(looker.answer({}, b"GIF89a"))


def test_a_good_clip_is_called_good(actor: Filmed, tmp_path: Path) -> None:
    found = check_clip(actor.video, tmp_path)
    assert (found["width"], found["height"], found["seconds"]) == (512, 512, 8.0)
    assert found["usable"]
    assert all((tmp_path / name).is_file() for name in found["pictures"])
    assert (tmp_path / "poster.jpg").is_file()
    assert not list(tmp_path.glob("*.take"))


def test_a_photo_is_checked(actor: Filmed, tmp_path: Path) -> None:
    photo = tmp_path / "me.jpg"
    Image.open(actor.take.frame_path(3)).save(photo, quality=95)
    found = check_clip(photo, tmp_path / "found")
    assert found["photo"]
    assert found["usable"]


def test_progress_is_kept_in_a_file(tmp_path: Path) -> None:
    path = progress_path(tmp_path, "anna/anna.avatar")
    path.parent.mkdir()
    progress = ProgressFile(path)
    progress("track", 0, 100)
    progress("track", 1, 100)  # too soon to be written
    found = read_progress(tmp_path, "anna/anna.avatar")
    assert found
    assert (found.stage, found.done, found.total) == ("track", 0, 100)
    progress("train", 3, 100, "loss 1")
    found = read_progress(tmp_path, "anna/anna.avatar")
    assert found
    assert (found.stage, found.done, found.note) == ("train", 3, "loss 1")
    progress.remove()
    assert read_progress(tmp_path, "anna/anna.avatar") is None
    path.write_text("{}")
    assert read_progress(tmp_path, "anna/anna.avatar") is None


def test_time_left() -> None:
    now = time.time()

    def at(stage: str, done: int, *, spent: float, before: float = 0.0) -> JobProgress:
        return JobProgress(stage, done, 100, "", now - spent - before, now - spent, now)

    build = {"kind": "build", "budget": "90s"}
    assert seconds_left(build, None) is None
    assert seconds_left(build, at("track", 1, spent=0.5), now) is None
    assert seconds_left(build, at("track", 50, spent=10), now) == pytest.approx(10 + 30 + 90 + 6, abs=1)
    assert seconds_left(build, at("fit", 0, spent=10, before=20), now) == pytest.approx(20 + 90 + 6, abs=1)
    assert seconds_left(build, at("train", 25, spent=20, before=50), now) == pytest.approx(60 + 6, abs=1)
    assert seconds_left({"kind": "speak"}, at("speak", 80, spent=8), now) == pytest.approx(2, abs=0.1)


def _texts() -> dict[str, dict[str, Any]]:
    """The page's words by language: object literals whose keys are quoted or plain."""
    source = (PAGE / "texts.js").read_text()
    found = {}
    for name in ("en", "de"):
        literal = re.search(rf"^const {name} = (\{{.*?^\}});$", source, re.M | re.S)
        assert literal
        quoted = re.sub(r"([{,]\s*)([A-Za-z_]\w*):(?=\s)", r'\1"\2":', literal[1])
        found[name] = json.loads(re.sub(r",(\s*})", r"\1", quoted))
    return found


def _flat(texts: dict[str, Any]) -> dict[str, Any]:
    groups = {k: v for k, v in texts.items() if isinstance(v, dict)}
    return {k: v for k, v in texts.items() if k not in groups} | {
        f"{group}.{name}": text for group, inner in groups.items() for name, text in inner.items()
    }


def test_both_languages_have_all_words() -> None:
    english, german = (_flat(one) for one in _texts().values())
    assert english.keys() == german.keys()
    for key, text in english.items():
        assert type(text) is type(german[key]), key
        places = [set(re.findall(r"\{\w+\}", "".join(one))) for one in (text, german[key])]
        assert places[0] == places[1], key


def test_every_word_that_is_used_is_there() -> None:
    words = _flat(_texts()["en"])
    groups = {key.split(".")[0] for key in words if "." in key}
    for path in PAGE.glob("*.js"):
        source = path.read_text()
        for key in re.findall(r'\bt\("([^"]+)"', source):
            assert key in words, f"{path.name}: {key}"
        for group in re.findall(r"\bt\(`([\w-]+)\.\$\{", source):
            assert group in groups, f"{path.name}: {group}"


def test_advice_on_clips_is_known_in_german() -> None:
    """Every sentence that the checks can say is one of those that the page translates."""
    from preprocess.checks import assess_quality
    from preprocess.photo_checks import limits

    source = (PAGE / "texts.js").read_text()
    patterns = [re.compile(one) for one in re.findall(r"^  \[/(\^.*?\$)/, ", source, re.M)]
    bad = {
        "usable": 0.5,
        "sound_rms": 0.0,
        "lip_motion": 0.0,
        "sync_certainty": 0.01,
        "seconds": 5.0,
        "source_eye_px": 9.0,
    }
    bad |= {
        "eye_px": 30.0,
        "yaw_degrees": 50.0,
        "mouth_covered": 0.2,
        "pause_depth_db": 5.0,
        "clipped": 0.9,
        "captions": 0.5,
    }
    said = [*assess_quality(bad | {"camera_px": 9.0}).advice, *assess_quality(bad | {"plate_error": 90.0}).advice]
    said += [*assess_quality({"usable": 0.1, "mouth_covered": 0.9}).advice, *assess_quality({"usable": 0.1}).advice]
    photo = {
        "source_eye_px": 9.0,
        "turned_degrees": 44.0,
        "mouth_gap": 0.5,
        "lid_gap": 0.01,
        "mouth_odds": -9.0,
        "eye_light": 0.1,
    }
    said += limits(photo)
    assert len(set(said)) >= 20
    for one in said:
        assert any(pattern.search(one) for pattern in patterns), one
