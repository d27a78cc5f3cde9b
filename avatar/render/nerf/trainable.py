"""Training of the NeRF avatar: drawing with gradients, Adam steps, and an occupancy grid that follows."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from avatar.core.files import UserError
from avatar.core.geometry import Camera
from avatar.core.motion_space import Motion, MotionSpace
from avatar.core.take import Take, Track
from avatar.render.adam import Adam, bias_correction
from avatar.render.base import StepInputs, TrainableKind, random_generator
from avatar.render.features import Scaling, fit_scaling, with_common
from avatar.render.nerf.backends import check_backends
from avatar.render.nerf.field import Values, head_shapes
from avatar.render.nerf.generic import MOTION_BRANCH, load_generic
from avatar.render.nerf.initial import initial_head, initial_lora, initial_torso, initial_upscale
from avatar.render.nerf.lora import PREFIX, low_rank
from avatar.render.nerf.model import (
    FrameInputs,
    RayBatch,
    draw_frame,
    frame_field,
    frame_rays,
    frame_samples,
    open_model,
    place_motion,
    sample_room,
)
from avatar.render.nerf.occupancy import FIRST_WEIGHT, WEIGHT_DECAY, cell_of, head_box, prune
from avatar.render.nerf.rays import Rays
from avatar.render.nerf.renderer import NerfRenderer
from avatar.render.nerf.settings import NerfSettings, pack_settings, unpack_settings
from avatar.render.nerf.visual_hull import torso_mask, visual_hull
from avatar.render.nerf.volume import Field, composite, sample_weights
from avatar.render.reference_frame import reference_frame
from cuda_ext import ops

PRUNE_FROM, PRUNE_EVERY, PRUNE_FRAMES = 80, 40, 6  # steps until densities mean something; steps; frames evaluated
APPEARANCE_DECAY = 1e-3  # of a frame's appearance embedding, at each step that draws it: the mean is drawn in the end


class TrainableNerf:
    """A radiance field in training."""

    def __init__(self, tensors: dict[str, Tensor], camera: Camera, settings: NerfSettings | None = None) -> None:
        """settings: default: those in the tensors."""
        self.camera = camera
        self.settings = settings or unpack_settings(tensors["settings"])
        self.device = torch.device("cpu")
        self._batch = RayBatch(self.settings.rays_at_once)
        self._motion: Motion | None = None
        self.restore(tensors)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over tensors as `tensors` returns them; the optimizer starts anew."""
        self._model = open_model(tensors, self.camera, self.settings, self.device)
        self._adam, self._random = Adam(), random_generator(0, self.device)
        self._one = torch.ones(1, device=self.device)
        self._weights = FIRST_WEIGHT * self._model.state["occupancy"].float()  # [G, G, G] the largest in a ray, lately
        self._recent = torch.zeros(PRUNE_FRAMES, dtype=torch.int64, device=self.device)  # frames that were drawn
        self._room = sample_room(self._model)
        self._clip = place_motion(self._model, self._motion) if self._motion else None

    def to(self, device: torch.device) -> None:
        """Train on another device; the optimizer starts anew. Raises: UserError, as `check_backends`."""
        check_backends(self.settings, device)
        self.device = device
        self.restore(self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all tensors, in float32, and the settings that say how they are read."""
        kept = {name: tensor.detach().clone() for name, tensor in (self._model.state | self._model.values).items()}
        return kept | {"settings": pack_settings(self.settings)}

    def renderer(self) -> NerfRenderer:
        """The renderer of the parameters as they are now, packed as for the avatar file."""
        renderer = NerfRenderer(pack(self.tensors()), self.camera)
        renderer.to(self.device)
        return renderer

    @property
    def values(self) -> Values:
        """The parameters by name."""
        return self._model.values

    @property
    def scaling(self) -> Scaling:
        """What brings features to zero mean and unit variance."""
        return self._model.scaling

    @property
    def occupancy(self) -> Tensor:
        """Cells [G, G, G] uint8 by z, y, x of the head's box in which something is seen."""
        return self._model.state["occupancy"]

    def moments(self) -> dict[str, Tensor]:
        """The optimizer's running moments, by name."""
        return self._adam.moments

    def adopt(self, values: Values, moments: dict[str, Tensor]) -> None:
        """Take over some parameters of another trainable, and the moments that its optimizer has of them."""
        self._model.values |= {name: tensor.detach() for name, tensor in values.items()}
        self._adam.moments |= {name: moment for name, moment in moments.items() if name.rpartition(".")[0] in values}

    @property
    def features(self) -> int:
        """How many features a frame has."""
        return len(self._model.scaling.mean)

    @property
    def rooms(self) -> tuple[ops.Room, ...] | None:
        """That of a frame's samples; None where they are counted first, or a frame is drawn in parts."""
        return (self._room,) if self._room else None

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """That of the samples' jitter."""
        return (self._random,)

    def prepare(self, motion: Motion) -> None:
        """Take in the motion of all frames of the clip."""
        self._motion = motion
        self._clip = place_motion(self._model, motion)

    def draw(self, step: StepInputs) -> tuple[Tensor, Tensor]:
        """Draw a step's frame with its appearance, features with noise, samples jittered.

        Returns: rgb [1, 3, S, S] premultiplied, alpha [1, 1, S, S]. Raises: UserError when they do not fit a GPU.
        """
        if self._clip is None:
            raise RuntimeError("draw() needs the motion that prepare() takes in")
        (motion, features), frame, model = self._clip, step.frame, self._model
        self._recent.copy_(torch.cat([self._recent[1:], frame]))
        for name, tensor in model.values.items():
            model.values[name] = tensor.detach().requires_grad_(self._is_trained(name))
        (features,) = features[frame] + self.settings.feature_noise * step.noise
        (appearance,) = model.values["light"].index_select(0, frame)
        inputs = FrameInputs(motion[frame], features, appearance, None)
        try:
            rgb, alpha = draw_frame(model, inputs, self._batch, self._shade, opaque=math.inf, room=self._room)
        except torch.cuda.OutOfMemoryError as error:
            if self._room is None:
                raise
            raise UserError(
                f"the GPU's memory is full; set rays_at_once in the recipe below {model.ray_camera.size**2}, so that "
                "pictures are drawn in parts"
            ) from error
        return rgb[None].contiguous(), alpha[None].contiguous()

    def _is_trained(self, name: str) -> bool:
        """With low-rank factors the motion branch itself stays as it was."""
        return not (self.settings.lora_rank and name.startswith((*MOTION_BRANCH, "head.ambient")))

    def _shade(self, rays: Rays, field: Field, motion: Motion) -> tuple[Tensor, Tensor]:
        jitter = torch.rand(len(rays), generator=self._random, device=self.device)
        samples, step = frame_samples(self._model, rays, motion, jitter, self._room), self.settings.step_cm
        if self._room or len(rays) < self._batch.size:
            return composite(samples, field, step)
        return checkpoint(composite, samples, field, step, use_reentrant=False)  # one of several: only its ends stay

    def reduce_memory(self) -> bool:
        """Draw fewer rays at once from now on; False when they cannot be fewer."""
        return self._batch.halve()

    def advance(self) -> int:
        """Begin an optimizer step."""
        return self._adam.advance()

    def rate(self, number: int, progress: float) -> float:
        """What the rates of a step are multiplied with."""
        return bias_correction(number) * self.settings.last_rate**progress

    def update(self, step: StepInputs) -> None:
        """One Adam step from the gradients of the last `draw`."""
        values = self._model.values
        for name, tensor in values.items():
            if tensor.grad is None:
                continue
            rate = self.settings.table_rate if name.endswith("tables") else self.settings.network_rate
            plain = tensor.detach()
            self._adam.update(name, plain.view(1, -1), tensor.grad.reshape(-1), self._one, rate, step.rate)
            values[name] = plain
        values["light"][step.frame] *= 1 - APPEARANCE_DECAY

    def maintain(self, number: int, progress: float) -> None:
        """Now and then the occupancy follows."""
        del progress
        if number >= PRUNE_FROM and number % PRUNE_EVERY == 0:
            self._update_occupancy()

    @torch.no_grad()
    def _update_occupancy(self) -> None:
        """Find what is seen in the frames drawn last, and keep only that and what is next to it."""
        if self._clip is None:
            raise RuntimeError("maintain() needs the motion that prepare() takes in")
        model, (motion, features) = self._model, self._clip
        weights, side = self._weights.mul_(WEIGHT_DECAY).view(-1), len(self._weights)
        appearance = model.values["light"].mean(0)
        for frame in self._recent.split(1):
            inputs = FrameInputs(motion[frame], features[frame][0], appearance, None)
            rays = frame_rays(model, inputs, whole=self._room is not None)
            samples = frame_samples(model, rays, inputs.motion, room=self._room)
            seen = sample_weights(samples, frame_field(model, inputs), self.settings.step_cm)
            weights.scatter_reduce_(0, cell_of(samples.posed, side), seen, "amax")
        model.refill(prune(self._weights, model.state["hull"]))
        if self._room:
            self._room.forget()


def begin(take: Take, track: Track, space: MotionSpace, settings: NerfSettings, seed: int) -> TrainableNerf:
    """A fresh field for a take: empty where the person's head is not, and a torso where the person is.

    Raises: UserError when the generic field that the settings name cannot be read.
    """
    del space  # the packaged one, as in `open_model`
    generic = load_generic(Path(settings.generic)) if settings.generic else None
    settings = generic.shape(settings) if generic else settings
    frames, motion, random = take.training_frames(), track.motion(), random_generator(seed)
    reference = reference_frame(track, frames)
    scaling = fit_scaling(motion[torch.tensor(frames)], motion.rotation[reference])
    if generic:
        scaling = with_common(scaling, generic.feature_mean, generic.feature_scale)
    hull = visual_hull(take, track, head_box(), settings.occupancy)
    tensors = {
        "occupancy": hull.clone(),
        "hull": hull,
        "torso_mask": torso_mask(take, track),
        "rest_rotation": scaling.rest_rotation,
        "rest_translation": motion.translation[reference],
        "feature_mean": scaling.mean,
        "feature_scale": scaling.scale,
        "neutral": track.neutral,
        "light": torch.zeros(len(track), settings.appearance),
    }
    tensors |= initial_head(settings, len(scaling.mean), random) | initial_torso(settings, random)
    if settings.upscale > 1:
        tensors |= initial_upscale(random)
    if generic:
        tensors |= generic.values
    if settings.lora_rank:
        shapes = head_shapes(settings, len(scaling.mean))
        branch = [name for name in MOTION_BRANCH if name in shapes]
        tensors |= {PREFIX + name: initial_lora(shapes[name], settings.lora_rank, random) for name in branch}
    return TrainableNerf(tensors, take.camera, settings)


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the avatar file: one appearance for all frames; half precision; low-rank changes applied."""
    settings = unpack_settings(tensors["settings"])
    if settings.lora_rank:
        tensors = _merge(tensors, settings)
    small = {
        name: tensor.half() for name, tensor in tensors.items() if name.startswith(("head.", "torso.", "upscale."))
    }
    return tensors | small | {"light": tensors["light"].mean(0, keepdim=True)}


def _merge(tensors: dict[str, Tensor], settings: NerfSettings) -> dict[str, Tensor]:
    """The same field without low-rank factors."""
    shapes, merged = head_shapes(settings, len(tensors["feature_mean"])), dict(tensors)
    for name in [name for name in tensors if name.startswith(PREFIX)]:
        whole = name.removeprefix(PREFIX)
        merged[whole] = merged[whole] + low_rank(merged.pop(name), shapes[whole], settings.lora_rank)
    return merged | {"settings": pack_settings(settings.model_copy(update={"lora_rank": 0}))}


TRAINABLE = TrainableKind(NerfSettings, begin, pack, check_backends)
