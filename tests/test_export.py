"""Files for other programs: splats, tables, blendshapes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.core.avatar_file import Avatar
from avatar.core.blendshapes import arkit_curves
from avatar.core.files import UserError
from avatar.core.motion_space import load_space
from avatar.core.take import read_track
from avatar.pipelines.export import export_curves, export_splats, read_splats
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
    shut = replace(motion, eyes=torch.zeros_like(motion.eyes))
    assert arkit_curves(shut, space)["eyeBlinkLeft"].min() == 1
    export_curves(motion, tmp_path / "a.csv", layout="arkit")
    assert (tmp_path / "a.csv").read_text().startswith("seconds,jawOpen,")
