"""Avatars of photos: the actor's frames stand for them, whose truth is known."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatar.core.avatar_file import TRUSTED_TURN, load_avatar
from avatar.core.files import UserError
from avatar.core.geometry import to_vector
from avatar.core.landmarks import LEFT_EYE, RIGHT_EYE
from avatar.core.lips import lip_curves, read_lips
from avatar.core.motion_space import load_space
from avatar.core.recipe import Recipe
from avatar.core.take import PHOTOS, Take, open_take, read_frames, read_mattes, read_track
from avatar.learn.photo_manner import calm_motion, expressions_of
from avatar.pipelines.build import build
from avatar.pipelines.takes import photos_of
from avatar.pipelines.turning import describe_photos
from avatar.play.player import Player
from preprocess.best_view import best_still, rank_views
from preprocess.fit import fixed_camera
from preprocess.photo import make_photo_take
from preprocess.photo_checks import check_human, limits, measure_photo
from preprocess.photo_files import Photo, read_photo
from preprocess.photo_fit import fit_photos
from preprocess.request import TakeRequest
from tests.conftest import Filmed, made_once

CPU = torch.device("cpu")


def frame_of(actor: Filmed, *, opened: bool) -> int:
    """The frame whose lips are least or furthest apart."""
    opening = lip_curves(read_track(actor.take).landmarks)[:, 0]
    return int(opening.argmax() if opened else opening.argmin())


@pytest.fixture(scope="module")
def pictures(actor: Filmed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shut.png` and `open.png`: two frames of the actor."""

    def make(folder: Path) -> None:
        for name, opened in (("shut", False), ("open", True)):
            picture = read_frames(actor.take, [frame_of(actor, opened=opened)])[0].numpy()
            Image.fromarray(picture).save(folder / f"{name}.png")

    return made_once(tmp_path_factory, "photos", make)


@pytest.fixture(scope="module")
def photo_take(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Take:
    """The Take of both, the open mouth named first."""

    def make(folder: Path) -> None:
        photos = [read_photo(pictures / name) for name in ("open.png", "shut.png")]
        make_photo_take(photos, folder / "photos.take", TakeRequest(size=256), device=CPU)

    return open_take(made_once(tmp_path_factory, "photo_take", make) / "photos.take")


def test_a_photo_is_read_as_it_is_meant(tmp_path: Path) -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :30] = (200, 30, 30)  # a red corner, upper left
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: the right side is up
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = read_photo(tmp_path / "turned.jpg").picture
    assert turned.shape == (60, 40, 3)
    assert turned[5, 35, 0] > 150 > turned[5, 5, 0]
    deep = Image.fromarray((np.arange(64, dtype=np.uint16) * 1000)[None].repeat(64, 0))
    deep.save(tmp_path / "deep.png")
    assert np.allclose(read_photo(tmp_path / "deep.png").picture[0, :, 1], np.arange(64) * 1000 / 257, atol=1)
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "clear.webp", lossless=True)
    assert (read_photo(tmp_path / "clear.webp").picture == 200).all()


def test_a_large_photo_is_reduced(tmp_path: Path) -> None:
    Image.new("L", (10_000, 10_000), 90).save(tmp_path / "large.jpg")
    photo = read_photo(tmp_path / "large.jpg")
    assert photo.picture.shape == (1920, 1920, 3)
    assert photo.reduced == pytest.approx(10_000 / 1920)
    (tmp_path / "none.jpg").write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(UserError, match=r"none.jpg: cannot be read .*; give a JPEG"):
        read_photo(tmp_path / "none.jpg")


def test_a_heic_without_its_decoder_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(UserError, match=r"pip install 'avatar-builder\[heic\]'"):
        read_photo(tmp_path / "phone.heic")


def test_the_take_of_photos(photo_take: Take, actor: Filmed) -> None:
    """The shut mouth comes first, pictures and mattes are those of the frames, the mesh lies on the landmarks."""
    assert photo_take.photos == photo_take.length == 2
    assert actor.take.photos == 0
    track = read_track(photo_take)
    opening = lip_curves(track.landmarks)[:, 0]
    assert opening[0] < 0.02 < opening[1]
    true = read_mattes(actor.take, [frame_of(actor, opened=False)])[0].float()
    small = torch.nn.functional.avg_pool2d(true[None], 2)[0]
    assert (read_mattes(photo_take, [0])[0].float() - small).abs().mean() < 8
    assert (photo_take.root / "report.html").is_file()
    assert photo_take.source["name"] == "open.png and 1 more"


def test_one_photo_says_what_is_the_person_and_what_is_the_mouth(actor: Filmed) -> None:
    """The open mouth is expression, not identity: the neutral has shut lips, as that of a clip."""
    space, points = load_space(), read_track(actor.take).landmarks
    reading = read_lips(space.basis)[:, 0]
    openings = {}
    for opened in (False, True):
        one = points[frame_of(actor, opened=opened)][None]
        track, camera, unlike = fit_photos(one, space, actor.take.camera.size)
        assert camera == fixed_camera(actor.take.camera.size)
        assert unlike < 0.3
        gap = float(track.neutral[14, 1] - track.neutral[13, 1])
        assert gap < 0.1
        openings[opened] = float(track.expression[0] @ reading)
    assert openings[False] < 0.1
    true = lip_curves(points)[frame_of(actor, opened=True), 0] * 9.0  # cm about: eye corners are so far apart
    assert openings[True] == pytest.approx(float(true), rel=0.3)


def test_expressions_have_the_lips_that_were_asked_for() -> None:
    reading = read_lips(load_space().basis)[:, :3]
    curves = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    for size in (0.8, 1.2):
        lips = expressions_of(curves, reading, size) @ reading
        assert torch.allclose(lips.std(0), size * reading.norm(dim=0) * curves.std(0), rtol=1e-3)
        assert torch.allclose(lips[:, 0].quantile(0.03), torch.tensor(0.0), atol=1e-4)


@pytest.fixture(scope="module")
def made(photo_take: Take, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar of the photos, hardly trained."""

    def make(folder: Path) -> None:
        recipe = Recipe(steps=3, train_size=64, renderer={"splats": 2000})
        with pytest.warns(UserWarning, match="nobody is stated"):
            build(photo_take.root, folder / "photos.avatar", recipe=recipe, device="cpu")

    return made_once(tmp_path_factory, "photo_avatar", make) / "photos.avatar"


def test_an_avatar_of_photos_speaks_and_says_what_it_is(made: Path) -> None:
    avatar = load_avatar(made)
    assert avatar.provenance[PHOTOS] == "2"
    assert avatar.provenance[TRUSTED_TURN].isdecimal()
    assert re.fullmatch(
        r"Made of 2 photos, trusted up to \d+ degrees from its pose: \d+% of these frames lie within",
        describe_photos(avatar, avatar.style.own),
    )
    assert describe_photos(replace(avatar, provenance={PHOTOS: "many"}), avatar.style.own) == ""
    sound = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.05
    frames = list(Player(avatar, device="cpu").speak([sound]))
    assert len(frames) == 25
    assert frames[0].shape == (64, 64, 3)


def test_the_manner_of_a_photo(made: Path, photo_take: Take) -> None:
    """Calm about the photo's pose, which it begins at; lips that open as people's do; nobody's blinks."""
    avatar, track = load_avatar(made), read_track(photo_take)
    own, reading = avatar.style.own, avatar.speech.lip_reading
    turn = to_vector(own.rotation @ track.rotation[0].T).norm(dim=1)
    assert float(turn[0]) < 0.02
    assert 0.01 < float(turn.mean()) < 0.1
    assert float(turn.max()) < 0.21  # 12 degrees
    opening = own.expression @ reading
    assert -0.3 < float(opening.quantile(0.03)) < 0.15
    assert 0.15 < float(opening.std()) < 0.6  # cm
    assert float(own.eyes[:, :2].std(0).max()) < 1e-6


def test_the_seed_decides_the_motion(photo_take: Take) -> None:
    space, track = load_space(), read_track(photo_take)
    lips, prosody = torch.zeros(200, space.modes), torch.randn(200, 10, generator=torch.Generator().manual_seed(2))
    moved = [calm_motion(track, lips, prosody, space, seed) for seed in (3, 3, 4)]
    assert torch.equal(moved[0].rotation, moved[1].rotation)
    assert not torch.equal(moved[0].rotation, moved[2].rotation)
    assert float((moved[0].expression @ read_lips(space.basis)).abs().max()) < 1e-4  # brows leave the lips alone


def test_what_is_no_person_is_refused() -> None:
    check_human(0.97, 0.2, "woman.jpg")
    for person, unlike in ((0.5, 0.2), (0.97, 0.4)):
        with pytest.raises(UserError, match=r"dog.jpg: shows no human face"):
            check_human(person, unlike, "dog.jpg")
    wall = Photo("wall.png", "0" * 64, np.full((200, 200, 3), 90, np.uint8), 1.0)
    with pytest.raises(UserError, match=r"wall.png: no human face found"):
        make_photo_take([wall], Path("wall.take"), device=CPU)


def test_limits_are_named(actor: Filmed) -> None:
    frame = frame_of(actor, opened=True)
    picture = read_frames(actor.take, [frame])[0].numpy()
    points = read_track(actor.take).landmarks[frame].numpy()
    found = measure_photo(picture, points, 25.0, 0.2)
    words = "; ".join(limits(found))
    for part in ("between the eyes", "turned by 25 degrees", "the mouth is open"):
        assert part in words
    assert "sunglasses" not in words
    dark = picture.copy()
    for eye in (LEFT_EYE, RIGHT_EYE):
        x, y = points[[eye.outer, eye.inner, eye.upper, eye.lower], :2].mean(0).astype(int)
        dark[y - 40 : y + 40, x - 40 : x + 40] = 15
    assert "sunglasses" in "; ".join(limits(measure_photo(dark, points, 0.0, 1.0)))


def test_the_best_frame_of_a_clip(actor: Filmed) -> None:
    """A frame with a shut mouth and open eyes is taken."""
    track = read_track(actor.take)
    ranks = rank_views(track.landmarks, torch.zeros(len(track)))
    opening, lids = lip_curves(track.landmarks)[:, 0], track.eyes[:, :2].mean(1)
    best = int(ranks.argmax())
    assert opening[best] < opening.quantile(0.3)
    assert lids[best] > 0.8
    still = best_still(actor.video, TakeRequest(), CPU)
    assert still.picture.shape == (512, 512, 3)


def test_photos_are_known_by_name(pictures: Path, tmp_path: Path) -> None:
    assert [path.name for path in photos_of(pictures)] == ["open.png", "shut.png"]
    assert photos_of(pictures / "shut.png") == [pictures / "shut.png"]
    assert photos_of(Path("clip.mp4")) == []
    (tmp_path / "take.json").touch()
    assert photos_of(tmp_path) == []
