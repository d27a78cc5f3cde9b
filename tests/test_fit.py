"""The offline fit against projected truth."""

from __future__ import annotations

import torch

from avatar.core.geometry import Camera, exponential, project, to_camera, to_vector
from avatar.core.motion_space import load_space
from preprocess.fit import fit_track
from preprocess.trackers import fill_gaps


def test_projected_poses_and_expressions_come_back() -> None:
    space, count = load_space(), 60
    random = torch.Generator().manual_seed(0)
    turn = 0.15 * torch.sin(torch.linspace(0, 6, count)[:, None] * torch.tensor([1.0, 1.7, 0.6]))
    rotation = exponential(turn)
    translation = torch.tensor([1.0, -1, 65]) + torch.sin(torch.linspace(0, 9, count))[:, None]
    expression = torch.zeros(count, space.modes)
    expression[:, 2] = torch.sin(torch.linspace(0, 20, count)) + 1
    vertices = space.template + torch.einsum("tk,kvc->tvc", expression, space.basis)
    pixels = project(to_camera(vertices, rotation, translation), Camera(1024, 512))
    pixels += 0.1 * torch.randn(pixels.shape, generator=random)
    landmarks = torch.cat([pixels, torch.zeros(count, 478, 1)], -1)
    track, camera = fit_track(landmarks, torch.ones(count), space, size=512, fps=25.0)
    assert camera == Camera(1024, 512)
    assert to_vector(track.rotation.mT @ rotation).norm(dim=1).rad2deg().mean() < 0.7
    assert torch.corrcoef(torch.stack([track.expression[:, 2], expression[:, 2]]))[0, 1] > 0.97


def test_short_gaps_are_filled_and_long_ones_distrusted() -> None:
    landmarks = torch.arange(30.0)[:, None, None].expand(30, 478, 3).clone()
    found = torch.ones(30, dtype=torch.bool)
    found[5:8] = found[15:25] = False
    landmarks[~found] = 0
    filled, confidence = fill_gaps(landmarks, found)
    assert torch.allclose(filled[:, 0, 0], torch.arange(30.0))
    assert confidence[5:8].tolist() == [0.5] * 3
    assert confidence[15:25].tolist() == [0] * 10
