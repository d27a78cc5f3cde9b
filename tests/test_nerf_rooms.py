"""The NeRF drawn with room for its samples, as on a GPU: the same pictures and gradients, and nothing waits."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("pydantic")  # the kernels alone can be tested without it

from avatar.core.geometry import Camera, exponential
from avatar.core.motion_space import Motion, load_space
from avatar.render.base import StepInputs
from avatar.render.captured import capture_graph
from avatar.render.losses import picture_loss
from avatar.render.nerf import NerfRenderer, NerfSettings
from avatar.render.nerf import field as nerf_field
from avatar.render.nerf import model as nerf_model
from avatar.render.nerf.initial import initial_head, initial_torso, initial_upscale
from avatar.render.nerf.model import FrameInputs, NerfModel, RayBatch, draw_frame, frame_samples, place_motion
from avatar.render.nerf.occupancy import head_box
from avatar.render.nerf.rays import Rays
from avatar.render.nerf.settings import pack_settings
from avatar.render.nerf.trainable import TrainableNerf
from avatar.render.nerf.volume import Field, composite
from avatar.render.step import make_inputs
from cuda_ext import ops
from tests.conftest import Device
from tests.scenes import rng

SIZE, FRAMES, SIDE = 48, 3, 32
CAMERA = Camera(2.0 * SIZE, SIZE)
SETTINGS = NerfSettings(
    levels=4,
    log2_entries=10,
    finest=48,
    torso_levels=3,
    torso_log2_entries=10,
    occupancy=SIDE,
    upscale=2,
    step_cm=0.8,
    precision="float32",
)
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "is_nonzero", "equal", "unique", "bincount")
"""Ops of torch that a GPU is waited for in, or that copy from the host; they cannot be captured."""


def person(seed: int = 0) -> dict[str, Tensor]:
    """A hollow ball for a head, and a torso, both of random colours."""
    space, g = load_space(), rng(seed)
    axis = (torch.arange(SIDE) + 0.5) / SIDE
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = head_box().to_cm(torch.stack([x, y, z], -1)).norm(dim=-1)
    hull = ((distance > 5) & (distance < 8)).to(torch.uint8)
    features = space.modes + 4 + 6
    values = initial_head(SETTINGS, features, g) | initial_torso(SETTINGS, g) | initial_upscale(g)
    values = {name: value + 0.1 * torch.randn(value.shape, generator=g) for name, value in values.items()}
    mask = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    mask[SIZE // 2 :] = 1
    state = {
        "occupancy": hull.clone(),
        "hull": hull,
        "torso_mask": mask,
        "rest_rotation": torch.eye(3),
        "rest_translation": torch.tensor([0.0, 0, 60]),
        "feature_mean": torch.zeros(features),
        "feature_scale": torch.ones(features),
        "neutral": space.template,
        "light": 0.1 * torch.randn(FRAMES, SETTINGS.appearance, generator=g),
        "settings": pack_settings(SETTINGS),
    }
    return values | state


def motion() -> Motion:
    g = rng(9)
    return Motion(
        torch.randn(FRAMES, load_space().modes, generator=g),
        torch.rand(FRAMES, 4, generator=g),
        exponential(0.1 * torch.randn(FRAMES, 3, generator=g)),
        torch.tensor([0.0, 0, 60]) + torch.randn(FRAMES, 3, generator=g),
        0.1 * torch.randn(FRAMES, 4, generator=g),
        25.0,
    )


@pytest.fixture
def roomy(device: Device, monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device on which frames are drawn in rooms: each of them, the processor too."""
    monkeypatch.setattr(nerf_model, "native", SimpleNamespace(stream=lambda _: 0))
    return device


def trainable_on(device: Device, seed: int = 0) -> TrainableNerf:
    trainable = TrainableNerf(person(seed), CAMERA)
    trainable.to(device.torch)
    trainable.prepare(motion())
    return trainable


def frame_of(model: NerfModel, frame: int) -> FrameInputs:
    placed, features = place_motion(model, motion())
    return FrameInputs(placed[frame : frame + 1], features[frame], model.values["light"][frame], None)


def draw(model: NerfModel, room: ops.Room | None) -> tuple[Tensor, dict[str, Tensor]]:
    """A frame [4, S, S], samples in the middle of their steps; and the gradients of what it is drawn from."""
    for name, value in model.values.items():
        model.values[name] = value.detach().requires_grad_()

    def shade(rays: Rays, field: Field, motion: Motion) -> tuple[Tensor, Tensor]:
        return composite(frame_samples(model, rays, motion, room=room), field, model.settings.step_cm)

    planes = torch.cat(draw_frame(model, frame_of(model, 1), RayBatch(2**18), shade, opaque=math.inf, room=room))
    weights = torch.randn(planes.shape, generator=rng(1)).to(planes.device)
    (planes * weights).sum().backward()
    gradients = {name: value.grad for name, value in model.values.items() if value.grad is not None}
    return planes.detach(), gradients


def test_a_frame_in_a_room_is_the_frame_and_so_are_its_gradients(roomy: Device) -> None:
    model = trainable_on(roomy)._model
    expected, gradients = draw(model, None)
    room = ops.Room(2000, roomy.torch)
    planes, ours = draw(model, room)
    assert 1000 < int(room.needed) < room.size
    assert expected[3].max() > 0.9
    assert (planes - expected).abs().max() < 1e-4
    assert ours.keys() == gradients.keys()
    for name, truth in gradients.items():
        assert (ours[name] - truth).norm() < 1e-3 * truth.norm() + 1e-6, name


def test_a_room_that_is_too_small_costs_what_lies_deepest(roomy: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trainable_on(roomy)._model
    monkeypatch.setattr(nerf_field, "FIRST_DENSITY", -1.0)  # thin: what lies second is still seen
    expected, _ = draw(model, None)
    needed = ops.Room(2000, roomy.torch)
    draw(model, needed)
    room = ops.Room(int(0.7 * int(needed.needed)), roomy.torch)
    planes, _ = draw(model, room)
    assert int(room.needed) == int(needed.needed) > room.size
    assert 1e-5 < (planes - expected).abs().mean() < 0.02
    assert ((expected[3] > 0.5) == (planes[3] > 0.5)).float().mean() > 0.97
    assert room.resize(int(room.needed))
    assert torch.allclose(draw(model, room)[0], expected, atol=1e-4)


class NoWaiting(TorchDispatchMode):
    """Refuses what waits for a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name, values = func.name().removeprefix("aten::").split(".")[0], [*args, *(kwargs or {}).values()]
        indices = [part for value in values if isinstance(value, (list, tuple)) for part in value]
        counted = name == "repeat_interleave" and not (kwargs or {}).get("output_size")
        masked = name.startswith("index") and any(getattr(part, "dtype", None) == torch.bool for part in indices)
        if name in WAITS or counted or masked:
            raise AssertionError(f"{func.name()} waits")
        return func(*args, **(kwargs or {}))


def step_of(trainable: TrainableNerf, frame: int, picture: Tensor, rate: float = 1.0) -> StepInputs:
    """A step without noise, of a picture [4, S, S] uint8, all pixels alike."""
    values = torch.zeros(1, 5 + trainable.features)
    values[0, 0] = rate
    parts = torch.tensor([frame]), picture, torch.zeros(3, 2, SIZE), values
    return make_inputs(*(part.to(trainable.device) for part in parts))


def black() -> Tensor:
    return torch.zeros(4, SIZE, SIZE, dtype=torch.uint8)


def test_a_step_waits_for_nothing(roomy: Device) -> None:
    if roomy.name == "cpu":
        pytest.skip("the processor's ops look at their arguments")
    trainable = trainable_on(roomy)
    step = step_of(trainable, 1, black())
    for _ in range(2):  # what is made for the first time may wait
        with NoWaiting() if trainable._adam.moments else torch.enable_grad():
            rgb, alpha = trainable.draw(step)
            (rgb.sum() + alpha.sum()).backward()
            trainable.update(step)
    with NoWaiting(), torch.no_grad():
        trainable._update_occupancy()


def test_nothing_that_a_step_reads_moves(roomy: Device) -> None:
    trainable = trainable_on(roomy)
    model = trainable._model

    def addresses() -> dict[str, int]:
        known = {name: tensor.data_ptr() for name, tensor in (model.state | model.values).items()}
        return known | {"lower": model.filled.lower.data_ptr(), "upper": model.filled.upper.data_ptr()}

    before, filled, kept = addresses(), model.filled.upper.clone(), trainable.tensors()
    step = step_of(trainable, 1, black())
    rgb, _ = trainable.draw(step)
    rgb.sum().backward()
    trainable.update(step)
    trainable._weights[: SIDE // 2 + 6] = 0  # by z: nothing of the face's side was seen
    trainable._update_occupancy()
    assert addresses() == before
    assert not torch.equal(model.values["head.tables"], kept["head.tables"].to(roomy.torch))
    assert model.state["occupancy"].sum() < kept["occupancy"].sum()
    assert filled.shape == model.filled.upper.shape


def test_captured_steps_learn(roomy: Device) -> None:
    """Each step a replay of a graph on a GPU, of the same function elsewhere."""
    trainable = trainable_on(roomy)
    drawn, alpha = NerfRenderer(person(1), CAMERA).render(motion(), range(FRAMES))
    pictures = (255 * torch.cat([drawn, alpha], 1).clamp(0, 1)).byte().to(roomy.torch)
    at = torch.zeros(1, dtype=torch.int64, device=roomy.torch)
    rate, loss = torch.zeros(1, device=roomy.torch), torch.zeros(1, device=roomy.torch)

    def step() -> None:
        inputs = step_of_row(trainable, at, pictures, rate)
        rgb, _ = trainable.draw(inputs)
        error = picture_loss(rgb[0], inputs.picture[:3].float() / 255, torch.ones_like(rgb[0, :1]))
        error.backward()
        trainable.update(inputs)
        loss.copy_(error.detach())

    def take(run, number: int) -> float:  # type: ignore[no-untyped-def]
        at.fill_(number % FRAMES)
        rate.fill_(trainable.rate(trainable.advance(), 0.0))
        run()
        return loss.item()

    assert trainable.rooms
    losses = []
    stream = torch.cuda.Stream() if roomy.name == "cuda" else None
    if stream:
        stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        losses += [take(step, number) for number in range(3)]
        while trainable.rooms[0].resize(int(trainable.rooms[0].needed)):
            losses.append(take(step, 0))
        run = capture_graph(step, trainable.generators) if stream else step
        losses += [take(run, number) for number in range(4 if roomy.slow else 40)]
        trainable._update_occupancy()
        losses += [take(run, number) for number in range(3)]
    assert all(map(math.isfinite, losses))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def step_of_row(trainable: TrainableNerf, at: Tensor, pictures: Tensor, rate: Tensor) -> StepInputs:
    device, features = trainable.device, trainable.features
    values = torch.cat([rate[None], torch.zeros(1, 4 + features, device=device)], 1)
    return make_inputs(at, pictures[at][0], torch.zeros(3, 2, SIZE, device=device), values)


def test_the_renderer_draws_in_a_room_what_it_draws_without(roomy: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = NerfRenderer(person(), CAMERA)
    renderer.to(roomy.torch)
    views = exponential(torch.tensor([[0.0, 0, 0], [0, 0.2, 0]]))
    shots = ((range(3), None), (range(1, 3), views))
    pictures = [torch.cat(renderer.render(motion(), *shot), 1) for shot in shots]
    again = torch.cat(renderer.render(motion(), range(3)), 1)
    assert torch.allclose(again, pictures[0], atol=1e-5)
    monkeypatch.undo()
    plain = NerfRenderer(person(), CAMERA, SETTINGS.model_copy(update={"stop": 0.0}))
    expected = [torch.cat(plain.render(motion(), *shot), 1) for shot in shots]
    for ours, truth in zip(pictures, expected, strict=True):
        assert (ours.cpu() - truth).square().mean() < 1e-6


def test_a_head_that_comes_nearer_gets_more_room(roomy: Device) -> None:
    renderer = NerfRenderer(person(), CAMERA)
    renderer.to(roomy.torch)
    far, near = motion(), motion()
    far.translation[:, 2] = 90
    near.translation[:, 2] = 45
    renderer.render(far, range(1))
    first = renderer._graph._room.size
    pictures = [renderer.render(near, range(1))[1] for _ in range(3)]
    assert int(renderer._graph._room.needed) <= renderer._graph._room.size
    assert renderer._graph._room.size > first
    assert (pictures[2] - pictures[0]).abs().mean() < 0.02


def test_a_room_follows_what_is_needed_lately() -> None:
    room = ops.Room(1000, torch.device("cpu"), least=100, spare=1.25)
    room.note(torch.tensor(950))
    assert room.resize(int(room.needed))
    assert room.size == 1187
    room.forget()
    assert not room.resize(int(room.needed))
    for _ in range(6):
        room.forget()
    assert room.resize(int(room.needed))
    assert int(room.needed) < 0.9 * room.size < 500
    for _ in range(60):
        room.forget()
    assert room.resize(int(room.needed))
    assert room.size == 100
