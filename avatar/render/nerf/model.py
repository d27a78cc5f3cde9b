"""The tensors of a NeRF avatar as a model, and one frame of it: what drawing and training share.

Samples are taken into the head's own frame by its pose and, by the MotionSpace's mesh, back to the face at rest; only
cells in which something is seen are sampled. Behind the head lies the torso, a picture field; the plate behind both is
not drawn here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.core.geometry import Camera
from avatar.core.motion_space import MOTION_NAMES, Motion, load_space, scale_torso
from avatar.render.features import POSE_FEATURES, Scaling
from avatar.render.nerf.backends import March, open_backends, uses_native
from avatar.render.nerf.field import HeadField, Values
from avatar.render.nerf.occupancy import filled_box, head_box
from avatar.render.nerf.rays import Box, Rays, cast_rays
from avatar.render.nerf.settings import NerfSettings
from avatar.render.nerf.torso import TorsoField, head_inputs, rest_places
from avatar.render.nerf.upscale import upscale
from avatar.render.nerf.volume import DEPTH, Field, FieldSamples, sample_rays
from avatar.render.nerf.warp import Warp, make_warp
from cuda_ext import native, ops

STATE = (
    "occupancy",
    "hull",
    "torso_mask",
    "rest_rotation",
    "rest_translation",
    "feature_mean",
    "feature_scale",
    "neutral",
)
"""Tensors that no gradient changes."""
LEAST_RAYS = 256  # at once: with fewer, a GPU's time is all launches, and its memory is not what is full
SPARE_SAMPLES = 1.25  # size of a room of samples beside what was needed: all of it is computed


@dataclass
class NerfModel:
    """Parameters on a device, with the functions of them."""

    settings: NerfSettings
    camera: Camera  # of the picture
    ray_camera: Camera  # of what rays draw: at half the size where a network enlarges it
    state: dict[str, Tensor]  # STATE
    values: Values  # all others, float32
    scaling: Scaling
    head: HeadField
    torso: TorsoField
    march: March
    box: Box
    filled: Box  # all that is filled of the head lies within it
    warp: Warp | None
    device: torch.device

    def refill(self, occupancy: Tensor) -> None:
        """Sample other cells [G, G, G] from now on; a captured step finds them at the same address."""
        self.state["occupancy"].copy_(occupancy)
        filled = filled_box(occupancy, self.box)
        self.filled.lower.copy_(filled.lower)
        self.filled.upper.copy_(filled.upper)


@dataclass(frozen=True)
class FrameInputs:
    """What one frame is drawn from, on the model's device."""

    motion: Motion  # of this frame alone, as `place_motion` returns it
    features: Tensor  # [D]
    appearance: Tensor  # [A]
    view: Tensor | None  # [3, 3]


@dataclass(frozen=True)
class DrawnRays:
    """What rays see."""

    color: Tensor  # [R, 3] premultiplied
    alpha: Tensor  # [R]
    depth: Tensor  # [R] cm, times alpha


Shade = Callable[[Rays, Field, Motion], tuple[Tensor, Tensor]]
"""Rays, the field in their frame, its motion -> colour and depth [R, 4] premultiplied, coverage [R]."""


def open_model(tensors: dict[str, Tensor], camera: Camera, settings: NerfSettings, device: torch.device) -> NerfModel:
    """A model of copies of tensors."""
    here = {name: tensor.clone().to(device) for name, tensor in tensors.items() if name != "settings"}
    state = {name: here.pop(name) for name in STATE}
    scaling = Scaling(*(state[name] for name in ("rest_rotation", "feature_mean", "feature_scale")))
    (backend, march), box = open_backends(settings, device), head_box().to(device)
    return NerfModel(
        settings=settings,
        camera=camera,
        ray_camera=camera.scaled(-(-camera.size // settings.upscale)),
        state=state,
        values={name: tensor.float() for name, tensor in here.items()},
        scaling=scaling,
        head=HeadField(settings, len(scaling.mean), backend, device),
        torso=TorsoField(settings, backend, device),
        march=march,
        box=box,
        filled=filled_box(state["occupancy"], box),
        warp=make_warp(state["neutral"].cpu(), load_space()).to(device) if settings.warp else None,
        device=device,
    )


def place_motion(model: NerfModel, motion: Motion) -> tuple[Motion, Tensor]:
    """A motion [T] on the model's device, its torso in px of what rays draw; and its features [T, D].

    To a GPU it is copied without waiting for what was queued there.
    """
    small, device = scale_torso(motion, model.ray_camera.size / model.camera.size), model.device
    if device.type == "cuda" and not small.expression.is_cuda:
        tensors = {name: getattr(small, name).pin_memory() for name in MOTION_NAMES}
        small = replace(small, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})
    placed = small.to(device)
    return placed, model.scaling(placed)


def sample_room(model: NerfModel) -> ops.Room | None:
    """Room for the samples of a frame on a GPU, so that drawing it waits for nothing.

    None where a frame is drawn in parts, or its samples are counted before they are drawn, as on the CPU.
    """
    settings, rays = model.settings, model.ray_camera.size**2
    waits = native.stream(model.device) is None or not uses_native(settings, model.device)
    if waits or rays > settings.rays_at_once:
        return None
    return ops.Room(rays, model.device, least=rays, spare=SPARE_SAMPLES)


class RayBatch:
    """How many rays are drawn at once: half as many whenever a GPU's memory is full."""

    def __init__(self, size: int) -> None:
        self.size = size

    def halve(self) -> bool:
        """False when there is no use in fewer."""
        self.size //= 2
        torch.cuda.empty_cache()
        return self.size >= LEAST_RAYS


def frame_rays(model: NerfModel, inputs: FrameInputs, *, whole: bool = False) -> Rays:
    """The rays of a frame that may meet the head; or those of the whole picture."""
    rotation, translation = inputs.motion.rotation[0], inputs.motion.translation[0]
    if inputs.view is not None:
        middle = model.state["rest_translation"]
        rotation, translation = inputs.view @ rotation, inputs.view @ (translation - middle) + middle
    return cast_rays(model.ray_camera, rotation, translation, model.box, model.filled, whole=whole)


def frame_field(model: NerfModel, inputs: FrameInputs) -> Field:
    """The head's field in one frame."""
    conditions = model.head.condition(model.values, inputs.features, inputs.appearance)

    def field(positions: Tensor, warp_features: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return model.head(model.values, positions, warp_features, directions, conditions)

    return field


def frame_samples(
    model: NerfModel, rays: Rays, motion: Motion, jitter: Tensor | None = None, room: ops.Room | None = None
) -> FieldSamples:
    """Where the field is evaluated along rays of a frame. jitter: [R] 0..1, room: as for `ops.march`."""

    def to_rest(positions: Tensor) -> tuple[Tensor, Tensor]:
        return positions_at_rest(model, positions, motion)

    occupancy, step = model.state["occupancy"], model.settings.step_cm
    return sample_rays(rays, occupancy, to_rest, march=model.march, step=step, jitter=jitter, room=room)


def positions_at_rest(model: NerfModel, positions: Tensor, motion: Motion) -> tuple[Tensor, Tensor]:
    """Positions [P, 3] of a frame, in units of the box, with the face at rest; and warp features [P, W]."""
    if model.warp is None:
        return positions, positions[:, :0]
    rest, warp_features = model.warp.to_rest(model.box.to_cm(positions), model.warp.tables(motion.expression[0]))
    return model.box.to_unit(rest), warp_features


def draw_rays(rays: Rays, field: Field, motion: Motion, batch: RayBatch, shade: Shade) -> DrawnRays:
    """Draw rays in batches, which become smaller when a GPU's memory is full."""
    while True:
        try:
            starts = range(0, max(1, len(rays)), batch.size)
            parts = [shade(rays.part(start, start + batch.size), field, motion) for start in starts]
        except torch.cuda.OutOfMemoryError:
            if not batch.halve():
                raise
            continue
        return _drawn(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _drawn(color: Tensor, alpha: Tensor) -> DrawnRays:
    return DrawnRays(color[:, :DEPTH], alpha, color[:, DEPTH])


def draw_frame(
    model: NerfModel,
    inputs: FrameInputs,
    batch: RayBatch,
    shade: Shade,
    *,
    opaque: float,
    room: ops.Room | None = None,
) -> tuple[Tensor, Tensor]:
    """One frame: rgb [3, S, S] premultiplied, alpha [1, S, S].

    opaque: coverage of the head from which the torso behind is not evaluated. room: that of the samples of `shade`; all
    pixels are drawn then, so that nothing waits for a GPU.
    """
    size, device, whole = model.ray_camera.size, model.device, room is not None
    rays, field = frame_rays(model, inputs, whole=whole), frame_field(model, inputs)
    drawn = _drawn(*shade(rays, field, inputs.motion)) if whole else draw_rays(rays, field, inputs.motion, batch, shade)
    head = torch.zeros(size * size, 4, device=device)
    head = head.index_copy(0, rays.pixels, torch.cat([drawn.color, drawn.alpha[:, None]], 1))
    picture = _add_torso(model, inputs, head, opaque, whole=whole)
    planes = picture.T.reshape(4, size, size)
    if model.settings.upscale > 1:
        planes = upscale(model.values, planes, model.camera.size)
    return planes[:3], planes[3:]


def _add_torso(model: NerfModel, inputs: FrameInputs, head: Tensor, opaque: float, *, whole: bool) -> Tensor:
    """The torso behind the head's colour and coverage [S * S, 4], both premultiplied; whole: evaluated everywhere."""
    camera, mask = model.ray_camera, model.state["torso_mask"]
    places = rest_places(camera, inputs.motion.torso[0], inputs.view, model.state["rest_translation"])
    columns, rows = (places * len(mask)).long().clamp(0, len(mask) - 1).unbind(1)
    seen = (mask[rows, columns] > 0) & (head[:, 3] < opaque)
    pixels = torch.arange(len(head), device=head.device) if whole else seen.nonzero().squeeze(1)
    near = head_inputs(head.detach(), camera.size)[pixels]
    behind = model.torso(model.values, places[pixels], inputs.features[-POSE_FEATURES:], near)
    share = (1 - head.index_select(0, pixels)[:, 3:]) * behind[:, 3:] * seen[pixels, None]
    return head.index_add(0, pixels, torch.cat([share * behind[:, :3], share], 1))
