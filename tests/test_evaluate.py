"""Figures: they know truth from error, and the page holds all of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from avatar.core.avatar_file import Avatar
from avatar.core.motion_space import load_space
from avatar.core.recipe import parse
from avatar.core.take import read_audio, read_frames, read_plate, read_track, with_holdout
from avatar.learn.adapt import adapt
from avatar.metrics import (
    blinks_per_minute,
    flicker,
    head_motion_degrees,
    lip_jerkiness,
    lip_vertex_error,
    region_masks,
)
from avatar.pipelines.evaluate import OWN_TORSO, TRUE_TORSO, evaluate
from avatar.pipelines.evaluate_speech import AUDIO_ONLY
from avatar.pipelines.watch import TrainingView
from avatar.render import renderer_kind
from avatar.render.train import Schedule, TrainingSnapshot, train
from tests.conftest import Filmed


def test_every_mode_region_and_figure_is_there(actor: Filmed, tmp_path: Path) -> None:
    take, space = with_holdout(actor.take, 0.15), load_space()
    track, kind = read_track(take), renderer_kind("gaussian")
    renderer = kind.begin(take, track, space, parse(kind.settings, {"kind": "gaussian"}, "test"), 0)
    train(renderer, take, track, budget_seconds=math.inf, seed=0, schedule=Schedule(150))
    speech, habits = adapt(read_audio(take), track, fps=25, frames=take.training_frames(), seed=0)
    avatar = Avatar(
        "gaussian", kind.pack(renderer.tensors()), speech, habits, read_plate(take), take.camera, 25.0, space.id, "", {}
    )
    page, sheet = tmp_path / "report.html", tmp_path / "sheet.png"
    found = {(s.mode, s.region, s.metric): s.value for s in evaluate(avatar, take, page=page, sheet=sheet)}
    for region in ("whole", "face", "mouth", "eyes", "hair", "torso"):
        assert found[OWN_TORSO, region, "psnr"] > 15
    assert found[TRUE_TORSO, "whole", "psnr"] > found[OWN_TORSO, "whole", "psnr"]
    assert 0.1 < found[OWN_TORSO, "skin", "flicker"] < 10
    assert found[OWN_TORSO, "landmarks", "LMD"] < 6
    for name in ("opening", "width", "protrusion"):
        assert -1 <= found[AUDIO_ONLY, "lips", f"{name} correlation"] <= 1
    assert found[AUDIO_ONLY, "motion", "LVE"] > 0
    text = page.read_text()
    assert text.count("<video") == 1
    assert "protrusion, driven by sound" in text
    with Image.open(sheet) as image:
        assert image.width == 6 * 192


def test_flicker_is_not_motion(actor: Filmed) -> None:
    track, frames = read_track(actor.take), range(20, 40)
    real = read_frames(actor.take, frames)
    points = track.landmarks[20:40]
    noise = torch.randint(-6, 7, real.shape, generator=torch.Generator().manual_seed(0))
    noisy = (real.int() + noise).clamp(0, 255).to(torch.uint8)
    assert flicker(real[:1].expand(20, -1, -1, -1), points[:1].expand(20, -1, -1)) < 1e-3
    assert flicker(noisy, points) > 1.5 * flicker(real, points)


def test_motion_figures(actor: Filmed) -> None:
    space, motion = load_space(), read_track(actor.take).motion()
    expression = motion.expression
    assert lip_vertex_error(expression, expression, space) == 0
    moved = expression.clone()
    moved[:, 3] += 1
    shift = 10 * space.basis[3, space.lips].norm(dim=1).max()
    assert lip_vertex_error(moved, expression, space) == pytest.approx(float(shift), rel=1e-4)
    assert lip_jerkiness(expression, expression, space) == pytest.approx(1)
    assert lip_jerkiness(0.5 * expression, expression, space) == pytest.approx(0.5, rel=1e-4)
    eyes = torch.ones(250, 4)
    eyes[50:54, :2] = eyes[180:184, :2] = 0
    assert blinks_per_minute(eyes, 25) == pytest.approx(12)
    assert head_motion_degrees(motion.rotation[:1].expand(9, -1, -1)) < 0.1


def test_regions_lie_where_they_should(actor: Filmed) -> None:
    landmarks = read_track(actor.take).landmarks[10]
    masks = region_masks(landmarks, actor.take.camera.size)
    for name, point in (("mouth", 13), ("eyes", 468), ("face", 1)):
        mask = masks[name]
        assert mask is not None
        x, y = landmarks[point, :2].long().tolist()
        assert mask[y, x], name


def test_a_training_can_be_watched(tmp_path: Path) -> None:
    view = TrainingView(tmp_path / "a.training")
    truth = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    for second in (10, 20, 30):
        view(TrainingSnapshot(float(second), 1 / second, (truth + 1 / second).clamp(0, 1), truth))
    names = {path.name for path in (tmp_path / "a.training").iterdir()}
    assert {"0010s.png", "0020s.png", "0030s.png", "report.html"} <= names
    text = (tmp_path / "a.training" / "report.html").read_text()
    assert text.count("<img") == 3
    assert "after 30 s" in text
