"""Files for other programs: splats, tables, blendshapes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatar.core.avatar_file import Avatar
from avatar.core.blendshapes import ARKIT_SHAPES, arkit_curves, livelink_columns
from avatar.core.files import UserError
from avatar.core.landmarks import NOSE_BRIDGE, NOSE_TIP
from avatar.core.motion_space import Motion, load_space, save_motion
from avatar.core.take import read_track
from avatar.pipelines.export import export_curves, export_splats, read_splats
from avatar.render import open_renderer
from avatar.render.gaussian import GaussianRenderer
from tests.conftest import Filmed


def test_splats_stand_where_the_head_is(avatar: Avatar, actor: Filmed, tmp_path: Path) -> None:
    motion = read_track(actor.take).motion()
    count = export_splats(avatar, tmp_path / "a.ply", motion=motion, frame=10)
    splats = read_splats(tmp_path / "a.ply")
    assert len(splats) == count == len(avatar.renderer["rigidity"])
    places = np.stack([splats[axis] for axis in "xyz"], 1)
    center = np.median(places[avatar.renderer["rigidity"].numpy() > 0.9], 0)
    assert np.abs(center - motion.translation[10].numpy()).max() < 8  # cm
    assert np.allclose(np.linalg.norm(np.stack([splats[f"rot_{i}"] for i in range(4)], 1), axis=1), 1, atol=1e-4)
    rest = tmp_path / "rest.ply"
    export_splats(avatar, rest)
    assert not np.array_equal(read_splats(rest)["x"], splats["x"])
    with pytest.raises(UserError, match="is not a frame of a motion of"):
        export_splats(avatar, rest, motion=motion, frame=len(motion))


def test_a_motion_becomes_a_table(actor: Filmed, tmp_path: Path) -> None:
    motion = read_track(actor.take).motion()
    export_curves(motion, tmp_path / "m.csv", layout="motion")
    with (tmp_path / "m.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(motion)
    assert float(rows[25]["seconds"]) == 1.0
    assert float(rows[7]["expression_3"]) == pytest.approx(float(motion.expression[7, 3]), rel=1e-4)
    assert float(rows[7]["lid_left"]) == pytest.approx(float(motion.eyes[7, 0]), rel=1e-4)


def test_blendshapes_follow_mouth_and_lids(actor: Filmed, tmp_path: Path) -> None:
    space, motion = load_space(), read_track(actor.take).motion()
    curves = arkit_curves(motion, space)
    assert all(values.min() >= 0 and values.max() <= 1 for values in curves.values())
    opening = motion.expression @ (space.basis[:, 14] - space.basis[:, 13])[:, 1]
    assert torch.corrcoef(torch.stack([curves["jawOpen"], opening]))[0, 1] > 0.8
    shut = replace(motion, eyes=motion.eyes * torch.tensor([1.0, 0.0, 1.0, 1.0]))  # what is right in the picture
    assert arkit_curves(shut, space)["eyeBlinkLeft"].min() == 1
    assert arkit_curves(shut, space)["eyeBlinkRight"].min() < 0.5
    export_curves(motion, tmp_path / "a.csv", layout="arkit")
    assert (tmp_path / "a.csv").read_text().startswith("seconds,jawOpen,")


def read_as_kerbl(path: Path) -> dict[str, np.ndarray]:
    """What the original loader of Kerbl et al. makes of a .ply: properties by prefix, f_rest's number checked."""
    head, body = path.read_bytes().split(b"end_header\n", 1)
    lines = head.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    count = next(int(line.split()[2]) for line in lines if line.startswith("element vertex"))
    properties = [line.split()[1:] for line in lines if line.startswith("property")]
    assert {kind for kind, _ in properties} == {"float"}
    names = [name for _, name in properties]
    table = np.frombuffer(body, "<f4").reshape(count, len(names)).astype(float)

    def columns(prefix: str) -> np.ndarray:
        found = sorted((name for name in names if name.startswith(prefix)), key=lambda name: int(name.split("_")[-1]))
        return table[:, [names.index(name) for name in found]]

    assert columns("f_rest_").shape[1] == 3 * (3 + 1) ** 2 - 3
    assert names[:6] == ["x", "y", "z", "nx", "ny", "nz"]
    rotations = columns("rot_")
    return {
        "places": table[:, :3], "colors": 0.5 + 0.28209479177387814 * columns("f_dc_"), "rest": columns("f_rest_"),
        "opacity": 1 / (1 + np.exp(-table[:, names.index("opacity")])), "scales": np.exp(columns("scale_")),
        "rotations": rotations / np.linalg.norm(rotations, axis=1, keepdims=True), "normals": table[:, 3:6],
    }  # fmt: skip


def test_splats_are_what_strict_loaders_want(avatar: Avatar, tmp_path: Path) -> None:
    export_splats(avatar, tmp_path / "a.ply")
    found = read_as_kerbl(tmp_path / "a.ply")
    renderer = open_renderer(avatar)
    assert isinstance(renderer, GaussianRenderer)
    means, quaternions, log_scales, opacity, colors = (part.double().numpy() for part in renderer.splats())
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    assert np.allclose(found["places"], means, atol=1e-5)
    assert np.allclose(found["colors"], colors, atol=1e-6)
    assert np.allclose(found["opacity"], 1 / (1 + np.exp(-opacity)), atol=1e-6)
    assert np.allclose(found["scales"], np.exp(log_scales), rtol=1e-5)
    assert np.allclose(found["rotations"], quaternions, atol=1e-5)
    assert not found["rest"].any()
    assert not found["normals"].any()


def turned(motion: Motion, yaw: float, pitch: float, roll: float) -> Motion:
    """A motion whose head stands so, in radians: to the person's left, down, and to their right shoulder."""
    about = {
        axis: Rotation.from_euler(axis, angle).as_matrix() for axis, angle in (("y", yaw), ("x", pitch), ("z", roll))
    }
    flip = np.diag([1.0, -1.0, -1.0])
    rotation = torch.from_numpy(flip @ about["y"] @ about["x"] @ about["z"] @ flip).float()
    return replace(motion, rotation=rotation.expand(len(motion), 3, 3).contiguous())


def test_live_link_face_columns(actor: Filmed, tmp_path: Path) -> None:
    motion = turned(read_track(actor.take).motion(), 0.3, -0.2, 0.1)
    assert export_curves(motion, tmp_path / "l.csv", layout="livelink") == len(motion)
    lines = (tmp_path / "l.csv").read_text().splitlines()
    assert lines[0].startswith("Timecode,BlendshapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,")
    assert lines[0].endswith(
        ",TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
    )
    rows = list(csv.DictReader(lines))
    assert {len(line.split(",")) for line in lines} == {2 + 61}
    assert len({name.lower() for name in rows[0]}) == 2 + 61
    assert {row["BlendshapeCount"] for row in rows} == {"61"}
    assert [rows[index]["Timecode"] for index in (0, 24, 26)] == [
        "00:00:00:00.000",
        "00:00:00:24.000",
        "00:00:01:01.000",
    ]
    for name, angle in (("HeadYaw", 0.3), ("HeadPitch", -0.2), ("HeadRoll", 0.1)):
        assert float(rows[5][name]) == pytest.approx(angle, abs=1e-4)
    shown = arkit_curves(motion, load_space())
    for name in ARKIT_SHAPES:
        column = [float(row[name[0].upper() + name[1:]]) for row in rows]
        wanted = shown[name].tolist() if name in shown else [0.0] * len(rows)
        assert column == pytest.approx(wanted, abs=1e-5)
    assert set(shown) < set(ARKIT_SHAPES)


def test_signs_of_live_link_face(actor: Filmed) -> None:
    """The nose of a head that is turned is where the angles say, in the picture; eyes look the way their irises are."""
    rest, space = read_track(actor.take).motion(), load_space()
    nose = space.template[NOSE_TIP] - space.template[NOSE_BRIDGE]
    ahead = turned(rest, 0, 0, 0).rotation[0] @ nose
    assert ((turned(rest, 0.4, 0, 0).rotation[0] @ nose) - ahead)[0] > 0.3  # cm right in the picture: the person's left
    assert ((turned(rest, 0, 0.4, 0).rotation[0] @ nose) - ahead)[1] > 0.3  # down
    up = -torch.tensor([0.0, 1.0, 0.0])
    assert (turned(rest, 0, 0, 0.4).rotation[0] @ up)[0] < -0.3  # left in the picture: their right shoulder
    looks = livelink_columns(replace(rest, eyes=torch.tensor([1.0, 1.0, 0.5, -0.5]).repeat(len(rest), 1)), space)
    assert looks["LeftEyeYaw"][0] == looks["RightEyeYaw"][0] > 0.2
    assert looks["LeftEyePitch"][0] < -0.2
    assert looks["EyeLookOutLeft"][0] == looks["EyeLookInRight"][0] == 0.5
    assert looks["EyeLookUpLeft"][0] == 0.5


def test_paths_do_as_well(avatar: Avatar, avatar_file: Path, actor: Filmed, tmp_path: Path) -> None:
    motion = read_track(actor.take).motion()
    save_motion(motion, tmp_path / "m.motion", motion.space_id)
    export_splats(avatar, tmp_path / "a.ply", motion=motion, frame=3)
    export_splats(str(avatar_file), str(tmp_path / "b.ply"), motion=tmp_path / "m.motion", frame=3)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    export_curves(motion, tmp_path / "a.csv", layout="livelink")
    export_curves(str(tmp_path / "m.motion"), str(tmp_path / "b.csv"), layout="livelink")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
