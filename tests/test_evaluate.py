"""Figures: they know truth from error, and the page holds all of them."""

from __future__ import annotations

import html
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from avatar.core.avatar_file import Avatar, TrainedOn
from avatar.core.controls import Controls
from avatar.core.landmarks import UPPER_LIP
from avatar.core.media import write_wav
from avatar.core.motion_space import load_space
from avatar.core.take import Take, open_take, read_audio, read_frames, read_track, with_holdout, with_size
from avatar.metrics import (
    blinks_per_minute,
    flicker,
    head_motion_degrees,
    lip_jerkiness,
    lip_vertex_error,
    region_masks,
)
from avatar.pipelines.evaluate import OWN_TORSO, TRUE_TORSO, Evaluation, choose_frames, evaluate
from avatar.pipelines.evaluate_more import PUBLISHED, REGISTERED
from avatar.pipelines.evaluate_speech import AUDIO_ONLY, compare_lips
from avatar.pipelines.networks import Further, Networks, load_networks
from avatar.pipelines.watch import TrainingView
from avatar.play.player import Player
from avatar.render.train import TrainingSnapshot
from tests.conftest import Filmed


@pytest.fixture(scope="module")
def evaluated(avatar: Avatar, actor: Filmed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    folder = tmp_path_factory.mktemp("evaluation")
    seen: dict[str, tuple[int, int]] = {}

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        seen[stage] = done, total

    page, sheet = folder / "report.html", folder / "sheet.png"
    found = evaluate(avatar, actor.take, page=page, sheet=sheet, progress=progress)
    assert {"draw", "compare", "find real", "find drawn", "speak", "draw spoken", "page"} <= seen.keys()
    assert all(done == total for done, total in seen.values())
    return found, folder


def test_every_mode_region_and_figure_is_there(evaluated: tuple[Evaluation, Path]) -> None:
    evaluation, folder = evaluated
    found = {(s.mode, s.region, s.metric): s.value for s in evaluation.scores}
    for region in ("whole", "face", "mouth", "eyes", "hair", "torso"):
        assert found[OWN_TORSO, region, "psnr"] > 15
    assert found[TRUE_TORSO, "whole", "psnr"] > found[OWN_TORSO, "whole", "psnr"]
    assert 0.1 < found[OWN_TORSO, "skin", "flicker"] < 10
    assert found[OWN_TORSO, "landmarks", "LMD"] < 3  # px of 128
    assert found[OWN_TORSO, "inside", "opaque"] <= found[OWN_TORSO, "inside", "coverage"] <= 1
    assert found[OWN_TORSO, "inside", "coverage"] > 0.8  # a second of training
    assert found[OWN_TORSO, "edge", "psnr over new backgrounds"] > 12
    for name in ("opening", "height"):  # the lips of a blurred picture, two seconds: how well is for the benches
        assert found[AUDIO_ONLY, "lips", f"{name} correlation, best lag"] > 0.3
        assert found[AUDIO_ONLY, "lips", f"{name} deviation, real"] > 0.01
    assert 0.3 < found[AUDIO_ONLY, "motion", "LVE"] < 20  # mm; lips move by up to 15
    text = (folder / "report.html").read_text()
    assert text.count("<video") == 1
    assert "protrusion, driven by sound" in text
    assert "held out, never trained on" in text
    assert evaluation.verdict in html.unescape(text)
    with Image.open(folder / "sheet.png") as image:
        assert image.width == 6 * 192


def test_lips_driven_by_other_sound_do_worse(evaluated: tuple[Evaluation, Path], avatar: Avatar, actor: Filmed) -> None:
    """The figures know right sound from wrong: the same avatar, driven by the film's sound backwards."""
    take = actor.take
    root = evaluated[1] / "backwards.take"
    shutil.copytree(take.root, root)
    write_wav(root / "audio.wav", read_audio(take).flip(0))
    spoken = compare_lips(*_truth(avatar, open_take(root), range(160, 200)))
    right = {score.metric: score.value for score in evaluated[0].scores if score.mode == AUDIO_ONLY}
    wrong = {score.metric: score.value for score in spoken.scores}
    assert wrong["opening correlation"] < right["opening correlation"] - 0.2
    assert wrong["LVE"] > right["LVE"]


def _truth(avatar: Avatar, take: Take, frames: range) -> tuple:
    small = with_size(take, avatar.camera.size)
    real, points = read_frames(small, frames), read_track(small).landmarks[frames.start : frames.stop]
    return Player(avatar, controls=Controls()), small, (real, points), frames, load_networks(Networks())


def test_held_out_is_only_said_of_frames_that_were(avatar: Avatar, actor: Filmed) -> None:
    take = actor.take
    assert choose_frames(avatar, take) == (range(160, 200), "held out")
    assert choose_frames(avatar, with_holdout(take, 0.5)) == (range(160, 200), "held out")
    all_seen = replace(avatar, trained_on=TrainedOn(take.source["sha256"], ((0, 200),), 200))
    assert choose_frames(all_seen, take) == (take.test, "trained on")
    other = replace(take, source=take.source | {"sha256": "another", "name": "another.mp4"})
    assert choose_frames(avatar, other) == (take.test, "another recording")
    assert choose_frames(replace(avatar, trained_on=None), take)[1] == "not known"
    # a take of the clip's last six seconds: its first 110 frames are those that the avatar was trained on
    part = replace(take, request=take.request | {"start": "2"}, length=150, train=range(150), test=range(150, 150))
    assert choose_frames(avatar, part) == (range(110, 150), "held out")


def test_few_frames_are_warned_of(evaluated: tuple[Evaluation, Path]) -> None:
    evaluation, _ = evaluated
    assert "correlations mean little" in evaluation.notes[0]
    assert replace(evaluation, frames=range(50)).notes == []
    assert "TRAINED ON" in replace(evaluation, seen_before="trained on").lead


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
    for name, point in (("mouth", UPPER_LIP), ("eyes", 468), ("face", 1)):
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


def test_further_modes_are_measured_on_demand(avatar: Avatar, actor: Filmed) -> None:
    take = with_holdout(actor.take, 0.06)
    evaluation = evaluate(avatar, take, further=Further(registered=True, published=True))
    found = {(s.mode, s.region, s.metric): s.value for s in evaluation.scores}
    fitted, as_tracked = (found[REGISTERED, "whole", name] for name in ("psnr", "psnr of the same frames, as tracked"))
    assert fitted >= as_tracked  # a pose is only taken where the error falls
    assert found[PUBLISHED, "whole", "psnr"] > found[OWN_TORSO, "whole", "psnr"]  # the torso is the real one
    assert 0 < found[PUBLISHED, "mouth", "LMD of 20 points"] < 3  # px of 128
