"""Every renderer: learns the actor, survives a round trip, draws any range the same."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.core.geometry import project, to_camera
from avatar.core.motion_space import load_space
from avatar.core.recipe import Recipe, parse
from avatar.core.take import read_frames, read_plate, read_track, with_size
from avatar.metrics import METRICS, correlation, psnr, region_masks
from avatar.metrics.pictures import fill_polygon
from avatar.pipelines.build import build
from avatar.play.composite import over, read_background
from avatar.render import RENDERERS, renderer_kind
from avatar.render.base import Renderer
from avatar.render.exposure import Exposure
from avatar.render.splat_init import INNER_LIPS
from avatar.render.train import Checkpoint, RunningMean, Schedule, blinks, train
from tests.conftest import Filmed

SIZES, STEPS = {"gaussian": 512, "nerf": 96}, {"gaussian": 900, "nerf": 500}  # px a side; of training
LEAST_PSNR = {"gaussian": 32, "nerf": 22}


@pytest.fixture(scope="module", params=sorted(RENDERERS))
def trained(request: pytest.FixtureRequest, actor: Filmed) -> tuple[str, Renderer, list[float]]:
    kind = renderer_kind(request.param)
    take = with_size(actor.take, SIZES[request.param])
    track = read_track(take)
    settings = parse(kind.settings, {"kind": request.param}, "test")
    renderer = kind.begin(take, track, load_space(), settings, 0)
    losses = train(renderer, take, track, budget_seconds=math.inf, seed=0, schedule=Schedule(STEPS[request.param]))
    return request.param, renderer, losses


def draw(renderer: Renderer, actor: Filmed, frames: range) -> torch.Tensor:
    take = with_size(actor.take, renderer.camera.size)
    with torch.inference_mode():
        rgb, alpha = renderer.render(read_track(take).motion(), frames)
        return over(rgb, alpha, read_plate(take))


def test_the_actor_is_rebuilt_on_frames_never_seen(trained: tuple, actor: Filmed) -> None:
    name, renderer, losses = trained
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    test = actor.take.test
    truth = read_frames(with_size(actor.take, renderer.camera.size), test)
    values = [psnr(a, b) for a, b in zip(draw(renderer, actor, test), truth, strict=True)]
    assert sum(values) / len(values) > LEAST_PSNR[name], values


def test_packed_and_loaded_it_looks_the_same(trained: tuple, actor: Filmed) -> None:
    name, renderer, _ = trained
    kind = RENDERERS[name]
    loaded = kind.load(kind.pack(renderer.tensors()), renderer.camera)
    frames = range(100, 102)
    assert all(psnr(a, b) > 40 for a, b in zip(draw(loaded, actor, frames), draw(renderer, actor, frames), strict=True))


def test_restored_it_is_the_same(trained: tuple, actor: Filmed) -> None:
    name, renderer, _ = trained
    again = RENDERERS[name].load(renderer.tensors(), renderer.camera)
    assert torch.equal(draw(again, actor, range(5, 6)), draw(renderer, actor, range(5, 6)))


def test_a_range_is_its_frames_and_alpha_is_a_share(trained: tuple, actor: Filmed) -> None:
    _, renderer, _ = trained
    together = draw(renderer, actor, range(20, 23))
    assert all(torch.equal(together[i : i + 1], draw(renderer, actor, range(20 + i, 21 + i))) for i in range(3))
    with torch.inference_mode():
        take = with_size(actor.take, renderer.camera.size)
        _, alpha = renderer.render(read_track(take).motion(), range(1))
    assert alpha.min() >= 0
    assert alpha.max() <= 1.0001


def test_a_killed_run_goes_on(trained: tuple, actor: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, renderer, _ = trained
    kind, take = RENDERERS[name], with_size(actor.take, renderer.camera.size)
    track = read_track(take)
    checkpoint = Checkpoint(tmp_path / "c", "key")
    options = {"budget_seconds": math.inf, "seed": 0, "schedule": Schedule(8), "checkpoint": checkpoint}
    monkeypatch.setattr("avatar.render.train.SNAPSHOT_SECONDS", 0.0)

    def stop(share: float, loss: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(renderer, take, track, **options, progress=stop)
    assert checkpoint.path.exists()
    shares: list[float] = []
    fresh = kind.begin(take, track, load_space(), parse(kind.settings, {"kind": name}, "test"), 0)
    train(fresh, take, track, **options, progress=lambda share, loss: shares.append(share))
    assert shares[0] > 0.4
    assert not checkpoint.path.exists()


def test_backgrounds(tmp_path: Path) -> None:
    assert read_background("#20a040", 8)[0, 0].tolist() == [32, 160, 64]
    with pytest.raises(Exception, match="neither a picture file nor a colour"):
        read_background("no-such-thing", 8)
    (tmp_path / "x.png").write_text("no")
    with pytest.raises(Exception, match="not a picture"):
        read_background(str(tmp_path / "x.png"), 8)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_metrics_know_better_from_worse(name: str) -> None:
    metric = METRICS[name]
    truth = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noise = torch.randint(-20, 20, truth.shape, generator=torch.Generator().manual_seed(1))
    near, far = (((truth + k * noise).clamp(0, 255)).to(torch.uint8) for k in (1, 3))
    values = [metric.measure(picture, truth, None) for picture in (truth, near, far)]
    assert sorted(values, reverse=metric.better == "higher") == values
    assert len(set(values)) == 3


def test_known_metric_values() -> None:
    black, grey = torch.zeros(16, 16, 3, dtype=torch.uint8), torch.full((16, 16, 3), 16, dtype=torch.uint8)
    assert psnr(grey, black) == pytest.approx(24.05, abs=0.01)
    assert correlation(torch.arange(9.0), -torch.arange(9.0)) == pytest.approx(-1)
    assert region_masks(torch.rand(478, 3) * 16, 16)["whole"] is None


def test_shut_eyes_are_seen_more_often(actor: Filmed) -> None:
    track = read_track(actor.take)
    frames = list(range(len(track)))
    track.eyes[:, :2] = 1
    assert blinks(track, frames) == []
    track.eyes[40:43, :2] = 0
    more = blinks(track, frames)
    assert set(more) == {40, 41, 42}
    assert 0.03 < len(more) / len(frames) <= 0.06


def test_so_many_steps_give_the_same_file(actor: Filmed, tmp_path: Path) -> None:
    settings = {"kind": "gaussian", "splats": 2000}
    for name in ("a", "b"):
        build(actor.take.root, tmp_path / f"{name}.avatar", recipe=Recipe(steps=40, renderer=settings))
    assert (tmp_path / "a.avatar").read_bytes() == (tmp_path / "b.avatar").read_bytes()


def test_exposure_is_found_frame_by_frame() -> None:
    true = torch.tensor([[0.9, 1.0, 1.15], [1 / 0.9, 1.0, 1 / 1.15], [1, 1, 1]])
    draw_from = torch.Generator().manual_seed(0)
    exposure = Exposure(4)
    for visit in range(30):
        frame = visit % 3
        drawn = torch.rand(3, 16, 16, generator=draw_from)
        truth = true[frame, :, None, None] * drawn + 0.05 * torch.randn(3, 16, 16, generator=draw_from)
        exposure.update(frame, drawn, truth, 0.5)
    found = torch.stack([exposure.gain(frame)[:, 0, 0] for frame in range(3)])
    assert (found / true - 1).abs().max() < 0.04
    assert torch.equal(exposure.gain(3), torch.ones(3, 1, 1))


def test_the_running_mean_is_the_mean() -> None:
    values, mean = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)), RunningMean()
    for value in values:
        mean.add({"x": value.clone()})
    assert torch.allclose(mean.tensors["x"], values.mean(0), atol=1e-6)


def test_no_background_shows_through_a_mouth_opened_wider_than_ever(trained: tuple, actor: Filmed) -> None:
    name, renderer, _ = trained
    if name != "gaussian":
        pytest.skip("a field has no holes between splats")
    take, space = actor.take, load_space()
    track = read_track(take)
    widest = int((track.landmarks[:, 14, 1] - track.landmarks[:, 13, 1]).argmax())
    motion = track.motion()[widest : widest + 1]
    motion = replace(motion, expression=torch.cat([motion.expression[:, :2], 1.4 * motion.expression[:, 2:]], 1))
    vertices = track.neutral + torch.einsum("k,kvc->vc", motion.expression[0], space.basis)
    points = project(to_camera(vertices, motion.rotation[0], motion.translation[0]), take.camera)
    inside = fill_polygon(points[list(INNER_LIPS)], take.camera.size)
    with torch.inference_mode():
        _, alpha = renderer.render(motion, range(1))
    assert alpha[0, 0][inside].quantile(0.02) > 0.9
