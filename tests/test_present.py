"""`present`: a deck becomes a film whose slides change at their words, and of which only what changed is made again."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from avatar.cli import app
from avatar.core.avatar_file import Avatar
from avatar.core.coding import Coding
from avatar.core.controls import Controls, resolve_controls
from avatar.core.encode import write_video
from avatar.core.files import UserError, digest_file
from avatar.core.media import ffmpeg_binary, probe, read_speech, read_whole, write_wav
from avatar.pipelines.present import Presenting, choose_slides, present, present_number
from avatar.pipelines.present_scenes import BEFORE, FPS
from avatar.presenter.decks import Sources, open_deck
from avatar.presenter.store import store_folder
from avatar.provenance.films import find_mark
from avatar.provenance.keys import make_keys
from avatar.provenance.sign import FACTS
from tests.decks import make_deck

pytest.importorskip("hibari")
pytest.importorskip("pypdfium2")
SMALL = Presenting(lines=360, shape="circle")
NOTES = ["Hello to all of you.", "Here is the second one. [next] And the third comes early.", "[layout: full] It ends."]


def frames_of(film: Path) -> np.ndarray:
    """Luma [n, H, W] of a film."""
    return np.stack([one[: one.shape[0] * 2 // 3] for one in read_whole(film, fps=FPS, pixels="nv12")])


def chapters(film: Path) -> list[str]:
    said = subprocess.run(
        [ffmpeg_binary(), "-i", str(film)], capture_output=True, stdin=subprocess.DEVNULL
    ).stderr.decode()
    return [line.partition(":")[2].strip() for line in said.split("\n") if line.strip().startswith("title")]


@pytest.fixture(scope="module")
def made(avatar: Avatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a deck of three slides and its film."""
    folder = tmp_path_factory.mktemp("present")
    make_deck(folder / "a.pptx", NOTES)
    shown = replace(SMALL, saying=replace(SMALL.saying, captions="srt"))
    result = present(avatar, folder / "a.pptx", folder / "a.mp4", presenting=shown)
    assert result.made == result.frames
    return folder


def test_a_film_has_its_slides_chapters_captions_and_sound(made: Path) -> None:
    film = made / "a.mp4"
    frames, info = frames_of(film), probe(film)
    assert (info.width, info.height) == (640, 360)
    assert info.seconds == pytest.approx(len(frames) / FPS, abs=0.05)
    assert chapters(film) == [f"Slide {number} of 3" for number in (1, 2, 3)]
    captions = (made / "a.srt").read_text()
    assert "Hello to all of you." in captions
    assert "[" not in captions, "tags are never shown"
    sound = torch.cat(list(read_speech(film)))
    level = 20 * sound[int(BEFORE * 16000) :].square().mean().log10() / 2
    assert -32 < float(level) < -20, "speech at -23 dB of full scale, with its pauses"
    assert sound[: int(0.25 * 16000)].abs().max() < 0.01, "a scene begins in silence"


def test_pictures_change_at_their_words(made: Path) -> None:
    frames = frames_of(made / "a.mp4").astype(int)
    title = frames[:, 20:100, 60:420]
    changes = [number for number in range(1, len(frames)) if np.abs(title[number] - title[number - 1]).mean() > 0.3]
    words = (made / "a.srt").read_text()
    start = words.index("And the third")
    clock = words[:start].strip().split("\n")[-1].partition(" -->")[0]
    due = int(clock[6:8]) + int(clock[9:]) / 1000
    assert any(abs(number / FPS - due) <= 1 / FPS for number in changes), "within a frame of its word"
    assert len(changes) >= 2, "the second slide, and the third before its own scene"


def test_every_part_is_marked(made: Path, avatar: Avatar) -> None:
    found = find_mark(made / "a.mp4")
    assert found is not None
    assert found.number == present_number(avatar, made / "a.pptx", SMALL, resolve_controls(avatar))


def test_only_what_changed_is_made_again(made: Path, avatar: Avatar) -> None:
    before = frames_of(made / "a.mp4")
    again = present(avatar, made / "a.pptx", made / "a.mp4", presenting=SMALL)
    assert again.made == 0
    assert np.array_equal(frames_of(made / "a.mp4"), before)
    make_deck(made / "a.pptx", [NOTES[0].replace("all", "both"), *NOTES[1:]])
    changed = present(avatar, made / "a.pptx", made / "a.mp4", presenting=SMALL)
    assert 0 < changed.made < changed.frames
    after = frames_of(made / "a.mp4")
    same = len(after) // 4
    assert len(after) == changed.frames
    assert np.array_equal(after[-same:], before[-same:]), "copied, not coded again"


def test_a_run_that_was_stopped_goes_on(avatar: Avatar, tmp_path: Path) -> None:
    deck = make_deck(tmp_path / "a.pptx", ["One.", "Two.", "Three."])

    def stop(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "present" and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        present(avatar, deck, tmp_path / "a.mp4", presenting=SMALL, progress=stop)
    assert not (tmp_path / "a.mp4").exists()
    result = present(avatar, deck, tmp_path / "a.mp4", presenting=SMALL)
    assert 0 < result.made < result.frames
    assert all(not one.name.startswith(".") for one in store_folder(tmp_path / "a.mp4").iterdir())


def test_recorded_speech_takes_the_voice_s_place(avatar: Avatar, tmp_path: Path) -> None:
    deck = make_deck(tmp_path / "a.pptx", ["", "[layout: slide] Hi."])
    tone = 0.2 * torch.sin(torch.arange(24000) * 0.1)
    (tmp_path / "sounds").mkdir()
    write_wav(tmp_path / "sounds" / "01.wav", tone)
    asked = replace(SMALL, sources=Sources(sounds=tmp_path / "sounds"), draft=True, slides="1")
    result = present(avatar, deck, tmp_path / "a.mp4", presenting=asked)
    assert probe(tmp_path / "a.mp4").width == 320, "a draft has a quarter of the pixels"
    assert result.frames == pytest.approx((1.5 + 0.9) * FPS, abs=1)


@pytest.mark.parametrize(
    ("notes", "changes", "message"),
    [
        (["", ""], {}, r"has no notes that could be said; .* --silent 5s, or have titles read by --read-titles"),
        (["One. [next] Two. [next]"], {}, r"slide 1: has 2 \[next\], but no builds"),
        (["One.", "[show: gone.png] Two."], {}, r"slide 2: \[show: gone\.png\]: there is no such picture"),
        (["[show: ../../etc/x.png] Two."], {}, "is not in the deck's folder"),
        (["One."], {"slides": "3"}, "shows no slide 3; it has slide 1"),
        (["One."], {"slides": "1-x"}, "'1-x' is no slide"),
        (["Привет, мир."], {}, r"slide 1: .*is not in a script of en-us"),
        (["One."], {"brand": {"colour": "bluish"}}, "must be a colour"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_line(
    notes: list[str], changes: dict[str, Any], message: str, avatar: Avatar, tmp_path: Path
) -> None:
    deck = make_deck(tmp_path / "a.pptx", notes)
    with pytest.raises(UserError, match=message) as raised:
        present(avatar, deck, tmp_path / "a.mp4", presenting=replace(SMALL, **changes))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "a.mp4").exists()


def test_slides_by_number(tmp_path: Path) -> None:
    deck = open_deck(make_deck(tmp_path / "a.pptx", ["a"] * 6, hidden=[3]), Sources(), tmp_path)
    assert choose_slides("1, 2-4,6", deck) == {1, 2, 4, 6}
    assert choose_slides(None, deck) == {1, 2, 4, 5, 6}


def test_silence_and_titles_in_place_of_notes(avatar: Avatar, tmp_path: Path) -> None:
    deck = make_deck(tmp_path / "a.pptx", ["", ""])
    quiet = replace(SMALL, silent=0.4, coding=Coding(quality="draft"))
    assert present(avatar, deck, tmp_path / "a.mp4", presenting=quiet, controls=Controls()).frames == 20
    read = replace(SMALL, read_titles=True, slides="2", draft=True)
    assert present(avatar, deck, tmp_path / "b.mp4", presenting=read).frames > 30


def test_a_signed_film_of_a_command_keeps_its_scenes_beside_its_own_name(avatar_file: Path, tmp_path: Path) -> None:
    c2pa = pytest.importorskip("c2pa")
    make_keys(tmp_path / "keys", "Test Studio")
    deck = make_deck(tmp_path / "a.pptx", ["One."])
    film = tmp_path / "film.mp4"
    command = ["present", str(deck), str(avatar_file), "-o", str(film), "--draft", "--lines", "360", "--silent", "1s"]
    command += ["--captions", "vtt", "--sign", str(tmp_path / "keys")]
    for kept in ("", "of them kept"):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert kept in result.stdout
    assert store_folder(film).is_dir()
    assert (tmp_path / "film.vtt").read_text().startswith("WEBVTT")
    with film.open("rb") as stream, c2pa.Reader("video/mp4", stream) as reader:
        manifest = json.loads(reader.json())
    facts = next(one["data"] for one in active(manifest)["assertions"] if one["label"] == FACTS)
    assert facts["deck_sha256"] == digest_file(deck)
    assert facts["voice"] == "hibari"
    assert [one["title"] for one in active(manifest)["ingredients"]] == ["a.pptx"]


def active(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a film itself, not of what went into it."""
    found: dict[str, Any] = manifest["manifests"][manifest["active_manifest"]]
    return found


def test_a_person_stands_before_a_background_in_another_light(avatar: Avatar, tmp_path: Path) -> None:
    """Behind them, and round slides that do not fill the frame; the lamp's side of the face is the brighter one."""
    deck = make_deck(tmp_path / "a.pptx", [""])
    asked = replace(SMALL, silent=0.2, layout="full", shape="box", background="#808080")

    def shown(**changes: Any) -> np.ndarray:
        present(avatar, deck, tmp_path / "a.mp4", presenting=replace(asked, **changes), force=True)
        return frames_of(tmp_path / "a.mp4").mean(0)

    left, right = shown(light="left"), shown(light="right")
    grey = 16 + 219 * 0x80 / 255
    assert np.abs(left[:, :100] - grey).max() < 4
    face = left[60:300, 200:440] - right[60:300, 200:440]
    assert face[:, :120].mean() > 2 > -2 > face[:, 120:].mean()
    corner = shown(layout="corner", background="#202020")
    assert corner.min() < 50 < 200 < np.median(corner)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"background": "transparent"}, "have no alpha"),
        ({"background": "film.mp4"}, "moves, which films of slides do not"),
        ({"light": "background"}, "goes with --background"),
        ({"light": "lamp.yaml"}, "changes over time"),
        ({"grade": "gone.cube"}, "gone.cube"),
    ],
)
def test_backgrounds_and_lights_that_cannot_be(
    changes: dict[str, Any], message: str, avatar: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lamp.yaml").write_text("0: {direction: left}\n2: {direction: right}\n")
    write_video((np.full((48, 32), number, np.uint8) for number in range(5)), tmp_path / "film.mp4", fps=25)
    deck = make_deck(tmp_path / "a.pptx", [""])
    with pytest.raises(UserError, match=message):
        present(avatar, deck, tmp_path / "a.mp4", presenting=replace(SMALL, silent=0.2, **changes))
