"""Decks of the studio: what is given is unpacked, looked at, shown slide by slide, and becomes a film's job."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.media_sound import write_wav
from avatar.presenter.joining import Chapter, join_parts
from avatar.studio.deck_files import SLIDES, find_deck, take_deck
from avatar.studio.decks import chapters_of
from tests.studio_process import Served, expected


def picture(colour: str = "#336699") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (320, 180), colour).save(data, "PNG")
    return data.getvalue()


def archive(place: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(place, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return place


PICTURES = {"deck/01 start.png": picture(), "deck/02 end.png": picture("#993333")}


def test_a_folder_of_pictures_is_unpacked_and_drawn(tmp_path: Path) -> None:
    texts = {"deck/01.txt": b"Good morning.", "__MACOSX/deck/._01.txt": b"x", "deck/.DS_Store": b"x"}
    packed = archive(tmp_path / "deck.zip", **PICTURES | texts)
    found = take_deck(packed, "deck", tmp_path / "decks" / "deck")
    first, second = found["slides"]
    assert (first["title"], first["notes"], first["silent"]) == ("start", "Good morning.", False)
    assert (second["title"], second["silent"], second["problem"]) == ("end", True, "")
    folder = tmp_path / "decks" / "deck"
    assert find_deck(folder).deck == folder
    with Image.open(folder / SLIDES / second["picture"]) as shown:
        assert np.abs(np.asarray(shown).mean((0, 1)) - (0x99, 0x33, 0x33)).max() < 3
    assert not (folder / ".DS_Store").exists()


def test_a_pdf_takes_its_script_and_sounds_from_beside_it(tmp_path: Path) -> None:
    for name in ("talk.pdf", "talk.md", "01.wav", "fonts/House.ttf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_deck(tmp_path)
    assert found.deck == tmp_path / "talk.pdf"
    assert (found.sources.script, found.sources.sounds) == (tmp_path / "talk.md", tmp_path)
    assert found.sources.fonts == tmp_path / "fonts"


def test_what_is_wrong_is_said_slide_by_slide(tmp_path: Path) -> None:
    texts = {"01.txt": b"Good [laugh]\nmorning.", "02.txt": b"It [shrug] works."}
    pictures = {name.partition("/")[2]: data for name, data in PICTURES.items()}
    found = take_deck(archive(tmp_path / "deck.zip", **texts | pictures), "deck", tmp_path / "deck")
    assert ["[laugh]" in one["problem"] for one in found["slides"]] == [True, False]
    assert "[shrug]" in found["slides"][1]["problem"]


@pytest.mark.parametrize(
    "name", ["../01.png", "/01.png", "a/../../01.png", "a\\01.png", "a:b/01.png", "n" * 200 + ".png"]
)
def test_no_name_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="rename it"):
        take_deck(archive(tmp_path / "deck.zip", **{name: picture()}), "deck", tmp_path / "in" / "deck")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["deck.zip"]


def test_a_link_in_an_archive_is_a_file(tmp_path: Path) -> None:
    """Its text is what it would lead to, which no picture is; nothing is followed."""
    (tmp_path / "secret.png").write_bytes(picture())
    place = tmp_path / "deck.zip"
    with zipfile.ZipFile(place, "w") as packed:
        link = zipfile.ZipInfo("01.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, str(tmp_path / "secret.png"))
    with pytest.raises(UserError, match=r"01\.png"):
        take_deck(place, "deck", tmp_path / "deck")


def test_archives_that_are_none_or_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(archive(tmp_path / "good.zip", **PICTURES).read_bytes()[:-30])
    with pytest.raises(UserError, match="damaged"):
        take_deck(damaged, "deck", tmp_path / "deck")
    monkeypatch.setattr("avatar.studio.deck_files.MOST_BYTES", 100)
    with pytest.raises(UserError, match="unpacks to more"):
        take_deck(tmp_path / "good.zip", "deck", tmp_path / "deck")
    with pytest.raises(UserError, match="no deck is in it"):
        take_deck(archive(tmp_path / "empty.zip", **{"notes.doc": b"x"}), "deck", tmp_path / "deck")
    assert not (tmp_path / "deck").exists()


def test_a_film_says_its_chapters(tmp_path: Path) -> None:
    parts = []
    for number in range(2):
        place = tmp_path / f"{number}.mp4"
        frames = (np.full((96, 64), 90 * number, np.uint8) for _ in range(25))
        parts.append((place, write_video(frames, place, fps=25)))
    write_wav(tmp_path / "sound.wav", torch.zeros(32_000))
    chapters = [Chapter("a = b; # c", 0.0, 1.0), Chapter("Zwei\\", 1.0, 2.0)]
    join_parts(parts, tmp_path / "sound.wav", tmp_path / "film.mp4", fps=25, chapters=chapters)
    found = [(one["title"], round(one["start"], 3)) for one in chapters_of(tmp_path / "film.mp4")]
    assert found == [("a = b; # c", 0.0), ("Zwei\\", 1.0)]


SCRIPT = b"# Hello\n\n::: notes\nGood morning.\n:::\n\n---\n# Two\n\n::: notes\nGoodbye.\n:::\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(tmp_path_factory.mktemp("library"))
    (running.folder / "anna").mkdir()
    (running.folder / "anna" / "anna.avatar").write_bytes(b"an avatar")
    yield running
    running.stop()


def take(served: Served, name: str, data: bytes, **values: Any) -> dict[str, Any]:
    return served.json("POST", "/api/people/anna/decks", {"upload": served.upload("deck", name, data)} | values)


def test_a_deck_becomes_a_film_that_its_new_version_replaces(served: Served) -> None:
    pytest.importorskip("pptx")
    deck = take(served, "../../Ünser Talk.md", SCRIPT)
    assert deck["name"] == "unser-talk"
    assert [one["title"] for one in deck["slides"]] == ["Hello", "Two"]
    status, headers, _ = served.request("GET", deck["slides"][0]["picture"])
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    form = {"layout": "side", "aspect": "9:16", "captions": "vtt", "draft": True}
    job = served.json("POST", "/api/people/anna/decks/unser-talk/film", form)
    assert job["deck"] == "anna/decks/unser-talk/unser-talk.md"
    assert form.items() <= job.items()
    film = served.folder / "anna" / "films" / "unser-talk-upright-draft.mp4"
    served.wait(film)
    assert film.read_bytes() == expected(SCRIPT)
    newer = SCRIPT.replace(b"morning", b"evening")
    again = take(served, "talk 2.md", newer, replaces="unser-talk")
    assert (again["name"], again["slides"][0]["notes"]) == ("unser-talk", "Good evening.")
    served.json("POST", "/api/people/anna/decks/unser-talk/film", form)
    served.wait(film)
    assert film.read_bytes() == expected(newer)
    kept = json.loads(film.with_name(f"{film.name}.json").read_text())
    assert kept["command"].startswith(
        "avatar present anna/decks/unser-talk/unser-talk.md anna/anna.avatar -o anna/films/"
    )
    (film.parent / "unser-talk-upright-draft.scenes").mkdir()
    film.with_suffix(".vtt").write_text("WEBVTT\n")
    (shown,) = served.json("GET", "/api/people/anna")["films"]
    assert served.request("GET", shown["captions"][0])[2] == b"WEBVTT\n"
    served.json("DELETE", f"/api/people/anna/films/{film.name}")
    served.json("DELETE", "/api/people/anna/decks/unser-talk")
    assert not list((served.folder / "anna" / "films").iterdir())
    assert not list((served.folder / "anna" / "decks").iterdir())


def test_bad_decks_get_a_sentence_and_leave_nothing(served: Served) -> None:
    refused = served.refused("POST", "/api/uploads", {"kind": "deck", "name": "talk.key", "size": 10})
    assert refused["code"] == "convert-key"
    assert "export" in refused["error"]
    id = served.upload("deck", "talk.zip", b"PK nothing")
    refused = served.refused("POST", "/api/people/anna/decks", {"upload": id})
    assert refused["error"] == "the archive is damaged; pack it again as .zip"
    assert not list((served.folder / "anna" / "decks").iterdir())
    assert not list((served.folder / ".uploads").glob("*.zip"))
    assert served.refused("GET", "/api/people/anna/decks/..%2F..")["code"] == "gone"
