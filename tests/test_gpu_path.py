"""The Gaussian renderer draws and trains on every device, and by gsplat where that is installed."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Device
from scenes import rng
from torch import Tensor

pytest.importorskip("pydantic")  # the kernels alone can be tested without it

from avatar.core.geometry import Camera
from avatar.core.motion_space import Motion, concatenate, scale_torso
from avatar.play import draw, frame_graphs
from avatar.play.batched_drawing import BatchedDrawing
from avatar.play.composite import Pixels
from avatar.play.draw import Canvas, Drawing
from avatar.play.frame_graphs import Behind, FrameGraphs, uses_graphs
from avatar.play.look import Look
from avatar.provenance.mark import Marker, mark_frames
from avatar.render.base import StepInputs
from avatar.render.gaussian import GaussianRenderer, GaussianSettings
from avatar.render.gaussian.trainable import TrainableGaussian, pack
from avatar.render.step import make_inputs
from cuda_ext import frame, native, ops

SPLATS, MODES, SIZE = 300, 4, 48
CAMERA = Camera(2.0 * SIZE, SIZE)


def person(seed: int = 0, splats: int = SPLATS, torso: int = 4) -> dict[str, Tensor]:
    """torso: its features, 0 as avatars of earlier versions have it."""
    g = rng(seed)
    features = MODES + 4 + 6 + torso
    values = {
        "means": 5 * torch.randn(splats, 3, generator=g),
        "log_scales": 0.3 * torch.randn(splats, 3, generator=g) - 0.5,
        "opacity_logits": torch.randn(splats, 1, generator=g),
        "colors": torch.rand(splats, 3, generator=g),
    }
    return {
        "base": torch.cat([values[name].reshape(-1) for name in ops.ATTRIBUTES]),
        "deltas": 0.05 * torch.randn(features, ops.WIDTH * splats, generator=g),
        "quaternions": torch.randn(splats, 4, generator=g),
        "rigidity": torch.rand(splats, generator=g),
        "rest_rotation": torch.eye(3),
        "rest_translation": torch.tensor([0.0, 0, 60]),
        "feature_mean": torch.zeros(features),
        "feature_scale": torch.ones(features),
        "irises": torch.zeros(2, 3),
        "mesh": torch.zeros(4, 3),
        "prior": torch.zeros(MODES + 4, ops.WIDTH * splats),
        "learned": torch.ones(splats),
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


def draw_step(trainable: TrainableGaussian, frame: int) -> tuple[Tensor, Tensor]:
    trainable.prepare(motion(3))
    return trainable.draw(inputs(trainable, frame, torch.zeros(4, SIZE, SIZE, dtype=torch.uint8), 1.0))


def test_every_device_draws_the_same_for_training(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, alpha = draw_step(trainable_on(device), 2)
    assert rgb.device == device.torch
    monkeypatch.undo()
    expected = draw_step(TrainableGaussian(person(), CAMERA, GaussianSettings(feature_noise=0.0)), 2)
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
        loss = (rgb[0] - one.picture[:3] / 255).abs().mean()
        loss.backward()
        trainable.update(one)
        trainable.maintain(number, step / 50)
        losses.append(loss.item())
    assert losses[-1] < 0.93 * losses[0]
    again, _ = trainable.renderer().render(motion(1), range(1))
    assert (again[0] - one.picture[:3] / 255).abs().mean().item() < losses[0]


@pytest.fixture
def graphs(device: Device, monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device on which frames come from graphs, in batches of 1, 2 and 4."""
    if native.stream(device.torch) is None:
        pytest.skip("graphs are the GPU's")
    monkeypatch.setattr(frame_graphs, "AT_ONCE", (1, 2, 4))
    return device


def canvas(device: Device, look: Look, *, film: bool = False, fps: float = 25.0) -> Canvas:
    renderer = GaussianRenderer(pack(person()), CAMERA)
    renderer.to(device.torch)
    plate = torch.randint(0, 256, (SIZE, SIZE, 3), generator=rng(5), dtype=torch.uint8).to(device.torch)
    behind = Behind(plate, film)
    assert uses_graphs(renderer)
    opened = FrameGraphs(renderer.blendshapes, behind, turned=look.orbit > 0)
    return Canvas(renderer, threading.Lock(), look, SIZE, SIZE // 2, fps, behind, None, device.torch, opened)


def frames_of(place: Canvas, pixels: Pixels, *motions: Motion, ahead: bool = False) -> list[np.ndarray]:
    drawing = Drawing(place, pixels, ahead=ahead)
    return [picture for part in motions for picture in drawing.draw(part)] + list(drawing.finish())


def assert_same(device: Device, ours: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """To the last bit in emulation; a GPU's compiler may round a level up in one kernel and down in another."""
    assert len(ours) == len(expected) > 0
    difference = np.abs(np.stack(ours).astype(int) - np.stack(expected))
    assert difference.max() <= (0 if device.slow else 1)
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("pixels", ["rgb", "nv12", "rgba"])
@pytest.mark.parametrize("orbit", [0.0, 15.0])
def test_graphs_draw_what_the_renderer_draws(graphs: Device, pixels: Pixels, orbit: float) -> None:
    """Two stretches whose last batches are not full, at another frame rate."""
    look = Look(orbit=orbit, background="transparent" if pixels == "rgba" else None)
    place = canvas(graphs, look, fps=30.0)
    assert place.graphs is not None
    parts = motion(7), motion(2)
    drawn, expected = frames_of(place, pixels, *parts), frames_of(replace(place, graphs=None), pixels, *parts)
    assert len(drawn) == 11
    assert_same(graphs, drawn, expected)
    assert np.abs(drawn[0].astype(int) - drawn[5]).max() > 20  # it moves


def test_graphs_draw_before_a_film(graphs: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def film(*_: object) -> Iterator[Tensor]:
        for seed in range(99):
            yield torch.randint(0, 256, (SIZE, SIZE, 3), generator=rng(seed), dtype=torch.uint8)

    monkeypatch.setattr(draw, "open_background", film)
    place = canvas(graphs, Look(background="film.mp4"), film=True)
    drawn = frames_of(place, "nv12", motion(7))
    assert_same(graphs, drawn, frames_of(replace(place, graphs=None), "nv12", motion(7)))


def test_frames_that_need_more_room_are_drawn_again(graphs: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "first_pairs", lambda _: 10)
    place = canvas(graphs, Look())
    expected = frames_of(replace(place, graphs=None), "rgb", motion(7))
    for _ in range(2):
        assert_same(graphs, frames_of(place, "rgb", motion(7)), expected)


def test_frames_may_be_kept(graphs: Device) -> None:
    """A frame is its caller's: later frames are drawn elsewhere."""
    place, copies, kept = canvas(graphs, Look()), [], []
    for picture in Drawing(place).draw(motion(40)):
        copies.append(picture.copy())
        kept.append(picture)
    assert len(kept) == 40
    assert all(np.array_equal(one, other) for one, other in zip(kept, copies, strict=True))
    assert not np.array_equal(kept[0], kept[39])


def test_frames_that_wait_come_in_order(graphs: Device) -> None:
    place, parts = canvas(graphs, Look()), (motion(6), motion(3))
    drawing = Drawing(place, ahead=True)
    first = list(drawing.draw(parts[0]))
    assert len(first) < 6
    rest = list(drawing.draw(parts[1])) + list(drawing.finish())
    assert_same(graphs, first + rest, frames_of(place, "rgb", *parts))


def test_threads_share_a_canvas(graphs: Device) -> None:
    place, motions = canvas(graphs, Look()), [motion(8)[slice(start, start + 5)] for start in range(4)]
    alone = [frames_of(place, "rgb", part) for part in motions]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda part: frames_of(place, "rgb", part), motions))
    for ours, expected in zip(together, alone, strict=True):
        assert_same(graphs, ours, expected)


def people() -> list[GaussianRenderer]:
    """Three people of other numbers of splats and features, other cameras and other poses at rest."""
    made = []
    for seed, (splats, focal, torso) in enumerate(((300, 96.0, 4), (211, 80.0, 0), (64, 130.0, 4))):
        tensors = person(seed, splats, torso) | {"rest_translation": torch.tensor([0.0, 0, 60 + 3 * seed])}
        made.append(GaussianRenderer(pack(tensors), Camera(focal, SIZE)))
    return made


def poses_together(poses: list[ops.Pose]) -> ops.Pose:
    """Poses of people, some of whom have fewer features."""
    width = max(pose.coefficients.shape[1] for pose in poses)
    poses = [
        replace(pose, coefficients=torch.nn.functional.pad(pose.coefficients, (0, width - pose.coefficients.shape[1])))
        for pose in poses
    ]
    return ops.Pose(*(torch.cat([getattr(one, name) for one in poses]) for name in vars(poses[0])))


def test_people_in_a_batch_are_placed_as_alone(device: Device) -> None:
    renderers, choice = people(), [2, 0, 1, 0]
    stacked = ops.stack([one.blendshapes for one in renderers]).to(device.torch)
    poses = [renderers[who].pose(motion(4)[slice(index, index + 1)]) for index, who in enumerate(choice)]
    pose = ops.Pose(*(value.to(device.torch) for value in vars(poses_together(poses)).values()))
    together = ops.place_stacked(stacked, torch.tensor(choice, dtype=torch.int32, device=device.torch), pose)
    for index, (who, own) in enumerate(zip(choice, poses, strict=True)):
        shapes = renderers[who].blendshapes
        own = ops.Pose(*(value.to(device.torch) for value in vars(own).values()))
        alone = ops.place_splats(shapes.to(device.torch), own)
        for ours, expected in zip(together, alone, strict=True):
            assert torch.allclose(ours[index, : len(shapes)], expected[0], rtol=1e-6, atol=1e-6)
        assert bool((together[3][index, len(shapes) :] < -20).all())  # opacity logits of splats that are not there


def test_people_in_a_batch_are_drawn_as_alone(graphs: Device) -> None:
    renderers, choice = people(), [1, 2, 1]
    for renderer in renderers:
        renderer.to(graphs.torch)
    plates = torch.randint(0, 256, (3, SIZE, SIZE, 3), generator=rng(5), dtype=torch.uint8).to(graphs.torch)
    together = ops.FrameGraph(ops.stack([one.blendshapes for one in renderers]), 4, plates, pixels="rgb")
    poses = [renderers[who].pose(motion(3)[slice(index, index + 1)]) for index, who in enumerate(choice)]
    pose = poses_together(poses)
    drawn = together(pose, choice=torch.tensor(choice, dtype=torch.int32, device=graphs.torch))
    alone = [
        ops.FrameGraph(one.blendshapes, 1, plate, pixels="rgb") for one, plate in zip(renderers, plates, strict=True)
    ]
    expected = [alone[who](one)[0].cpu().numpy() for who, one in zip(choice, poses, strict=True)]
    assert_same(graphs, list(drawn.cpu().numpy()), expected)


def test_sessions_are_drawn_together_as_alone(graphs: Device) -> None:
    """Seven frames of four sessions with three avatars, one of which was trained at half the size."""
    renderers = people()
    for renderer in renderers:
        renderer.to(graphs.torch)
    plates = list(torch.randint(0, 256, (3, SIZE, SIZE, 3), generator=rng(5), dtype=torch.uint8))
    whole, enlargement = motion(9), [1.0, 2.0, 1.0]
    due = [(1, whole[:1]), (0, whole[2:5]), (2, whole[5:6]), (1, whole[7:9])]
    avatars = [who for who, part in due for _ in range(len(part))]
    together = concatenate([part for _, part in due])
    sessions = [Marker(number, SIZE, SIZE) for number in range(len(due))]
    markers = [marker for marker, (_, part) in zip(sessions, due, strict=True) for _ in range(len(part))]
    drawn = BatchedDrawing(renderers, plates, enlargement, "nv12").draw(together, avatars, markers)
    expected = []
    for number, (who, part) in enumerate(due):
        graph = ops.FrameGraph(renderers[who].blendshapes, 3, plates[who].to(graphs.torch))
        frames = graph(renderers[who].pose(scale_torso(part, enlargement[who]))).cpu().numpy()
        assert not np.array_equal(frames[0], drawn[len(expected)])  # it is marked
        expected += mark_frames(frames, number)
    assert len(drawn) == 7
    assert_same(graphs, drawn, expected)


def test_people_are_stacked_of_one_size() -> None:
    one, other = people()[0].blendshapes, replace(people()[1].blendshapes, size=SIZE + 2)
    with pytest.raises(ValueError, match="sizes \\[48, 50\\] px, expected one"):
        ops.stack([one, other])


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
