"""Blendshapes in: tables of this program and of Live Link Face drive an avatar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.core.avatar_file import Avatar
from avatar.core.blendshapes import arkit_curves
from avatar.core.files import UserError
from avatar.core.geometry import to_vector
from avatar.core.motion_space import load_space, save_motion
from avatar.pipelines.export import export_curves
from avatar.pipelines.speak import reenact
from avatar.pipelines.track_file import TrackFile, open_track, read_blendshapes, read_track_file

SPACE = load_space()


@pytest.mark.parametrize("layout", ["arkit", "livelink"])
def test_what_went_out_comes_in(layout: str, avatar: Avatar, tmp_path: Path) -> None:
    own = avatar.style.own[slice(0, 100)]
    export_curves(own, tmp_path / "own.csv", layout=layout)  # type: ignore[arg-type]
    again = read_track_file(avatar, tmp_path / "own.csv")
    assert (len(again), again.fps) == (100, 25.0)
    before, after = arkit_curves(own, SPACE), arkit_curves(again, SPACE)
    for name in ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight"):
        pair = torch.stack([before[name], after[name]])
        assert pair.std(1).min() > 0, name
        assert torch.corrcoef(pair)[0, 1] > 0.85, name  # the modes show 52 shapes, and are found again, in part
    turned, turns = (to_vector(one.rotation.mean(0).T @ one.rotation) for one in (again, own))
    assert torch.corrcoef(torch.stack([turned[:, 1], turns[:, 1]]))[0, 1] > 0.95
    assert torch.corrcoef(torch.stack([again.eyes[:, 2], own.eyes[:, 2]]))[0, 1] > 0.9


def test_single_shapes_from_another_program(avatar: Avatar, tmp_path: Path) -> None:
    names = ["JawOpen", "MouthSmileLeft", "MouthSmileRight", "BrowInnerUp", "EyeBlinkLeft", "HeadYaw"]
    rows = [[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0.3], [0, 0, 0, 0, 1, -0.3]] * 6
    lines = [
        f"10:00:00:{i % 30:02}.{i * 7 % 999:03},{len(names)}," + ",".join(map(str, row)) for i, row in enumerate(rows)
    ]
    file = tmp_path / "face.csv"
    file.write_text("\n".join([",".join(["Timecode", "BlendshapeCount", *names]), *lines]))
    curves, fps = read_blendshapes(file)
    assert fps == 30.0
    assert curves["jawOpen"][:3].tolist() == [0, 1, 0]
    motion = read_track_file(replace(avatar, fps=30.0), file)
    rest, jaw, smile, brow, blink = (arkit_curves(motion[slice(i, i + 1)], SPACE) for i in range(5))
    assert jaw["jawOpen"] > rest["jawOpen"] + 0.2
    assert smile["mouthSmileLeft"] > rest["mouthSmileLeft"] + 0.3
    assert brow["browInnerUp"] > rest["browInnerUp"] + 0.1
    assert (blink["eyeBlinkLeft"], blink["eyeBlinkRight"]) == (1, 0)
    face = torch.tensor([0.0, 0.0, -1.0])
    assert (motion.rotation[3] @ face)[0] > (motion.rotation[4] @ face)[0] + 0.4, "positive yaw is the person's left"


def test_films_of_files(avatar: Avatar, tmp_path: Path) -> None:
    own = avatar.style.own[slice(0, 6)]
    save_motion(own, tmp_path / "own.motion", avatar.space_id)
    assert reenact(avatar, tmp_path / "own.motion", tmp_path / "a.mp4") == 6
    export_curves(own, tmp_path / "own.csv", layout="arkit")
    assert isinstance(open_track(str(tmp_path / "own.csv")), TrackFile)
    assert reenact(avatar, tmp_path / "own.csv", tmp_path / "frames") == 6
    with pytest.raises(UserError, match=r"cannot be written as \.csv"):
        reenact(avatar, tmp_path / "own.csv", tmp_path / "own.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no columns"),
        ("a,b\n1,2\n", "has no columns"),
        ("seconds,jawOpen\n", "has no frames"),
        ("seconds,jawOpen\n0,x\n", r"line 2: 'x' is no number"),
        ("seconds,jawOpen\n0,nan\n", r"line 2: 'nan' is no number"),
        ("seconds,jawOpen\n0\n", "line 2: has 1 columns"),
        ("seconds,jawOpen\nnow,0\n", "is no time"),
        ("seconds,jawOpen\n0.5,0\n0.5,1\n", r"0 frames/s"),
    ],
)
def test_tables_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_blendshapes(tmp_path / "a.csv")
