"""Decks of all kinds: what is read of them, what is drawn, and what is refused."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar.core.files import UserError
from avatar.core.media import write_wav
from avatar.presenter.builds import write_build
from avatar.presenter.decks import Sources, open_deck
from avatar.presenter.drawing import LAST
from avatar.presenter.package import OLE
from avatar.presenter.scenes import Deck
from tests.decks import make_deck, replace_part

pytest.importorskip("pypdfium2")


def opened(path: Path, folder: Path, **sources: object) -> Deck:
    place = folder / "unpacked"
    place.mkdir(exist_ok=True)
    return open_deck(path, Sources(**sources), place)  # type: ignore[arg-type]


def test_a_deck_with_notes_and_hidden_slides(tmp_path: Path) -> None:
    deck = opened(make_deck(tmp_path / "a.pptx", ["One.", "Two.", "Three."], hidden=[2]), tmp_path)
    assert [(one.number, one.title, one.notes) for one in deck.scenes] == [
        (1, "Slide 1 of 3", "One."),
        (3, "Slide 3 of 3", "Three."),
    ]
    assert "hidden, so left out: slide 2" in deck.remarks
    for lines in (1080, 2160):
        picture = deck.pictures.draw(3, LAST, lines * 16 // 9, lines)
        assert picture.size == (lines * 16 // 9, lines)
        assert np.asarray(picture).min() < 60, "its title is drawn"


def test_builds_show_one_shape_more_each(tmp_path: Path) -> None:
    deck = opened(make_deck(tmp_path / "a.pptx", ["One."], clicks=3), tmp_path)
    assert deck.scenes[0].builds == 4

    def dark(build: int) -> list[bool]:
        picture = np.asarray(deck.pictures.draw(1, build, 320, 180).convert("L"))
        return [bool(picture[90, 20 * (1 + 2 * index) + 10] < 50) for index in range(3)]

    assert [dark(build) for build in (0, 1, 2)] == [[False] * 3, [True, False, False], [True, True, False]]
    assert dark(LAST) == [True] * 3
    write_build(tmp_path / "a.pptx", 0, tmp_path / "b.pptx")
    assert opened(tmp_path / "b.pptx", tmp_path).scenes[0].title == "Slide 1 of 1", "is a deck as before"


def test_a_pdf_takes_its_words_from_a_script(tmp_path: Path) -> None:
    red, black = (Image.new("RGB", (160, 90), colour) for colour in ("red", "black"))
    red.save(tmp_path / "a.pdf", save_all=True, append_images=[black])
    (tmp_path / "s.md").write_text("---\nlayout: side\n---\n# First\nHello.\n---\nBye.\n")
    with pytest.raises(UserError, match="a PDF has no notes; give what is said by --script"):
        opened(tmp_path / "a.pdf", tmp_path)
    deck = opened(tmp_path / "a.pdf", tmp_path, script=tmp_path / "s.md")
    assert [(one.title, one.notes.strip()) for one in deck.scenes] == [("First", "Hello."), ("Page 2", "Bye.")]
    assert deck.front == {"layout": "side"}
    assert deck.pictures.draw(1, LAST, 1920, 1080).getpixel((900, 500)) == (254, 0, 0)
    (tmp_path / "s.md").write_text("Hello.")
    with pytest.raises(UserError, match=r"s\.md: has 1 scenes, .*a\.pdf 2 slides"):
        opened(tmp_path / "a.pdf", tmp_path, script=tmp_path / "s.md")


def test_a_markdown_script_draws_its_own_slides(tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), "blue").save(tmp_path / "p.png")
    (tmp_path / "s.md").write_text(
        "# Title\n- a point\n\n::: notes\nSaid here.\n:::\n---\n![](p.png)\n\n::: notes\nAnd here.\n:::\n"
    )
    deck = opened(tmp_path / "s.md", tmp_path)
    assert [(one.title, one.notes) for one in deck.scenes] == [("Title", "Said here."), ("And here.", "And here.")]
    first, second = (np.asarray(deck.pictures.draw(number, LAST, 320, 180)) for number in (1, 2))
    assert first.min() < 60
    assert second[90, 160].tolist() == [0, 0, 255]
    assert second[90, 5].tolist() == [255, 255, 255], "a picture keeps its shape"
    for text, message in (
        ("a\n::: notes\nb", "line 2: '::: notes' is not closed"),
        ("![](../x.png)", "line 1: .*is not in the script's folder"),
        ("![](http://a/x.png)", "is not in the script's folder"),
        ("---\nlayout: cornr\n---\na", "layout is 'cornr'"),
        ("---\nfont: x\n---\na", "'font' is not known"),
    ):
        (tmp_path / "s.md").write_text(text)
        with pytest.raises(UserError, match=message):
            opened(tmp_path / "s.md", tmp_path)


def test_a_folder_of_pictures_texts_and_sounds(tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "deck"
    folder.mkdir()
    for number in (1, 2, 10):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(folder / f"{number:02d} the_{number}.png")
    (folder / "01.txt").write_text("Hello.")
    write_wav(folder / "2.wav", torch.zeros(16000))
    deck = opened(folder, tmp_path)
    assert [(one.number, one.title, one.notes) for one in deck.scenes] == [
        (1, "the 1", "Hello."),
        (2, "the 2", ""),
        (10, "the 10", ""),
    ]
    assert deck.scenes[1].sound == folder / "2.wav"
    assert deck.pictures.draw(10, LAST, 640, 480).getpixel((9, 9)) == (10, 0, 0)
    (folder / "07.txt").write_text("Nothing to show.")
    with pytest.raises(UserError, match=r"07\.txt: there is no picture of its number"):
        opened(folder, tmp_path)


def test_one_recording_of_all_slides(tmp_path: Path) -> None:
    import torch

    path = make_deck(tmp_path / "a.pptx", ["", ""])
    write_wav(tmp_path / "talk.wav", torch.zeros(10 * 16000))
    deck = opened(path, tmp_path, recording=tmp_path / "talk.wav", times="0, 0:05.13")
    assert [(one.start, one.stop) for one in deck.scenes] == [(0.0, 5.12), (5.12, None)]
    for times, message in (("0", "1 are given for 2 slides"), ("0, x", "'x' is no time"), ("3, 2", "must grow")):
        with pytest.raises(UserError, match=message):
            opened(path, tmp_path, recording=tmp_path / "talk.wav", times=times)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ppt", b"x", r"\.ppt files are not read; open it in PowerPoint or LibreOffice and save it as \.pptx"),
        ("a.key", b"x", "open it in Keynote and export it"),
        ("a.pptx", OLE + b"x" * 600, r"of PowerPoint before 2007"),
        ("a.pptx", OLE + "EncryptedPackage".encode("utf-16-le"), "is encrypted"),
        ("a.pptx", b"", "is empty"),
        ("a.pptx", b"PK nothing", "is no .pptx file"),
        ("a.docx", b"x", "is no deck that is read"),
        ("a.pdf", b"%PDF-1.4 nothing", "is no PDF that can be read"),
    ],
)
def test_files_that_are_no_decks(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        opened(tmp_path / name, tmp_path)


def test_decks_that_would_harm(tmp_path: Path) -> None:
    path = make_deck(tmp_path / "a.pptx", ["One."])
    with zipfile.ZipFile(path) as package:
        slide = package.read("ppt/slides/slide1.xml")
    attack = b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">]>'
    replace_part(path, "ppt/slides/slide1.xml", slide.replace(b"<p:sld ", attack + b"<p:sld ", 1))
    with pytest.raises(UserError, match=r"slide1\.xml declares entities"):
        opened(path, tmp_path)
    replace_part(path, "ppt/slides/slide1.xml", slide)
    replace_part(path, "ppt/media/bomb.bin", bytes(40_000_000))
    with pytest.raises(UserError, match=r"bomb\.bin unpacks to 40 MB"):
        opened(path, tmp_path)
    replace_part(path, "ppt/media/bomb.bin", None)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(200) + data[len(data) // 2 + 200 :])
    with pytest.raises(UserError, match=r"a\.pptx: is damaged"):
        opened(path, tmp_path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"is no \.pptx file"):
        opened(path, tmp_path)
    replace_part(make_deck(path, ["One."]), "ppt/presentation.xml", None)
    with pytest.raises(UserError, match="is no PowerPoint deck"):
        opened(path, tmp_path)


def test_links_out_of_a_deck_lead_nowhere(tmp_path: Path) -> None:
    path = make_deck(tmp_path / "a.pptx", ["One."])
    name = "ppt/slides/_rels/slide1.xml.rels"
    with zipfile.ZipFile(path) as package:
        links = package.read(name)
    kind = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships/image"
    one = b'<Relationship Id="rId99" Type="' + kind + b'" Target="file:///etc/passwd" TargetMode="External"/>'
    replace_part(path, name, links.replace(b"</Relationships>", one + b"</Relationships>"))
    deck = opened(path, tmp_path)
    assert "1 links to files or the network were not followed" in deck.remarks
    with zipfile.ZipFile(tmp_path / "unpacked" / "deck.pptx") as package:
        assert b"passwd" not in package.read(name)


def test_fonts_that_stand_in_are_said(tmp_path: Path) -> None:
    deck = opened(make_deck(tmp_path / "a.pptx", ["One."]), tmp_path)
    if deck.drawn_by == "betteroffice-pptx":
        assert any("Calibri by " in one for one in deck.remarks) or not any("fonts" in one for one in deck.remarks)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_decks_are_refused_in_a_line_or_read(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    path = make_deck(tmp_path / "a.pptx", ["One. [next] Two.", "Three."], clicks=1)
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    for name in draw.sample([one for one in parts if one.endswith((".xml", ".rels"))], 2):
        data = bytearray(parts[name])
        if draw.random() < 0.5:
            data[draw.randrange(len(data))] = draw.randrange(256)
        else:
            start = draw.randrange(len(data))
            del data[start : start + draw.randrange(1, 200)]
        replace_part(path, name, bytes(data))
    said = f"{path}: nothing"
    try:
        deck = opened(path, tmp_path)
        for scene in deck.scenes:
            deck.pictures.draw(scene.number, LAST, 160, 90)
    except UserError as error:
        said = str(error)
    assert said.startswith(str(path)), "names the deck, and raises nothing else"
    assert "\n" not in said
