"""The NeRF avatar: rays of the head's box through a field that is static apart from what the face does.

Samples are taken into the head's own frame by its pose and, by the MotionSpace's mesh, back to the face at rest; only
cells in which something is seen are walked through. Behind the head lies the torso, a picture field that is told what
the head looks like; the plate behind both is laid by whoever asked for the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from avatar.core.geometry import Camera
from avatar.core.motion_space import Motion, MotionSpace, load_space
from avatar.core.take import Take, Track
from avatar.render.adam import Adam
from avatar.render.base import RendererKind, TrainableKind, random_generator
from avatar.render.features import EYE_FEATURES, POSE_FEATURES, Scaling, fit_scaling, with_common
from avatar.render.nerf.backends import pick_backend, pick_march
from avatar.render.nerf.field import Conditions, HeadField, Values, begin_head, network_shapes
from avatar.render.nerf.generic import MOTION_BRANCH, load_generic
from avatar.render.nerf.lora import PREFIX, begin_lora, low_rank
from avatar.render.nerf.occupancy import UNKNOWN, cell_of, filled_box, first_occupancy, forget, head_box, prune
from avatar.render.nerf.rays import Box, Rays, cast_rays
from avatar.render.nerf.settings import NerfSettings, pack_settings, unpack_settings
from avatar.render.nerf.torso import TorsoField, begin_torso, check_torso, look_about, to_rest, torso_mask
from avatar.render.nerf.upscale import begin_upscale, upscale
from avatar.render.nerf.volume import DEPTH, Samples, shade, shade_until, shares, walk
from avatar.render.nerf.warp import make_warp
from avatar.render.splat_init import reference_frame

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
PRUNE_FROM, PRUNE_EVERY, PRUNE_FRAMES = 80, 40, 6  # steps, steps, frames looked at each time
LEAST_SHARE = 1 / 512  # of what lies behind the head, that is worth drawing
LIGHT_DECAY = 1e-3  # of each frame's own light, a step in which it is seen


@dataclass(frozen=True)
class Drawn:
    """Rays that were followed."""

    color: Tensor  # [R, 3] premultiplied
    alpha: Tensor  # [R]
    depth: Tensor  # [R] cm, times alpha


class NerfRenderer:
    """Draws a person from a radiance field; holds its own optimizer state while training."""

    def __init__(self, tensors: dict[str, Tensor], camera: Camera, settings: NerfSettings | None = None) -> None:
        self.camera = camera
        self.settings = settings or unpack_settings(tensors["settings"])
        self._drawn = camera.scaled(-(-camera.size // self.settings.upscale))
        self.device = torch.device("cpu")
        self._rays_at_once = self.settings.rays_at_once
        self.restore(tensors)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over tensors as `tensors` returns them; the optimizer starts anew."""
        here = {name: tensor.clone().to(self.device) for name, tensor in tensors.items() if name != "settings"}
        self.state = {name: here.pop(name) for name in STATE}
        self.values: Values = {name: tensor.float() for name, tensor in here.items()}
        self.scaling = Scaling(*(self.state[name] for name in ("rest_rotation", "feature_mean", "feature_scale")))
        features, backend = len(self.scaling.mean), pick_backend(self.settings.backend, self.device)
        self._head = HeadField(self.settings, features, backend, self.device)
        self._torso = TorsoField(self.settings, backend, self.device)
        self._march = pick_march(self.settings.marcher, self.device)
        self._box = head_box().to(self.device)
        self._within = filled_box(self.state["occupancy"], self._box)
        self._warp = None
        if self.settings.warp:
            self._warp = make_warp(self.state["neutral"].cpu(), load_space()).to(self.device)
        self._adam, self._random = Adam(), random_generator(0, self.device)
        self._seen = UNKNOWN * self.state["occupancy"].float()
        self._learned_from = -1
        self._motion: Motion | None = None
        self._shown: set[int] = set()  # frames that were learned from

    def to(self, device: torch.device) -> None:
        """Move to a device, where pictures are then drawn; the optimizer starts anew."""
        self.device = device
        self.restore(self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """All state that drawing needs, in float32, and the settings that say how it is read."""
        kept = {name: tensor.detach().clone() for name, tensor in (self.state | self.values).items()}
        return kept | {"settings": pack_settings(self.settings)}

    def render(self, motion: Motion, frames: range, view: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw frames of a motion: rgb [B, 3, S, S] premultiplied 0..1, alpha [B, 1, S, S]; one frame when training."""
        learning = torch.is_grad_enabled()
        if learning:
            self._motion, self._learned_from = motion, frames.start
            self._shown.add(frames.start)
            for name, tensor in self.values.items():
                self.values[name] = tensor.detach().requires_grad_(self._is_learned(name))
        part = motion[slice(frames.start, frames.stop)].to(self.device)
        features = self.scaling(part)
        if learning:
            noise = torch.randn(features.shape, generator=self._random, device=self.device)
            features = features + self.settings.feature_noise * noise
        turned = [None] * len(part) if view is None else list(view.to(self.device))
        pictures = [self._draw_frame(part, index, features[index], turned[index]) for index in range(len(part))]
        rgb, alpha = (torch.stack(planes) for planes in zip(*pictures, strict=True))
        return rgb, alpha

    def _is_learned(self, name: str) -> bool:
        """With low-rank factors the motion branch itself stays as it was."""
        return not (self.settings.lora_rank and name.startswith((*MOTION_BRANCH, "head.ambient")))

    def _draw_frame(self, motion: Motion, index: int, features: Tensor, view: Tensor | None) -> tuple[Tensor, Tensor]:
        size = self._drawn.size
        rays = self.rays(motion, index, view)
        drawn = self._follow(rays, motion.expression[index], features)
        head = torch.zeros(size * size, 4, device=self.device)
        head = head.index_copy(0, rays.pixels, torch.cat([drawn.color, drawn.alpha[:, None]], 1))
        torso = motion.torso[index] * torch.tensor([size / self.camera.size] * 2 + [1, 1], device=self.device)
        places = to_rest(self._drawn, torso, view, float(self.state["rest_translation"][2]))
        pixels = self._torso_pixels(places, head)
        seen = look_about(head.detach(), size)[pixels]
        behind = self._torso(self.values, places[pixels], features[-POSE_FEATURES:], seen)
        share = (1 - head[pixels, 3:]) * behind[:, 3:]
        picture = head.index_add(0, pixels, torch.cat([share * behind[:, :3], share], 1))
        planes = picture.T.reshape(4, size, size)
        if self.settings.upscale > 1:
            planes = upscale(self.values, planes, self.camera.size)
        return planes[:3], planes[3:]

    def rays(self, motion: Motion, index: int, view: Tensor | None = None) -> Rays:
        """The rays of a frame that may meet the head."""
        rotation, translation = motion.rotation[index], motion.translation[index]
        if view is not None:
            middle = self.state["rest_translation"]
            rotation, translation = view @ rotation, view @ (translation - middle) + middle
        return cast_rays(self._drawn, rotation, translation, self._box, self._within)

    @torch.no_grad()
    def depth(self, motion: Motion, frame: int) -> Tensor:
        """Distance [S, S] of the head from the camera plane in cm; 0 where less than half of a ray meets it.

        S is half the picture's side where a network enlarges it.
        """
        part = motion[frame : frame + 1].to(self.device)
        rays = self.rays(part, 0)
        drawn = self._follow(rays, part.expression[0], self.scaling(part)[0])
        picture = torch.zeros(self._drawn.size**2, device=self.device)
        seen = torch.where(drawn.alpha > 0.5, drawn.depth / drawn.alpha.clamp_min(1e-3), 0)
        return picture.index_copy(0, rays.pixels, seen).view(self._drawn.size, -1)

    @torch.no_grad()
    def sample(self, points: Tensor, motion: Motion, frame: int) -> tuple[Tensor, Tensor]:
        """Density [P] a cm and colour [P, 3] at head-frame points [P, 3] cm in a frame, seen from the front."""
        part = motion[frame : frame + 1].to(self.device)
        unit = self._box.to_unit(points.to(self.device))
        occupancy = self.state["occupancy"]
        filled = (occupancy.view(-1)[cell_of(unit, len(occupancy))] > 0) & ((unit >= 0) & (unit < 1)).all(1)
        conditions = self._head.condition(self.values, self.scaling(part)[0], self._light())
        positions, hints = self._to_rest(unit[filled], part.expression[0])
        ahead = torch.tensor([0.0, 0, 1], device=self.device).expand(len(positions), 3)
        density, color = torch.zeros(len(unit), device=self.device), torch.zeros(len(unit), 3, device=self.device)
        density[filled], color[filled] = self._head(self.values, positions, hints, ahead, conditions)
        return density, color

    def at_rest(self) -> Motion:
        """One frame of the person at rest, with the mean of all expressions."""
        mean, modes = self.scaling.mean, len(self.scaling.mean) - POSE_FEATURES - EYE_FEATURES
        eyes = mean[modes : modes + EYE_FEATURES]
        pose = self.state["rest_rotation"][None], self.state["rest_translation"][None]
        return Motion(mean[None, :modes], eyes[None], *pose, torch.zeros(1, 4, device=self.device), 25.0)

    @property
    def box(self) -> Box:
        """All that is filled of the head lies within it."""
        return self._within

    def _torso_pixels(self, places: Tensor, head: Tensor) -> Tensor:
        """Indices of the pixels in which the torso may be seen."""
        mask = self.state["torso_mask"]
        columns, rows = (places * len(mask)).long().clamp(0, len(mask) - 1).unbind(1)
        wanted = mask[rows, columns] > 0
        if not torch.is_grad_enabled():
            wanted &= head[:, 3] < 1 - LEAST_SHARE
        return wanted.nonzero().squeeze(1)

    def _follow(self, rays: Rays, expression: Tensor, features: Tensor) -> Drawn:
        """Follow rays in parts; the parts become smaller when a GPU's memory is full."""
        light = self._light()
        conditions = self._head.condition(self.values, features, light)
        while True:
            at_once = self._rays_at_once
            try:
                starts = range(0, max(1, len(rays)), at_once)
                parts = [self._follow_part(rays.part(at, at + at_once), expression, conditions) for at in starts]
            except torch.cuda.OutOfMemoryError:
                if not self.reduce_memory():
                    raise
                continue
            color, alpha = (torch.cat(values) for values in zip(*parts, strict=True))
            return Drawn(color[:, :DEPTH], alpha, color[:, DEPTH])

    def reduce_memory(self) -> bool:
        """Draw in smaller parts from now on; False when they cannot be smaller."""
        self._rays_at_once //= 2
        torch.cuda.empty_cache()
        return self._rays_at_once >= 256

    def _follow_part(self, rays: Rays, expression: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """Colour and depth [R, 4] premultiplied, coverage [R]."""
        learning = torch.is_grad_enabled()
        path, step = self._walk(rays, expression, jittered=learning), self.settings.step_cm

        field = partial(self._head, self.values, conditions=conditions)
        if not learning:
            return shade_until(path, field, step, self.settings.stop)
        if len(rays) < self._rays_at_once:
            return shade(path, field, step)
        return checkpoint(shade, path, field, step, use_reentrant=False)  # one of several: only its ends are kept

    def _walk(self, rays: Rays, expression: Tensor, *, jittered: bool = False) -> Samples:
        def undo(positions: Tensor) -> tuple[Tensor, Tensor]:
            return self._to_rest(positions, expression)

        jitter = torch.rand(len(rays), generator=self._random, device=self.device) if jittered else None
        return walk(rays, self.state["occupancy"], undo, march=self._march, step=self.settings.step_cm, jitter=jitter)

    def _to_rest(self, positions: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [P, 3] of the face at rest, and hints [P, H] how they were found."""
        if self._warp is None:
            return positions, positions[:, :0]
        rest, hints = self._warp.undo(self._box.to_cm(positions), self._warp.tables(expression))
        return self._box.to_unit(rest), hints

    def _light(self) -> Tensor:
        """The light of the frame that is learned from, or the usual one."""
        light = self.values["light"]
        if torch.is_grad_enabled() and 0 <= self._learned_from < len(light):
            return light[self._learned_from]
        return light.mean(0)

    def update(self, progress: float) -> None:
        """One Adam step from the gradients of the last `render`; now and then cells nobody sees are given up."""
        self._adam.advance()
        decay = self.settings.last_rate**progress
        one = torch.ones(1, device=self.device)
        for name, tensor in self.values.items():
            if tensor.grad is None:
                continue
            rate = self.settings.table_rate if name.endswith("tables") else self.settings.network_rate
            values = tensor.detach()
            self._adam.update(name, values.view(1, -1), tensor.grad.reshape(-1), one, rate * decay)
            self.values[name] = values
        if len(self.values["light"]):
            self.values["light"][self._learned_from] *= 1 - LIGHT_DECAY
        steps = self._adam.steps
        if steps >= PRUNE_FROM and steps % PRUNE_EVERY == 0:
            self._look_again()

    def moments(self) -> dict[str, Tensor]:
        """The optimizer's running moments, by name."""
        return self._adam.moments

    def adopt(self, values: Values, moments: dict[str, Tensor]) -> None:
        """Take over some parameters of another renderer, and what its optimizer knows of them."""
        self.values |= {name: tensor.detach() for name, tensor in values.items()}
        self._adam.moments |= {name: moment for name, moment in moments.items() if name.rpartition(".")[0] in values}

    @torch.no_grad()
    def _look_again(self) -> None:
        """Find what is seen in some frames, and keep only that and what is next to it."""
        assert self._motion is not None
        shown = torch.tensor(sorted(self._shown))
        chosen = torch.randint(len(shown), (PRUNE_FRAMES,), generator=self._random, device=self.device)
        motion = self._motion[shown[chosen.cpu()]].to(self.device)
        seen, features, side = forget(self._seen).view(-1), self.scaling(motion), len(self._seen)
        for index in range(len(motion)):
            path = self._walk(self.rays(motion, index), motion.expression[index])
            conditions = self._head.condition(self.values, features[index], self._light())
            field = partial(self._head, self.values, conditions=conditions)
            seen.scatter_reduce_(0, cell_of(path.cells, side), shares(path, field, self.settings.step_cm), "amax")
        self._seen = seen.view(self._seen.shape)
        self.state["occupancy"] = prune(self._seen, self.state["hull"])
        self._within = filled_box(self.state["occupancy"], self._box)


def begin(take: Take, track: Track, space: MotionSpace, settings: NerfSettings, seed: int) -> NerfRenderer:
    """A fresh renderer for a take: an empty field where the person's head is, and a torso where the person is."""
    del space  # the packaged one, as in `load`
    generic = load_generic(Path(settings.generic)) if settings.generic else None
    settings = generic.shape(settings) if generic else settings
    frames, motion, random = take.training_frames(), track.motion(), random_generator(seed)
    reference = reference_frame(track, frames)
    scaling = fit_scaling(motion[torch.tensor(frames)], motion.rotation[reference])
    if generic:
        scaling = with_common(scaling, generic.feature_mean, generic.feature_scale)
    occupancy = first_occupancy(take, track, head_box(), settings.occupancy)
    tensors = {
        "occupancy": occupancy,
        "hull": occupancy.clone(),
        "torso_mask": torso_mask(take, track),
        "rest_rotation": scaling.rest_rotation,
        "rest_translation": motion.translation[reference],
        "feature_mean": scaling.mean,
        "feature_scale": scaling.scale,
        "neutral": track.neutral,
        "light": torch.zeros(len(track), settings.appearance),
    }
    tensors |= begin_head(settings, len(scaling.mean), random) | begin_torso(settings, random)
    if settings.upscale > 1:
        tensors |= begin_upscale(random)
    if generic:
        tensors |= generic.values
    if settings.lora_rank:
        shapes = network_shapes(settings, len(scaling.mean))
        branch = [name for name in MOTION_BRANCH if name in shapes]
        tensors |= {PREFIX + name: begin_lora(shapes[name], settings.lora_rank, random) for name in branch}
    return NerfRenderer(tensors, take.camera, settings)


def load(tensors: dict[str, Tensor], camera: Camera) -> NerfRenderer:
    """A renderer from the tensors of an avatar file, drawn at the camera's size. Raises: UserError."""
    check_torso(tensors, unpack_settings(tensors["settings"]))
    return NerfRenderer(tensors, camera)


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as shipped: one light for all frames; half precision; low-rank changes made."""
    settings = unpack_settings(tensors["settings"])
    if settings.lora_rank:
        tensors = _merge(tensors, settings)
    small = {
        name: tensor.half() for name, tensor in tensors.items() if name.startswith(("head.", "torso.", "upscale."))
    }
    return tensors | small | {"light": tensors["light"].mean(0, keepdim=True)}


def _merge(tensors: dict[str, Tensor], settings: NerfSettings) -> dict[str, Tensor]:
    """The same field without low-rank factors."""
    shapes, merged = network_shapes(settings, len(tensors["feature_mean"])), dict(tensors)
    for name in [name for name in tensors if name.startswith(PREFIX)]:
        whole = name.removeprefix(PREFIX)
        merged[whole] = merged[whole] + low_rank(merged.pop(name), shapes[whole], settings.lora_rank)
    return merged | {"settings": pack_settings(settings.model_copy(update={"lora_rank": 0}))}


KIND = RendererKind(NerfSettings, load)
TRAINABLE = TrainableKind(NerfSettings, begin, pack)
