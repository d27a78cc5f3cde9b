"""Two real clips, where the folder of clips lies beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar.core.geometry import project, to_camera
from avatar.core.landmarks import MESH_POINTS
from avatar.core.motion_space import load_space
from avatar.core.take import read_audio, read_mattes, read_track
from preprocess.run import make_take

CLIPS = Path(__file__).parent.parent.parent / "shared" / "clips"
pytestmark = [
    pytest.mark.clips,
    pytest.mark.skipif(not CLIPS.is_dir(), reason="the folder of real clips is not beside this checkout"),
]


@pytest.mark.parametrize("name", ["de_anchor_20s.mp4", "en_512_8s_a.mp4"])
def test_a_real_clip_becomes_a_take(name: str, tmp_path: Path) -> None:
    take = make_take(CLIPS / name, tmp_path / "take")
    track, space = read_track(take), load_space()
    assert (track.confidence == 1).all()
    assert take.excluded == ()
    assert take.quality["plate_seen"] > 0.2
    assert abs(len(read_audio(take)) / 16000 - take.length / take.fps) < 0.2
    vertices = track.neutral + torch.einsum("tk,kvc->tvc", track.expression, space.basis)
    pixels = project(to_camera(vertices, track.rotation, track.translation), take.camera)
    error = (pixels - track.landmarks[..., :2]).norm(dim=-1)[:, :MESH_POINTS].mean()
    assert error < 1.2, error
    cover = read_mattes(take, [take.length // 2]).float().mean() / 255
    assert 0.2 < cover < 0.8
