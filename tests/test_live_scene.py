"""Live frames in a scene: backgrounds, places, light and grade, next to what films have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import rng

from avatar.core.avatar_file import Avatar
from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.core.motion_space import Motion
from avatar.play.composite import over_nv12, picture_nv12
from avatar.play.look import Look
from avatar.play.player import Player
from avatar.play.shared_drawing import Setting, SharedDrawing, View
from avatar.scene.scene import make_scene

NO_LABEL = Label("none")
SIZE = 96


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, dark at the left and warm at the right, and a film of it that becomes brighter."""
    folder = tmp_path_factory.mktemp("behind")
    across = np.linspace(20, 200, 128)[None, :, None] * np.array([1.0, 0.8, 0.6])
    picture = np.repeat(across, 72, 0).astype(np.uint8)
    Image.fromarray(picture).save(folder / "still.png")
    write_video((np.minimum(picture + 4 * n, 255).astype(np.uint8) for n in range(20)), folder / "film.mp4", fps=25.0)
    return folder


def luma(picture: np.ndarray) -> np.ndarray:
    """Of RGB [H, W, 3], as video has it (BT.709, limited range)."""
    return 16 + 219 / 255 * (picture.astype(float) @ np.array([0.2126, 0.7152, 0.0722]))


def live(drawing: SharedDrawing, views: list[View], motion: Motion) -> list[list[np.ndarray]]:
    """The luma of frames, of each view."""
    made = [drawing.draw([motion[at : at + 1]] * len(views), views) for at in range(len(motion))]
    height = drawing.canvas.shape[0]
    return [[frame[index][:height] for frame in made] for index in range(len(views))]


@pytest.mark.parametrize(
    "options",
    [
        {"background": "still.png", "grade": "match"},
        {"background": "still.png", "light": "left", "grade": "match"},
        {"background": "film.mp4", "light": "background:0.5"},
        {"light": "room"},
        {"background": "still.png", "place": "right,size=0.75"},
        {"background": "film.mp4", "place": "0.3,size=1.2,crop=0.1", "frame": "160x90", "light": "warm"},
    ],
)
def test_live_frames_are_those_of_a_film(avatar: Avatar, behind: Path, options: dict[str, str]) -> None:
    background = str(behind / options["background"]) if "background" in options else None
    scene = make_scene({name: value for name, value in options.items() if name != "background"})
    look = Look(size=None if scene.placed else SIZE, background=background, scene=scene)
    player, motion = Player(avatar, look=look, mark="none", device="cpu"), avatar.style.own[0:4]
    expected = list(player.draw([motion]))
    drawing = SharedDrawing(avatar, player.canvas)
    (found,) = live(drawing, [drawing.open_view(mark=None, label=NO_LABEL)], motion)
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - luma(other)).max() < 2


def test_sessions_change_their_own_scene_alone(avatar: Avatar, behind: Path) -> None:
    look = Look(size=SIZE, background=str(behind / "still.png"))
    player, motion = Player(avatar, look=look, mark="none", device="cpu"), avatar.style.own[0:2]
    drawing = SharedDrawing(avatar, player.canvas)
    one, other = (drawing.open_view(mark=None, label=NO_LABEL) for _ in range(2))
    before, _ = live(drawing, [one, other], motion)
    drawing.change(one, Setting(colour=(0, 90, 200), light="left", grade="match"))
    changed, kept = live(drawing, [one, other], motion)
    assert np.array_equal(kept, before)
    wanted = replace(look, background="#005ac8", scene=make_scene({"light": "left", "grade": "match"}))
    expected = list(Player(avatar, look=wanted, mark="none", device="cpu").draw([motion]))
    for found, right in zip(changed, expected, strict=True):
        assert np.abs(found - luma(right)).max() < 2
    drawing.change(one, Setting())
    back, _ = live(drawing, [one, other], motion)
    assert np.array_equal(back, before)


def test_what_cannot_be_shown_live_is_said(avatar: Avatar, behind: Path) -> None:
    for look in (Look(background="transparent"), Look(orbit=5.0)):
        with pytest.raises(UserError, match="leave full frames, transparency and orbits out"):
            SharedDrawing(avatar, Player(avatar, look=look).canvas)
    drawing = SharedDrawing(avatar, Player(avatar, look=Look(size=SIZE)).canvas)
    view = drawing.open_view(mark=None, label=NO_LABEL)
    for setting, words in (
        (Setting(light=str(behind / "lights.yaml")), "no name of a light"),
        (Setting(grade="/etc/passwd"), "none of none, match"),
        (Setting(light="background"), "goes with --background FILE"),
    ):
        with pytest.raises(UserError, match=words):
            drawing.change(view, setting)
    assert view.setting == Setting()
    dark = SharedDrawing(replace(avatar, light=None), drawing.canvas)
    with pytest.raises(UserError, match="does not know the light"):
        dark.open_view(mark=None, label=NO_LABEL, setting=Setting(light="left"))


def test_pictures_of_any_even_shape_become_nv12() -> None:
    square = torch.randint(0, 256, (48, 48, 3), dtype=torch.uint8, generator=rng(0))
    nothing = torch.zeros(1, 4, 48, 48)
    assert torch.equal(picture_nv12(square), over_nv12(nothing[:, :3], nothing[:, 3:], square)[0])
    wide = torch.cat([square, square[:, :26]], 1)
    converted = picture_nv12(wide)
    assert converted.shape == (72, 74)
    assert torch.equal(converted[:, :48], picture_nv12(square))
    assert torch.equal(converted[:, 48:], picture_nv12(square)[:, :26])
