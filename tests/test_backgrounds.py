"""Backgrounds that move or are made, and the person's place before them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.media import SoundTrack, probe, read_speech, write_wav
from avatar.pipelines.film_sound import film_sound
from avatar.play.framing import Framing
from avatar.play.look import Look
from avatar.scene.background import Backdrop, open_background, own_shape
from avatar.scene.place import Place, parse_frame, parse_place, usual_frame
from avatar.scene.scene import Scene, make_scene
from avatar.scene.still import blur_plate, read_background

FPS, FRAMES = 25.0, 40
WIDE = (36, 64)


def brighter() -> Iterator[np.ndarray]:
    """A film [72, 128] whose grey says the frame: 20 + 5 n."""
    for frame in range(FRAMES):
        yield np.full((72, 128, 3), 20 + 5 * frame, np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The film, with a tone."""
    folder = tmp_path_factory.mktemp("behind")
    write_wav(folder / "tone.wav", 0.1 * torch.sin(torch.arange(25600) * 0.2))
    write_video(brighter(), folder / "behind.mp4", fps=FPS, sound=folder / "tone.wav")
    return folder / "behind.mp4"


def greys(film: Path, backdrop: Backdrop, count: int, fps: float = FPS) -> list[float]:
    moving = open_background(str(film), WIDE, fps, backdrop)
    assert not isinstance(moving, Tensor)
    shown = [(float(one.float().mean()), tuple(one.shape)) for one in islice(moving, count)]
    moving.close()  # type: ignore[attr-defined]
    assert {shape for _, shape in shown} == {(*WIDE, 3)}
    return [grey for grey, _ in shown]


def test_a_film_is_looped_without_a_jump(film: Path) -> None:
    shown = np.array(greys(film, Backdrop(), 2 * FRAMES))
    assert shown[:25] == pytest.approx(20 + 5 * np.arange(25), abs=3)
    back = np.diff(shown)
    assert back.min() < -5, "it begins anew"
    assert back.min() > -(shown.max() - shown.min()) / 4, "but in steps"


def test_a_film_is_held_at_its_end(film: Path) -> None:
    shown = greys(film, Backdrop(end="hold"), FRAMES + 10)
    assert shown[-1] == shown[FRAMES] == pytest.approx(20 + 5 * (FRAMES - 1), abs=3)


def test_a_part_of_a_film_at_its_own_speed(film: Path) -> None:
    shown = greys(film, Backdrop(start=0.4, stop=0.8, end="hold"), 30, fps=50.0)
    assert shown[:20:2] == pytest.approx([20 + 5 * frame for frame in range(10, 20)], abs=4)
    assert shown[-1] == pytest.approx(20 + 5 * 19, abs=4)


def test_its_thread_ends_with_it(film: Path) -> None:
    greys(film, Backdrop(), 3)
    assert not [one for one in threading.enumerate() if one.name == "background"]


def test_the_middle_of_a_film_is_shown(tmp_path: Path) -> None:
    picture = np.zeros((64, 200, 3), np.uint8)
    picture[:, 68:132] = 220
    write_video([picture] * 3, tmp_path / "x.mp4", fps=FPS)
    moving = open_background(str(tmp_path / "x.mp4"), (64, 64), FPS)
    assert next(moving)[:, 4:-4].float().mean() > 200  # type: ignore[arg-type]


def test_a_film_that_is_damaged_in_its_middle_goes_on(film: Path, tmp_path: Path) -> None:
    data = bytearray(film.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 60] = bytes(60)
    (tmp_path / "damaged.mp4").write_bytes(data)
    assert len(greys(tmp_path / "damaged.mp4", Backdrop(), FRAMES)) == FRAMES


@pytest.mark.parametrize("pan", ["in", "out", "left", "right", "up", "down"])
def test_a_still_is_panned_slowly(tmp_path: Path, pan: str) -> None:
    ramp = np.add.outer(np.arange(90), np.arange(160))[..., None].repeat(3, 2)
    Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(tmp_path / "x.png")
    moving = open_background(str(tmp_path / "x.png"), (90, 160), 1.0, Backdrop(pan=pan))  # type: ignore[arg-type]
    shown = torch.stack(list(islice(moving, 41))).float()
    assert (shown[0] - shown[20]).abs().mean() > 1, "it moves"
    assert (shown[0] - shown[40]).abs().max() == 0, "and comes back"
    assert (shown[1:] - shown[:-1]).abs().mean((1, 2, 3)).max() < 1.5, "slowly"


def test_gradients_run_from_colour_to_colour() -> None:
    down = read_background("gradient:#400000:#000080", (64, 32)).float()
    assert (down[0, 0] - torch.tensor([64.0, 0, 0])).abs().max() < 16
    assert (down[-1, 0] - torch.tensor([0.0, 0, 128])).abs().max() < 16
    across = read_background("gradient:white:black:90", (32, 64)).float()
    assert across[:, -1].min() > 240 > 60 > across[:, 0].max() - 60
    steps = read_background("gradient:#303030:#343434", (512, 64)).float().mean((1, 2))
    assert (steps[1:] - steps[:-1]).abs().max() < 0.5, "no bands"


def test_a_blurred_plate_keeps_its_light() -> None:
    plate = torch.zeros(64, 64, 3, dtype=torch.uint8)
    plate[32, 32] = 255
    disc = blur_plate("blur:0.1", plate, (64, 64)).float().div(255).pow(2.2)[..., 0]
    assert float(disc.sum()) == pytest.approx(1.0, rel=0.1)
    assert float(disc[32, 32]) == pytest.approx(float(disc[32, 36]), rel=0.05), "a disc, as lenses draw points"
    assert float(disc[32, 42]) == 0


def test_a_person_stands_on_the_lower_edge() -> None:
    framing = Framing((160, 240), Place(0.5, 0.5, 0.25))
    assert framing.side == 80
    rgb, alpha = torch.zeros(1, 3, 80, 80), torch.zeros(1, 1, 80, 80)
    rgb[..., 30:50], alpha[..., 30:50] = 1.0, 1.0
    background = torch.full((160, 240, 3), 50, dtype=torch.uint8)
    (picture,) = framing.paint(rgb, alpha, background, "rgb")
    expected = np.full((160, 240), 50)
    expected[100:, 110:130] = 255
    assert (picture == expected[..., None]).all()
    (cut_out,) = framing.paint(rgb, alpha, background, "rgba")
    assert (cut_out[..., 3] == np.where(expected == 255, 255, 0)).all()


def test_shoulders_that_the_square_cuts_off_fall_below_the_edge() -> None:
    framing = Framing((100, 200), Place(0.5, 1.0))
    alpha = torch.zeros(1, 1, 100, 100)
    alpha[:, :, 70:] = 1
    background = torch.zeros(100, 200, 3, dtype=torch.uint8)
    (picture,) = framing.paint(alpha.expand(-1, 3, -1, -1).clone(), alpha, background, "rgb")
    height = (picture[..., 0] > 127).sum(0)
    assert height[50] == height[149] == 0
    assert height[100] == 30
    assert np.abs(np.diff(height)).max() <= 4, "no upright edge"
    beside = Framing((100, 200), Place(0.0, 1.0))
    (picture,) = beside.paint(alpha.expand(-1, 3, -1, -1).clone(), alpha, background, "rgb")
    assert (picture[..., 0] > 127).sum(0)[0] == 30, "at the picture's edge nothing is cut off"


def test_places_and_frames_as_they_are_written() -> None:
    assert parse_place("right,size=0.8,crop=0.1") == Place(1.0, 0.8, 0.1)
    assert parse_place("0.3").corner((1080, 1920)) == (round(0.3 * (1920 - 972)), 108)
    assert parse_frame("1280x720") == (720, 1280)
    assert usual_frame((2160, 3841)) == (1078, 1920)
    assert usual_frame(None) == (1080, 1920)
    scene = make_scene({"place": "left", "background_from": 2.0, "background_end": "loop"})
    assert scene == Scene(Backdrop(start=2.0), Place(0.0))


def test_a_picture_is_as_large_as_its_background(tmp_path: Path, film: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "x.jpg", exif=exif)
    assert own_shape(str(tmp_path / "x.jpg")) == (40, 20)
    assert own_shape(str(film)) == (72, 128)
    assert own_shape("gradient:red:blue") is None


def test_the_sound_behind_is_mixed_under_the_voice(film: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "voice.wav", torch.zeros(64000))
    voice = SoundTrack(tmp_path / "voice.wav", probe(tmp_path / "voice.wav"))
    plain = Look(background=str(film))
    with film_sound(plain, [voice], 4.0) as tracks:
        assert tracks == [voice]
    for end, until in (("loop", 4.0), ("hold", 1.6)):
        look = replace(plain, scene=Scene(Backdrop(end=end, sound=-6.0)))  # type: ignore[arg-type]
        with film_sound(look, [voice], 4.0) as (mixed,):
            samples = torch.cat(list(read_speech(mixed, check_length=False)))
        assert len(samples) == 64000
        sounding = samples[800 : int(16000 * until) - 800].square().mean().sqrt()
        assert float(sounding) == pytest.approx(0.0707 / 2, rel=0.1)
        assert not samples[int(16000 * until) + 800 :].abs().gt(1e-3).any()


BAD: list[tuple[dict[str, object], str]] = [
    ({"background": "gradient:red"}, "2 to 8 colours"),
    ({"background": "gradient:red:nocolour"}, "neither a picture file nor a colour"),
    ({"background": "blur:3"}, "share above 0"),
    ({"background": "FILM", "background_from": 9.0}, "nothing lies between 9 s and its end"),
    ({"background": "FILM", "background_pan": "in"}, "moves by itself"),
    ({"background": "white", "background_from": 1.0}, "is no film"),
    ({"background": "white", "background_pan": "in"}, "could be panned"),
    ({"background": "missing.mp4"}, "no such"),
    ({"background_from": 1.0}, "goes with --background"),
    ({"background": "white", "place": "under"}, "left, middle, right or a number"),
    ({"background": "white", "place": "left,size=9"}, "size must be a number from 0.1 to 3"),
    ({"background": "white", "place": "left,tall=1"}, "then size= and crop="),
    ({"background": "white", "frame": "641x360"}, "even"),
    ({"background": "white", "place": "left", "size": 256}, "that of --place"),
    ({"place": "left", "full_frame": True}, "keep place"),
]


def check(options: dict[str, Any]) -> None:
    scene = make_scene(options)
    look = Look(options.get("size"), None, options.get("background"), bool(options.get("full_frame")), scene=scene)
    open_background(str(look.background), WIDE, FPS, scene.backdrop, torch.zeros(8, 8, 3, dtype=torch.uint8))


@pytest.mark.parametrize(("options", "words"), BAD)
def test_what_cannot_be_is_one_line_before_any_work(options: dict[str, object], words: str, film: Path) -> None:
    options = {name: str(film) if value == "FILM" else value for name, value in options.items()}
    with pytest.raises(UserError, match=words) as refused:
        check(options)
    assert "\n" not in str(refused.value)
