"""What films of decks are put together from: LibreOffice's pages, films in slides, brands, sounds, glances."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.media import SoundTrack, probe, read_speech, write_wav
from avatar.presenter import drawing
from avatar.presenter.behind import Behind
from avatar.presenter.brand import read_brand
from avatar.presenter.compose import Shot, arrangements
from avatar.presenter.decks import Sources, open_deck
from avatar.presenter.drawing import LAST
from avatar.presenter.free_space import box_ink
from avatar.presenter.inserts import film_sounds, films_of, open_clip
from avatar.presenter.joining import Chapter, join_parts
from avatar.presenter.layouts import Corner, Frame, arrange
from avatar.presenter.parts import caption_room
from avatar.presenter.pptx_deck import read_pptx
from avatar.presenter.scenes import Scene, SlideFilm
from avatar.presenter.soundtrack import RATE, Laid, write_soundtrack
from avatar.presenter.stage import Backdrop, coded_picture, lay
from avatar.presenter.timeline import glances
from tests.decks import make_deck, pptx

FRAME = Frame(640, 360, "circle")


def shot(layout: str = "corner", start: int = 0, picture: str = "a") -> Shot:
    placed = arrange(FRAME, 16 / 9, layout, Corner())  # type: ignore[arg-type]
    return Shot(start, picture, placed, lambda: Image.new("RGB", (640, 360), "white"))


def film(place: Path, seconds: float, *, sound: bool = False) -> Path:
    """A film that becomes brighter with each frame."""
    frames = [np.full((64, 96, 3), 8 * number, np.uint8) for number in range(round(seconds * 25))]
    wav = place.with_suffix(".wav")
    if sound:
        write_wav(wav, 0.3 * torch.sin(torch.arange(round(seconds * 16000)) * 0.3))
    write_video(frames, place, fps=25, sound=wav if sound else None)
    return place


def test_libreoffice_draws_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the program: it writes a PDF of the slides that are not hidden, as LibreOffice does."""
    pages = [Image.new("RGB", (160, 90), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "pages.pdf", save_all=True, append_images=pages[1:])
    program = tmp_path / "soffice"
    program.write_text(
        "#!/bin/sh\n"
        "for last; do :; done\n"
        f'printf "%s\\n" "$@" > {tmp_path}/arguments\n'
        f'cp {tmp_path}/pages.pdf "${{last%.pptx}}.pdf"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(drawing.shutil, "which", lambda name: str(program) if name == "soffice" else None)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    path = make_deck(tmp_path / "a.pptx", ["One.", "Two.", "Three."], hidden=[2])
    deck = open_deck(path, Sources(), folder)
    assert deck.drawn_by == "LibreOffice"
    assert deck.pictures.draw(3, LAST, 160, 90).getpixel((80, 45)) == (0, 0, 254)
    arguments = (tmp_path / "arguments").read_text().split("\n")
    assert "--headless" in arguments
    assert arguments[0].startswith("-env:UserInstallation=file://"), "a profile of its own, without macros"
    program.write_text("#!/bin/sh\necho no filter >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"LibreOffice did not convert it \(no filter\); export it as PDF"):
        open_deck(path, Sources(), folder).pictures.draw(1, LAST, 160, 90)


def test_a_film_in_a_slide_plays_in_its_place(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", 1.0, sound=True)
    deck = pptx.Presentation()
    deck.slide_width, deck.slide_height = 16_000_000, 9_000_000
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    slide.shapes.add_movie(str(path), 4_000_000, 4_500_000, 8_000_000, 4_500_000, mime_type="video/mp4")
    deck.save(str(tmp_path / "a.pptx"))
    (tmp_path / "unpacked").mkdir()
    scene = read_pptx(tmp_path / "a.pptx", tmp_path / "unpacked").scenes[0]
    assert [one.box for one in scene.films] == [(0.25, 0.5, 0.5, 0.5)]
    films = films_of(scene, [shot()], 25.0)
    shown = films.part(0)
    assert shown is not None
    levels = []
    for number in range(40):
        ((picture, left, top),) = shown(number, shot().placed)
        assert (left, top, picture.shape) == (160, 180, (180, 320, 3))
        levels.append(float(picture.mean()))
    assert np.all(np.diff(levels[:24]) > 4), "frame by frame"
    assert levels[30] == levels[39] == levels[24], "and keeps its last picture"
    later = films.part(10)
    assert later is not None
    assert later(0, shot().placed)[0][0].mean() == pytest.approx(levels[10], abs=0.5), "a part begins in its midst"
    under, alone = (film_sounds(scene, 3.0, 5.0, spoken)[0] for spoken in (True, False))
    assert under.start == 3.0
    assert under.gain < 0.2 < alone.gain == 1.0
    edges = np.zeros((540, 960), bool)
    box_ink(edges, scene.films[0].box)
    assert edges[400, 480]
    assert not edges[100, 480]


def test_sounds_lie_where_they_belong_to_the_sample(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", torch.full((16000,), 0.5))
    track = SoundTrack(tmp_path / "a.wav", probe(tmp_path / "a.wav"))
    sounds = [Laid(track, 0.5, 0.25), Laid(track, 1.75, 2.0, gain=0.5), Laid(track, 2.0, 0.5, gain=0.5)]
    write_soundtrack(sounds, 3.0, tmp_path / "out.wav")
    import wave

    with wave.open(str(tmp_path / "out.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE, 2, 3 * RATE)
        samples = np.frombuffer(file.readframes(3 * RATE), "<i2").reshape(-1, 2)[:, 0] / 32767
    for time, value in ((0.4, 0.0), (0.6, 0.5), (0.8, 0.0), (1.85, 0.25), (2.25, 0.5), (2.6, 0.25), (2.9, 0.0)):
        assert samples[round(time * RATE)] == pytest.approx(value, abs=0.02), time
    assert np.flatnonzero(np.abs(samples) > 0.1)[0] == pytest.approx(0.5 * RATE, abs=0.002 * RATE)


def test_parts_are_joined_without_coding_them_again(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    parts = []
    for number, count in enumerate((30, 7, 50)):
        frames = [draw.integers(0, 255, (96, 64), np.uint8) for _ in range(count)]
        place = tmp_path / f"part {number}'s.mp4"
        write_video(frames, place, fps=25)
        parts.append((place, count))
    write_wav(tmp_path / "s.wav", torch.zeros(round(87 / 25 * 16000)))
    chapters = [Chapter("a = b; # c", 0.0, 1.2), Chapter("Zwei\\", 1.2, 3.48)]
    join_parts(parts, tmp_path / "s.wav", tmp_path / "out.mp4", fps=25, chapters=chapters)
    from avatar.core.media import read_whole

    whole = list(read_whole(tmp_path / "out.mp4", fps=25, pixels="nv12"))
    single = [one for place, _ in parts for one in read_whole(place, fps=25, pixels="nv12")]
    assert len(whole) == len(single) == 87
    assert all(np.array_equal(one, other) for one, other in zip(whole, single, strict=True))


def test_a_brand_has_its_colours_logo_and_clips(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 20), (255, 0, 0, 255)).save(tmp_path / "logo.png")
    film(tmp_path / "intro.mp4", 0.4)
    (tmp_path / "house.yaml").write_text(
        "colour: '#102030'\nlogo: logo.png\nlogo_corner: bottom-left\nlogo_height: 0.1\nintro: intro.mp4\n"
    )
    brand = read_brand(tmp_path / "house.yaml")
    picture = Image.new("RGB", (480, 360), "white")
    behind = Behind(brand, None, torch.zeros(8, 8, 3, dtype=torch.uint8), 25)
    still = Backdrop(brand, behind, (640, 360), None).still(picture, arrange(FRAME, 4 / 3, "slide", Corner()))
    assert still.rgb[10, 10].tolist() == [16, 32, 48]
    assert still.rgb[180, 320].tolist() == [255, 255, 255]
    assert still.rgb[360 - 12 - 5, 12 + 30].tolist() == [255, 0, 0]
    clip = open_clip(brand.files["intro"], 25.0)
    assert clip is not None
    shown = list(clip.pictures(640, 360, 25.0))
    assert (len(shown), shown[0].shape) == (10, (360, 640, 3))
    assert shown[9][180, 320].mean() > 60
    assert shown[9][180, 5].max() == 0, "black beside it"
    for text, message in (("logo: gone.png", "no such file"), ("font: 3", "font"), ("colours: red", "colours")):
        (tmp_path / "house.yaml").write_text(text)
        with pytest.raises(UserError, match=message):
            read_brand(tmp_path / "house.yaml")


def test_parts_are_laid_into_frames_and_cut_at_their_edges() -> None:
    frame = np.zeros((540, 640), np.uint8)
    lay(frame, coded_picture(np.full((100, 100, 3), 255, np.uint8)), 600, -20)
    assert frame[:80, 600:].min() == 235
    assert frame[80:360].max() == 0
    assert frame[:, :600].max() == 0
    assert (frame[360:400, 600:] == 128).all(), "its chroma lies with it"


def test_arrangements_move_at_changes_and_rest_between() -> None:
    shots = [shot(), shot("side", 20), shot("side", 50, "b")]
    steps = list(arrangements(shots, None, 80, 25.0))
    placed = [one for _, one in steps]
    assert len(set(placed[:20])) == 1
    assert len(set(placed[20:30])) == 10, ".4 s"
    assert len(set(placed[30:])) == 1, "another slide moves nothing"
    assert [one.picture for one, _ in steps] == ["a"] * 50 + ["b"] * 30
    again = list(arrangements([shot()], placed[-1], 20, 25.0))
    assert again[0][1] != again[-1][1] == shots[0].placed, "a scene begins where the one before it was"


def test_captions_keep_clear_of_the_person() -> None:
    right, left = (arrange(FRAME, 16 / 9, "corner", Corner(right=right)) for right in (True, False))
    assert 320 < caption_room(right, 360, 640).stop <= right.left
    assert left.left + left.side <= caption_room(left, 360, 640).start < 320
    whole = slice(0, 640)
    assert caption_room(arrange(FRAME, 16 / 9, "full", Corner()), 360, 640) == whole
    assert caption_room(arrange(FRAME, 16 / 9, "slide", Corner()), 360, 640) == whole
    assert caption_room(arrange(FRAME, 16 / 9, "corner", Corner(bottom=False)), 360, 640) == whole


def test_the_person_looks_at_the_slide_now_and_then() -> None:
    shots = [shot(start=10 * number, picture=str(number)) for number in range(60)]
    acts = glances(shots, 25.0, "seed")
    assert acts == glances(shots, 25.0, "seed")
    looks = [act for act in acts if act.look != "ahead"]
    assert {act.look for act in looks} == {"left"}, "the slide is to the left of who stands at the right"
    assert 25 < len(looks) < 55
    assert all(act.stop - act.start < 1.3 for act in looks)
    assert len(acts) == 2 * len(looks), "and back"
    assert not glances([shot("full"), shot("slide", 5)], 25.0, "seed")


def test_a_recording_s_part_is_what_is_read_of_it(tmp_path: Path) -> None:
    from avatar.core.media import Stretch, find_speech

    draw = torch.Generator().manual_seed(0)
    write_wav(tmp_path / "talk.wav", torch.cat([torch.zeros(16000), 0.1 * torch.randn(16000, generator=draw)]))
    part = torch.cat(list(read_speech(find_speech(tmp_path / "talk.wav", stretch=Stretch(0.5, 1.5)))))
    assert len(part) == 16000
    assert part[:7900].abs().max() == 0 < part[8100:].abs().max()
    assert replace(Scene(1, "a"), films=(SlideFilm(tmp_path, (0, 0, 1, 1), "x"),)).films
