"""What is drawn and fitted in the benchmarks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cuda_ext import ops, reference

TERMS = 32  # blendshape terms of the synthetic avatar
FOCAL = 2.0  # picture widths
DISTANCE = 60.0  # cm


@dataclass(frozen=True)
class Scene:
    """Splats of an avatar with a pose, and the picture they were fitted to."""

    name: str
    shapes: ops.SplatBlendshapes
    pose: ops.Pose  # one frame
    target: Tensor  # [3, S, S]
    background: Tensor  # [S, S, 3] uint8

    def splats(self) -> list[Tensor]:
        """Arguments of `splat`."""
        return [part[0] for part in ops.place_splats(self.shapes, self.pose)]

    def to(self, device: torch.device) -> Scene:
        """The same on another device."""
        pose = ops.Pose(*(getattr(self.pose, name).to(device) for name in vars(self.pose)))
        target, background = self.target.to(device), self.background.to(device)
        return replace(self, shapes=self.shapes.to(device), pose=pose, target=target, background=background)


def random_splats(count: int, size: int, diameter: float) -> list[Tensor]:
    """Splats all over the picture; diameter: that of three sigma, in px at a size of 512."""
    g = torch.Generator().manual_seed(0)
    depth = DISTANCE + 10 * torch.rand(count, 1, generator=g)
    across = (torch.rand(count, 2, generator=g) - 0.5) * depth / FOCAL
    scales = torch.log(diameter / 6 * depth / 1024) + 0.4 * torch.randn(count, 3, generator=g)
    opacity = 2 * torch.randn(count, generator=g)
    quaternions = torch.randn(count, 4, generator=g)
    return [torch.cat([across, depth], 1), quaternions, scales, opacity, torch.rand(count, 3, generator=g)]


def drawn_portrait(size: int) -> Tensor:
    """A head and shoulders of ellipses with skin-like grain: what is fitted where no photograph is given. [3, S, S]."""
    g = torch.Generator().manual_seed(1)
    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    picture = torch.stack([0.25 + 0.1 * x, 0.3 + 0.1 * y, 0.35 + 0.05 * x])

    def paint(cx: float, cy: float, rx: float, ry: float, color: tuple[float, float, float]) -> None:
        inside = torch.sigmoid((1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2) * 40)
        shade = 1 - 0.5 * ((x - cx) / rx).clamp(-1, 1) ** 2
        for channel, value in enumerate(color):
            picture[channel] = picture[channel] * (1 - inside) + inside * shade * value

    for ellipse in (
        (0.5, 1.05, 0.48, 0.35, (0.15, 0.2, 0.4)),  # shoulders
        (0.5, 0.75, 0.11, 0.2, (0.75, 0.55, 0.45)),  # neck
        (0.5, 0.42, 0.24, 0.31, (0.2, 0.13, 0.1)),  # hair
        (0.5, 0.47, 0.18, 0.25, (0.85, 0.65, 0.55)),  # face
        (0.43, 0.42, 0.035, 0.015, (0.95, 0.95, 0.95)),  # eyes
        (0.57, 0.42, 0.035, 0.015, (0.95, 0.95, 0.95)),
        (0.5, 0.6, 0.06, 0.018, (0.7, 0.3, 0.3)),  # mouth
    ):
        paint(*ellipse)
    grain = sum(
        torch.nn.functional.interpolate(torch.randn(1, 3, n, n, generator=g), (size, size), mode="bilinear")[0]
        for n in (16, 64, 256)
    )
    return (picture * (1 + 0.06 * grain)).clamp(0, 1)


def fitted_picture(picture: Tensor, count: int, *, steps: int = 150, device: torch.device) -> Scene:
    """Splats fitted to a picture [3, S, S] with this project's ops, as a short training run would leave them."""
    size, g = picture.shape[1], torch.Generator().manual_seed(2)
    detail = (picture.mean(0).diff(dim=0)[:, 1:].abs() + picture.mean(0).diff(dim=1)[1:].abs()).reshape(-1) + 0.01
    chosen = torch.multinomial(detail, count, replacement=True, generator=g)
    y, x = chosen // (size - 1), chosen % (size - 1)
    depth = DISTANCE + torch.randn(count, generator=g)
    across = (torch.stack([x, y], 1) + 0.5 - size / 2 + torch.randn(count, 2, generator=g)) / (FOCAL * size)
    spacing = 0.7 * math.sqrt(size * size / count) / (FOCAL * size) * DISTANCE
    values = {
        "means": torch.cat([across * depth[:, None], depth[:, None]], 1) - torch.tensor([0, 0, DISTANCE]),
        "log_scales": torch.full((count, 3), math.log(spacing)) + 0.2 * torch.randn(count, 3, generator=g),
        "opacity_logits": torch.ones(count, 1),
        "colors": picture[:, y, x].T.contiguous(),
    }
    base = torch.cat([values[name].reshape(-1) for name in ops.ATTRIBUTES]).to(device)
    deltas = 0.01 * torch.randn(TERMS, ops.WIDTH * count, generator=g)
    codes, scales = ops.quantize(deltas)
    quaternions = torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=1)
    rest, far = torch.eye(3), torch.tensor([0, 0, DISTANCE])
    shapes = ops.SplatBlendshapes(
        base, codes, scales, quaternions, torch.ones(count), rest, far, FOCAL * size, size
    ).to(device)
    pose = ops.Pose(0.1 * torch.randn(1, TERMS, generator=g), rest[None], far[None], torch.zeros(1, 4))
    black = torch.zeros(size, size, 3, dtype=torch.uint8)
    scene = Scene("fitted picture", shapes, pose, picture, black).to(device)
    step = training_step(scene, rate=0.01)
    for _ in range(steps):
        step()
    return scene


def training_step(scene: Scene, *, rate: float = 1e-4) -> Callable[[], Tensor]:
    """What one step of training does to splat blendshapes, made of the ops alone; returns the loss."""
    shapes, pose = scene.shapes, scene.pose
    deltas = ops.dequantize(shapes.codes, shapes.scales)
    state = {
        name: [values, torch.zeros_like(values), torch.zeros_like(values)]
        for name, values in {
            "base": shapes.base[None],
            "deltas": deltas,
            "turn": shapes.quaternions.view(1, -1),
        }.items()
    }
    weight = torch.ones(1, shapes.size, shapes.size, device=deltas.device)
    one, steps = torch.ones(1, device=deltas.device), [0]

    def step() -> Tensor:
        steps[0] += 1
        attributes = ops.deform(shapes.base, deltas, pose.coefficients).requires_grad_()
        quaternions = shapes.quaternions.detach().requires_grad_()
        parts = ops.split_attributes(attributes)
        head = ops.RigidTransform(pose.rotation, pose.translation)
        means, turned = ops.place(
            parts["means"], quaternions, shapes.rigidity, head, shapes.rest, pose.torso, focal=shapes.focal
        )
        rgb, _ = ops.splat(
            means, turned, parts["log_scales"], parts["opacity_logits"], parts["colors"], focal=shapes.focal,
            size=shapes.size,
        )  # fmt: skip
        loss = ops.photo_error(rgb[0], scene.target, weight)
        loss.backward()
        assert attributes.grad is not None
        assert quaternions.grad is not None
        adam, slower = ops.AdamStep(steps[0], rate), ops.AdamStep(steps[0], 0.1 * rate)
        ops.deform_adam_(*state["base"], attributes.grad[0], one, adam)
        ops.deform_adam_(*state["deltas"], attributes.grad[0], pose.coefficients[0], slower)
        ops.deform_adam_(*state["turn"], quaternions.grad.view(-1), one, adam)
        return loss.detach()

    return step


def avatar_scene(path: Path, take: Path, frame: int) -> Scene:
    """A frame of a trained avatar, posed and fitted to a real frame."""
    from avatar.core.avatar_file import load_avatar
    from avatar.core.take import open_take, read_frames, read_track
    from avatar.render import open_renderer
    from avatar.render.gaussian import GaussianRenderer

    avatar, source = load_avatar(path), open_take(take)
    renderer = open_renderer(avatar)
    assert isinstance(renderer, GaussianRenderer)
    shapes = renderer.blendshapes
    pose = renderer.pose(read_track(source).motion()[slice(frame, frame + 1)])
    target = read_frames(source, [frame])[0].permute(2, 0, 1).float() / 255
    return Scene(f"fitted frame of {path.stem}", shapes, pose, target.contiguous(), avatar.plate)


def torch_splat(tensors: list[Tensor], size: int) -> tuple[Tensor, Tensor]:
    """The plain torch reference, in float32."""
    return reference.splat(*tensors, focal=FOCAL * size, size=size)
