"""Takes to the AD-NeRF family's data folders and back; and folders that somebody else made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avatar.core.consent import NOT_STATED
from avatar.core.files import UserError
from avatar.core.geometry import Camera, exponential, project, to_camera, to_vector
from avatar.core.landmarks import MESH_POINTS
from avatar.core.take import Take, open_take, read_audio, read_mattes, read_plate, read_track, write_take
from avatar.pipelines.build import find_take
from preprocess.interchange import (
    MARK,
    _without_slip,
    export_adnerf,
    from_transform,
    import_adnerf,
    to_transform,
)
from preprocess.regions import BACKGROUND, HEAD, MOUTH, NECK, TORSO, find_regions
from preprocess.request import TakeRequest
from preprocess.rotations import Poses
from tests.actors import shorten
from tests.conftest import Filmed


def test_their_camera_puts_points_where_ours_does() -> None:
    random = torch.Generator().manual_seed(0)
    points = 8 * torch.randn(50, 3, generator=random, dtype=torch.float64)
    rotation = exponential(0.3 * torch.randn(3, generator=random, dtype=torch.float64))
    translation = torch.tensor([2.0, -3, 65], dtype=torch.float64)
    ours = project(to_camera(points, rotation[None], translation[None])[0], Camera(1024.0, 512))
    matrix = to_transform(rotation.numpy(), translation.numpy())
    # metres, y up, looking along z; w2c is OpenGL, image x = cx + f X / -Z, y = cy - f Y / -Z
    theirs = np.concatenate([points.numpy() * [1, -1, -1] / 100, np.ones((50, 1))], 1) @ np.linalg.inv(matrix).T
    pixels = np.stack([256 + 1024 * theirs[:, 0] / -theirs[:, 2], 256 - 1024 * theirs[:, 1] / -theirs[:, 2]], 1)
    assert np.allclose(pixels, ours.numpy(), atol=1e-6)
    back = from_transform(matrix)
    assert np.allclose(back[0], rotation.numpy(), atol=1e-12)
    assert np.allclose(back[1], translation.numpy(), atol=1e-9)


@pytest.fixture(scope="module")
def short(actor: Filmed, tmp_path_factory: pytest.TempPathFactory) -> Take:
    """The first 80 frames of the actor."""
    return shorten(actor.take, 80, tmp_path_factory.mktemp("short") / "short.take")


@pytest.fixture(scope="module")
def exported(short: Take, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "person"
    export_adnerf(short, folder)
    return folder


def test_the_folder_holds_what_their_readers_open(short: Take, exported: Path) -> None:
    count = short.length
    for name, ending in (("ori_imgs", "jpg"), ("ori_imgs", "lms"), ("parsing", "png"), ("gt_imgs", "jpg")):
        assert {int(path.stem) for path in (exported / name).glob(f"*.{ending}")} == set(range(count)), name
    torso = cv2.imread(str(exported / "torso_imgs" / "3.png"), cv2.IMREAD_UNCHANGED)
    assert torso.shape == (512, 512, 4)
    assert set(np.unique(torso[..., 3])) == {0, 255}
    parsing = cv2.imread(str(exported / "parsing" / "3.png"))[..., ::-1]
    assert {tuple(color) for color in np.unique(parsing.reshape(-1, 3), axis=0).tolist()} == {
        (255, 255, 255), (0, 0, 255), (0, 255, 0), (255, 0, 0),
    }  # fmt: skip
    cameras = [json.loads((exported / f"transforms_{name}.json").read_text()) for name in ("train", "val")]
    assert [frame["img_id"] for camera in cameras for frame in camera["frames"]] == list(range(count))
    assert len((exported / "ori_imgs" / "0.lms").read_text().splitlines()) == 68
    assert " AU45_r" in (exported / "au.csv").read_text().splitlines()[0]
    assert not list(exported.rglob("*.pt")) + list(exported.rglob("*.npy"))


@pytest.fixture(scope="module")
def imported(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Take:
    return import_adnerf(exported, tmp_path_factory.mktemp("import") / "back.take")


def test_a_round_trip_loses_nothing(short: Take, imported: Take) -> None:
    back, gain = imported, imported.quality["sound_gain_db"]  # the first seconds alone are not as loud as the whole
    before, after = read_track(short), read_track(back)
    assert torch.allclose(before.rotation, after.rotation, atol=1e-4)
    assert torch.allclose(before.translation, after.translation, atol=1e-4)
    assert back.camera == short.camera
    for frame in (0, 57, back.length - 1):
        assert back.frame_path(frame).read_bytes() == short.frame_path(frame).read_bytes()
    assert torch.equal(read_plate(back), read_plate(short))
    assert (read_audio(back) / 10 ** (gain / 20) - read_audio(short)).abs().max() < 1e-4
    same = (read_mattes(back, [5]) > 127) == (read_mattes(short, [5]) > 127)
    assert same.all()
    first, second = (track.expression - track.expression.mean(0) for track in (before, after))
    assert (first - second).abs().mean() < 0.1, "the neutral alone is of fewer frames"


def test_foreign_poses_come_into_our_head_frame(short: Take, exported: Path, tmp_path: Path) -> None:
    """Another head frame: turned, moved and of another scale, as a 3DMM has; all of it constant."""
    folder = tmp_path / "foreign"
    shutil.copytree(exported, folder)
    (folder / MARK).unlink()
    turn = exponential(torch.tensor([0.1, -0.05, 0.02], dtype=torch.float64)).numpy()
    for name in ("train", "val"):
        path = folder / f"transforms_{name}.json"
        content = json.loads(path.read_text())
        for frame in content["frames"]:
            rotation, translation = from_transform(np.array(frame["transform_matrix"]))
            moved = 1.1 * (translation + rotation @ np.array([0.5, -2.0, 1.0]))
            frame["transform_matrix"] = to_transform(rotation @ turn, moved).tolist()
        path.write_text(json.dumps(content))
    track, truth = read_track(import_adnerf(folder, tmp_path / "foreign.take")), read_track(short)
    assert to_vector(track.rotation @ truth.rotation.mT).norm(dim=1).rad2deg().mean() < 1.5
    assert (track.translation - truth.translation).norm(dim=1).mean() < 0.6
    steps = to_vector(track.rotation[1:] @ track.rotation[:-1].mT) - to_vector(
        truth.rotation[1:] @ truth.rotation[:-1].mT
    )
    assert steps.norm(dim=1).rad2deg().max() < 0.02  # their motion is kept exactly


def test_poses_that_slipped_are_put_back(tmp_path: Path) -> None:
    (tmp_path / "ori_imgs").mkdir()
    for frame in (0, 1, 3, 4):
        (tmp_path / "ori_imgs" / f"{frame}.lms").write_text("")
    translation = np.arange(5.0)[:, None].repeat(3, 1)
    known = np.array([True] * 4 + [False])
    poses, known = _without_slip(tmp_path, Poses(np.tile(np.eye(3), (5, 1, 1)), translation), known)
    assert known.tolist() == [True, True, False, True, True]
    assert poses.translation[[0, 1, 3, 4], 0].tolist() == [0, 1, 2, 3]


def test_an_import_is_used_again_and_gets_its_consent(exported: Path, imported: Take, tmp_path: Path) -> None:
    out = shutil.copytree(imported.root, tmp_path / "x.take")
    take = find_take(exported, out, TakeRequest())
    assert (take.request, take.source["consent"]) == ({}, NOT_STATED)
    written = (out / "track.safetensors").stat().st_mtime_ns
    assert find_take(exported, out, TakeRequest(consent="signed")).source["consent"] == "signed"
    assert open_take(out).source["consent"] == "signed"
    assert import_adnerf(exported, out).source["consent"] == "signed"
    assert (out / "track.safetensors").stat().st_mtime_ns == written
    with pytest.raises(UserError, match="states the consent 'signed', not 'by mail'"):
        import_adnerf(exported, out, consent="by mail")
    with pytest.raises(UserError, match="--face"):
        find_take(exported, out, TakeRequest(face="left"))


def test_an_import_is_not_used_for_another_folder(exported: Path, imported: Take, tmp_path: Path) -> None:
    other = shutil.copytree(exported, tmp_path / exported.name)
    (other / "transforms_val.json").write_text((other / "transforms_val.json").read_text() + " ")
    out = shutil.copytree(imported.root, tmp_path / "x.take")
    with pytest.raises(UserError, match="exists and is not a take of person"):
        import_adnerf(other, out)
    write_take(
        replace(imported, source={"name": "person", "format": "adnerf"}), out
    )  # as versions before 0.2.0 wrote it
    assert import_adnerf(exported, out).source["name"] == "person"


def remove_a_picture(folder: Path) -> None:
    (folder / "ori_imgs" / "3.jpg").unlink()


def damage_a_camera(folder: Path) -> None:
    (folder / "transforms_val.json").write_text('{"frames": [')


def number_beyond_the_pictures(folder: Path) -> None:
    content = json.loads((folder / "transforms_val.json").read_text())
    content["frames"][0]["img_id"] = 100000
    (folder / "transforms_val.json").write_text(json.dumps(content))


def move_the_center(folder: Path) -> None:
    content = json.loads((folder / "transforms_train.json").read_text())
    (folder / "transforms_train.json").write_text(json.dumps(content | {"cx": 100.0}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove_a_picture, r"3\.jpg is missing"),
        (damage_a_camera, "transforms_val.json: is damaged"),
        (number_beyond_the_pictures, "frame 100000 has no picture"),
        (move_the_center, "principal point"),
        (lambda folder: (folder / "transforms_train.json").unlink(), "holds the tracked poses"),
        (lambda folder: (folder / "aud.wav").unlink(), "holds the speech"),
        (lambda folder: (folder / "bc.jpg").unlink() or (folder / "background.png").unlink(), "holds the background"),
        (lambda folder: shutil.rmtree(folder / "ori_imgs"), "holds no numbered"),
    ],
)
def test_odd_folders_are_refused_and_leave_nothing(
    exported: Path, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(exported, folder)
    harm(folder)
    with pytest.raises(UserError, match=said):
        import_adnerf(folder, tmp_path / "odd.take")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd"]


def test_regions_are_where_a_body_has_them(actor: Filmed) -> None:
    track = read_track(actor.take)
    regions = find_regions(track.landmarks[10].numpy(), read_mattes(actor.take, [10])[0].numpy())
    center = track.landmarks[10, :MESH_POINTS, :2].mean(0)
    x, y = int(center[0]), int(center[1])
    assert regions[y - 60, x] == HEAD
    assert regions[505, x] == TORSO
    assert regions[5, 5] == BACKGROUND
    assert (regions == NECK).any()
    rows = [np.nonzero(regions == label)[0].mean() for label in (HEAD, NECK, TORSO)]
    assert rows == sorted(rows)
    assert (regions == MOUTH).sum() < 0.02 * (regions == HEAD).sum()
