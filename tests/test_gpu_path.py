"""The Gaussian renderer draws and trains on every device, and by gsplat where that is installed."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import Device
from scenes import rng
from torch import Tensor

pytest.importorskip("pydantic")  # the kernels alone can be tested without it

from avatar.core.geometry import Camera
from avatar.core.motion_space import Motion
from avatar.render.base import StepInputs
from avatar.render.gaussian import GaussianRenderer, GaussianSettings
from avatar.render.gaussian.trainable import TrainableGaussian, pack
from avatar.render.losses import picture_loss
from avatar.render.step import make_inputs
from cuda_ext import ops

SPLATS, MODES, SIZE = 300, 4, 48
CAMERA = Camera(2.0 * SIZE, SIZE)


def person(seed: int = 0) -> dict[str, Tensor]:
    g = rng(seed)
    features = MODES + 4 + 6
    values = {
        "means": 5 * torch.randn(SPLATS, 3, generator=g),
        "log_scales": 0.3 * torch.randn(SPLATS, 3, generator=g) - 0.5,
        "opacity_logits": torch.randn(SPLATS, 1, generator=g),
        "colors": torch.rand(SPLATS, 3, generator=g),
    }
    return {
        "base": torch.cat([values[name].reshape(-1) for name in ops.ATTRIBUTES]),
        "deltas": 0.05 * torch.randn(features, ops.WIDTH * SPLATS, generator=g),
        "quaternions": torch.randn(SPLATS, 4, generator=g),
        "rigidity": torch.rand(SPLATS, generator=g),
        "rest_rotation": torch.eye(3),
        "rest_translation": torch.tensor([0.0, 0, 60]),
        "feature_mean": torch.zeros(features),
        "feature_scale": torch.ones(features),
        "irises": torch.zeros(2, 3),
        "mesh": torch.zeros(4, 3),
        "basis": torch.zeros(MODES, 3 * SPLATS),
    }


def motion(frames: int) -> Motion:
    g = rng(9)
    return Motion(
        torch.randn(frames, MODES, generator=g),
        torch.rand(frames, 4, generator=g),
        torch.eye(3).repeat(frames, 1, 1),
        torch.tensor([0.0, 0, 60]) + torch.randn(frames, 3, generator=g),
        0.1 * torch.randn(frames, 4, generator=g),
        25.0,
    )


def decibels(one: Tensor, other: Tensor) -> float:
    return -10 * math.log10(max(float((one - other).square().mean()), 1e-20))


def test_every_device_draws_the_same(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = GaussianRenderer(pack(person()), CAMERA)
    renderer.to(device.torch)
    rgb, alpha = renderer.render(motion(3), range(3))
    assert rgb.device == device.torch
    monkeypatch.undo()
    expected = GaussianRenderer(pack(person()), CAMERA).render(motion(3), range(3))
    assert decibels(rgb.cpu(), expected[0]) > 60
    assert decibels(alpha.cpu(), expected[1]) > 60


def trainable_on(device: Device, **settings: float) -> TrainableGaussian:
    trainable = TrainableGaussian(person(), CAMERA, GaussianSettings(feature_noise=0.0, **settings))
    trainable.to(device.torch)
    return trainable


def inputs(trainable: TrainableGaussian, frame: int, picture: Tensor, rate: float) -> StepInputs:
    """A step without noise, of a picture [4, S, S] uint8, all pixels alike."""
    values = torch.zeros(1, 5 + trainable.features)
    values[0, 0] = rate
    parts = torch.tensor([frame]), picture, torch.zeros(3, 2, SIZE), values
    return make_inputs(*(part.to(trainable.device) for part in parts))


def draw(trainable: TrainableGaussian, frame: int) -> tuple[Tensor, Tensor]:
    trainable.prepare(motion(3))
    return trainable.draw(inputs(trainable, frame, torch.zeros(4, SIZE, SIZE, dtype=torch.uint8), 1.0))


def test_every_device_draws_the_same_for_training(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, alpha = draw(trainable_on(device), 2)
    assert rgb.device == device.torch
    monkeypatch.undo()
    expected = draw(TrainableGaussian(person(), CAMERA, GaussianSettings(feature_noise=0.0)), 2)
    assert decibels(rgb.detach().cpu(), expected[0].detach()) > 60
    assert decibels(alpha.detach().cpu(), expected[1].detach()) > 60


def test_every_device_trains(device: Device) -> None:
    drawn = torch.cat(GaussianRenderer(pack(person(1)), CAMERA).render(motion(1), range(1)), 1)[0]
    target, losses = (255 * drawn.clamp(0, 1)).round().byte(), list[float]()
    trainable = trainable_on(device, relocate_every=10)
    trainable.prepare(motion(1))
    for step in range(5 if device.slow else 25):
        number = trainable.advance()
        one = inputs(trainable, 0, target, trainable.rate(number, step / 50))
        rgb, _ = trainable.draw(one)
        loss = picture_loss(rgb[0], one.image, one.weight)
        loss.backward()
        trainable.update(one)
        trainable.maintain(number, step / 50)
        losses.append(loss.item())
    assert losses[-1] < 0.93 * losses[0]
    again, _ = trainable.renderer().render(motion(1), range(1))
    assert picture_loss(again[0], one.image, one.weight).item() < losses[0]


def test_gsplat_draws_the_same_picture() -> None:
    pytest.importorskip("gsplat")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    device = torch.device("cuda:0")
    pictures = []
    for rasterizer in ("native", "gsplat"):
        renderer = GaussianRenderer(pack(person()), CAMERA, GaussianSettings(rasterizer=rasterizer))
        renderer.to(device)
        pictures.append(renderer.render(motion(2), range(2))[0])
    assert decibels(*pictures) >= 40
