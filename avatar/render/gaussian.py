"""Splat blendshapes: every Gaussian has base attributes and linear deltas over a short feature vector.

For one frame: attributes = base + coefficients @ deltas, then each splat is placed between the head's pose and the
torso's by its rigidity. Source of the splatting itself: Kerbl et al. 2023, 3D Gaussian Splatting.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from avatar.core.geometry import Camera, to_vector
from avatar.core.motion_space import Motion, MotionSpace
from avatar.core.recipe import Settings
from avatar.core.take import Take, Track
from avatar.render.adam import Adam
from avatar.render.base import RendererKind, TrainableKind, random_generator
from avatar.render.densify import relocate
from avatar.render.features import EYE_FEATURES, POSE_FEATURES, fit_scaling, raw_features
from avatar.render.rasterizers import check_rasterizer, rasterize
from avatar.render.splat_init import lift_splats
from cuda_ext import ops

LID_MODES = 2  # of the MotionSpace, its first
IRISES = (468, 473)
FORGET_EVERY, FORGOTTEN = 50, 0.03  # steps; share
EYE_CM, EYE_FADE_CM = 1.8, 1.0  # what lids and gaze may move: all so near to an iris, then less and less
MESH = slice(0, 468, 6)  # points of the face that tell how near to it a splat is
FACE_CM, FACE_FADE_CM = 2.0, 2.0  # what expressions may move; hair has none


class GaussianSettings(Settings):
    """Hyper-parameters of the Gaussian renderer."""

    kind: str = "gaussian"
    rasterizer: Literal["native", "gsplat"] = "native"
    splats: int = Field(18000, ge=500, le=200000)
    means_rate: float = Field(0.008, gt=0)  # cm a step
    scales_rate: float = Field(0.006, gt=0)
    opacity_rate: float = Field(0.03, gt=0)
    colors_rate: float = Field(0.004, gt=0)
    quaternions_rate: float = Field(0.004, gt=0)
    rigidity_rate: float = Field(0.002, gt=0)
    delta_rate: float = Field(0.1, gt=0)  # of the rates above
    feature_noise: float = Field(0.15, ge=0)  # added to the features in training, so that no frame is learned by heart
    last_rate: float = Field(0.05, gt=0, le=1)  # what the rates fall to by the end of the budget
    relocate_until: float = Field(0.6, ge=0, le=1)  # share of the budget in which dead splats move
    relocate_every: int = Field(400, ge=10)  # steps


class GaussianRenderer:
    """Draws a person from splat blendshapes; holds its own optimizer state while training."""

    def __init__(self, tensors: dict[str, Tensor], camera: Camera, settings: GaussianSettings | None = None) -> None:
        self.camera = camera
        self.settings = settings or GaussianSettings()
        self.device = torch.device("cpu")
        self.restore(tensors)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over tensors as `tensors` returns them; the optimizer starts anew."""
        values = {name: tensor.clone().to(self.device) for name, tensor in tensors.items()}
        self.base = values["base"].float()  # [10 N] planar: means, log_scales, opacity_logits, colors
        self.quaternions = values["quaternions"].float()  # [N, 4]
        self.rigidity = values["rigidity"].float()  # [N]
        self.rest_rotation = values["rest_rotation"]
        self.rest_translation = values["rest_translation"]
        self.feature_mean = values["feature_mean"]  # [D]
        self.feature_scale = values["feature_scale"]  # [D]
        self.irises = values["irises"].float()  # [2, 3] cm, head frame
        self.mesh = values["mesh"].float()  # [M, 3] cm, head frame
        self.basis = values.get(
            "basis", torch.zeros(0, 3 * self.count)
        )  # [K, 3 N] how the MotionSpace moves the splats
        self._noise = random_generator(0, self.device)
        self._shipped: ops.SplatBlendshapes | None = None
        if "delta_codes" in values:
            self._shipped = self._shapes(values["delta_codes"], values["delta_scales"].float())
            self.deltas = ops.dequantize(self._shipped.codes, self._shipped.scales)
        else:
            self.deltas = values["deltas"]
        self._adam = Adam()
        self._leaves: dict[str, Tensor] = {}
        self._coefficients = torch.zeros(0)
        self._base_rates = self._rates()
        self._near_parts: tuple[Tensor, Tensor] | None = None  # found when they are trained with

    def _shapes(self, codes: Tensor, scales: Tensor) -> ops.SplatBlendshapes:
        splats = (self.quaternions, self.rigidity, self.rest_rotation, self.rest_translation)
        return ops.SplatBlendshapes(self.base, codes, scales, *splats, self.camera.focal, self.camera.size)

    def shipped(self) -> ops.SplatBlendshapes:
        """The blendshapes as an avatar file holds them."""
        if self._shipped is None:
            return self._shapes(*ops.quantize(self.deltas))
        return self._shipped

    def to(self, device: torch.device) -> None:
        """Move to a device, where pictures are then drawn; the optimizer starts anew."""
        check_rasterizer(self.settings.rasterizer, device)
        packed = {}
        if self._shipped is not None:
            packed = {"delta_codes": self._shipped.codes, "delta_scales": self._shipped.scales}
        self.device = device
        self.restore(self.tensors() | packed)

    @property
    def count(self) -> int:
        return self.quaternions.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """All state that drawing needs, in float32."""
        poses = ("rest_rotation", "rest_translation", "feature_mean", "feature_scale")
        names = ("base", "deltas", "basis", "quaternions", "rigidity", "irises", "mesh", *poses)
        return {name: getattr(self, name).clone() for name in names}

    def features(self, motion: Motion) -> Tensor:
        """Coefficients [T, D] of the deltas, about unit variance over the training clip."""
        return (raw_features(motion, self.rest_rotation) - self.feature_mean) / self.feature_scale

    def pose(self, motion: Motion) -> ops.Pose:
        """What moves the splats for a motion's frames, on the renderer's device."""
        motion = motion.to(self.device)
        return ops.Pose(self.features(motion), motion.rotation, motion.translation, motion.torso)

    def render(self, motion: Motion, frames: range, view: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw frames of a motion: rgb [B, 3, S, S] premultiplied 0..1, alpha [B, 1, S, S]; one frame when training."""
        pose = self.pose(motion[slice(frames.start, frames.stop)])
        if torch.is_grad_enabled():
            return self._draw_to_learn(pose)
        splats = ops.place_splats(self._shipped, pose) if self._shipped is not None else self._posed(pose)
        if view is not None:
            splats = _turn_view(splats, view.to(self.device), self.rest_translation)
        return rasterize(self.settings.rasterizer, *splats, camera=self.camera)

    def splats(self, motion: Motion | None = None) -> tuple[Tensor, ...]:
        """Means [N, 3] cm, quaternions, log-scales, opacity logits and colours of one frame, in the camera frame.

        motion: of one frame; without it the person at rest, with the mean of all expressions.
        """
        if motion is None:
            upright = self.rest_rotation[None], self.rest_translation[None]
            pose = ops.Pose(torch.zeros(1, self.deltas.shape[0]), *upright, torch.zeros(1, 4))
        else:
            pose = self.pose(motion)
        return tuple(part[0] for part in self._posed(pose))

    def _posed(self, pose: ops.Pose) -> tuple[Tensor, ...]:
        attributes = ops.deform(self.base, self.deltas, pose.coefficients)
        return self._place(attributes, self.quaternions, self.rigidity, pose)

    def _draw_to_learn(self, pose: ops.Pose) -> tuple[Tensor, Tensor]:
        noise = torch.randn(pose.coefficients.shape, generator=self._noise, device=self.device)
        coefficients = pose.coefficients + self.settings.feature_noise * noise
        # Gradients stop at the attributes; the deltas' own are never formed (see update).
        attributes = ops.deform(self.base, self.deltas, coefficients).detach().requires_grad_()
        quaternions = self.quaternions.detach().requires_grad_()
        rigidity = self.rigidity.detach().requires_grad_()
        self._leaves = {"attributes": attributes, "quaternions": quaternions, "rigidity": rigidity}
        (self._coefficients,) = coefficients
        splats = self._place(attributes, quaternions, rigidity, pose)
        return rasterize(self.settings.rasterizer, *splats, camera=self.camera)

    def _place(self, attributes: Tensor, quaternions: Tensor, rigidity: Tensor, pose: ops.Pose) -> tuple[Tensor, ...]:
        parts = ops.split_attributes(attributes)
        head = (quaternions, rigidity, pose.rotation, pose.translation)
        rest = (self.rest_rotation, self.rest_translation)
        focal, size = self.camera.focal, self.camera.size
        means, turned = ops.place(parts["means"], *head, *rest, pose.torso, focal=focal, size=size)
        return means, turned, parts["log_scales"], parts["opacity_logits"], parts["colors"]

    def update(self, progress: float) -> None:
        """One Adam step from the gradients of the last `render`."""
        self._adam.advance()
        decay = self.settings.last_rate**progress
        (gradient,) = _gradient(self._leaves["attributes"])
        rates, one = self._base_rates * decay, torch.ones(1, device=self.device)
        self._adam.update("base", self.base[None], gradient, one, rates)
        # the torso does not follow the lips: expression and eyes move splats as far as they belong to the head
        turn = self.deltas.shape[0] - POSE_FEATURES
        eyes = turn - EYE_FEATURES
        rates = rates * self.settings.delta_rate
        head = rates * _for_each_value(self.rigidity)
        self._near_parts = self._near_parts or self._find_near_parts()
        near_eyes, near_face = self._near_parts
        lids = head * near_eyes
        groups = {
            "lids": (slice(0, LID_MODES), lids),
            "face": (slice(LID_MODES, eyes), head * near_face),
            "eyes": (slice(eyes, turn), lids),
            "pose": (slice(turn, None), rates),
        }
        for name, (rows, rate) in groups.items():
            self._adam.update(name, self.deltas[rows], gradient, self._coefficients[rows], rate)
        for name, rate in (("quaternions", self.settings.quaternions_rate), ("rigidity", self.settings.rigidity_rate)):
            values = getattr(self, name)
            leaf_gradient = _gradient(self._leaves[name]).reshape(-1)
            self._adam.update(name, values.view(1, -1), leaf_gradient, one, rate * decay)
        self.rigidity.clamp_(0, 1)
        if self._adam.steps % FORGET_EVERY == 0:
            self._forget_a_little()
        if progress < self.settings.relocate_until and self._adam.steps % self.settings.relocate_every == 0:
            relocate(self)
            self._near_parts = None

    def _forget_a_little(self) -> None:
        """Shrink what is learned frame by frame: what is true is learned again.

        How the face's splats move is drawn to how the MotionSpace moves them, so that a mouth that opens wider than it
        was ever seen does not fall apart.
        """
        turn, places = self.deltas.shape[0] - POSE_FEATURES, 3 * self.count
        self.deltas[turn:] *= 1 - FORGOTTEN
        self.deltas[:turn, places:] *= 1 - FORGOTTEN
        self.deltas[LID_MODES : len(self.basis), :places].lerp_(self.basis[LID_MODES:], FORGOTTEN)

    def _find_near_parts(self) -> tuple[Tensor, Tensor]:
        """1 for values of splats about the eyes, about the face, 0 far from them, each [10 N].

        Few blinks must not teach hair to blink, nor few frames to follow the lips.
        """
        means = ops.split_attributes(self.base)["means"]
        eyes, face = (torch.cdist(means, points).min(1).values for points in (self.irises, self.mesh))
        near_eyes = ((EYE_CM + EYE_FADE_CM - eyes) / EYE_FADE_CM).clamp(0, 1)
        near_face = ((FACE_CM + FACE_FADE_CM - face) / FACE_FADE_CM).clamp(0, 1)
        return _for_each_value(near_eyes), _for_each_value(near_face)

    def _rates(self) -> Tensor:
        settings = self.settings
        rates = (settings.means_rate, settings.scales_rate, settings.opacity_rate, settings.colors_rate)
        widths = torch.tensor(list(ops.ATTRIBUTES.values())) * self.count
        return torch.tensor(rates).repeat_interleave(widths).to(self.device)

    def reduce_memory(self) -> bool:
        """Splats are drawn at once or not at all."""
        return False

    def columns(self, values: Tensor) -> dict[str, Tensor]:
        """Views of a planar vector [10 N] by attribute."""
        return ops.split_attributes(values)

    def moments(self) -> dict[str, Tensor]:
        """The optimizer's running moments, by name."""
        return self._adam.moments


def _for_each_value(values: Tensor) -> Tensor:
    """Values [N] of splats, repeated for all their attributes, planar [10 N]."""
    return torch.cat([values.repeat_interleave(width) for width in ops.ATTRIBUTES.values()])


def _turn_view(splats: tuple[Tensor, ...], view: Tensor, center: Tensor) -> tuple[Tensor, ...]:
    """Placed splats, turned by view [B, 3, 3] about a point [3] of the camera frame."""
    means, quaternions, *looks = splats
    half = to_vector(view) / 2
    angle = half.norm(dim=1, keepdim=True).clamp_min(1e-9)
    turn = torch.cat([angle.cos(), half * (angle.sin() / angle)], 1)[:, None]  # [B, 1, 4]
    real, imaginary = quaternions[..., :1], quaternions[..., 1:]
    first, axis = turn[..., :1], turn[..., 1:].expand_as(imaginary)
    product = [
        first * real - (axis * imaginary).sum(-1, keepdim=True),
        first * imaginary + real * axis + torch.linalg.cross(axis, imaginary),
    ]
    return (means - center) @ view.mT + center, torch.cat(product, -1), *looks


def _gradient(leaf: Tensor) -> Tensor:
    if leaf.grad is None:
        raise RuntimeError("update() needs a backward pass through the last render()")
    return leaf.grad


def begin(take: Take, track: Track, space: MotionSpace, settings: GaussianSettings, seed: int) -> GaussianRenderer:
    """A fresh renderer for a take: splats lifted from its frames, moved by the MotionSpace basis near the face."""
    splats, reference = lift_splats(take, track, space, count=settings.splats, generator=random_generator(seed))
    motion = track.motion()
    rest_rotation, rest_translation = motion.rotation[reference], motion.translation[reference]
    frames = torch.tensor(take.training_frames())
    scaling = fit_scaling(motion[frames], rest_rotation)
    mean, scale, count = scaling.mean, scaling.scale, settings.splats
    deltas = torch.zeros(len(mean), ops.WIDTH * count)
    deltas[: space.modes, : 3 * count] = (splats.basis * scale[: space.modes, None, None]).reshape(space.modes, -1)
    means = splats.means + torch.einsum("k,knc->nc", mean[: space.modes], splats.basis)
    opacity = torch.full((count,), 1.0)
    base = torch.cat([means.reshape(-1), splats.log_scales.reshape(-1), opacity, splats.colors.reshape(-1)])
    tensors = {
        "base": base,
        "deltas": deltas,
        "quaternions": torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        "rigidity": splats.rigidity,
        "rest_rotation": rest_rotation,
        "rest_translation": rest_translation,
        "feature_mean": mean,
        "feature_scale": scale,
        "basis": deltas[: space.modes, : 3 * count].clone(),
        "irises": track.neutral[list(IRISES)],
        "mesh": track.neutral[MESH],
    }
    return GaussianRenderer(tensors, take.camera, settings)


def load(tensors: dict[str, Tensor], camera: Camera) -> GaussianRenderer:
    """A renderer from the tensors of an avatar file, drawn at the camera's size."""
    return GaussianRenderer(tensors, camera)


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as shipped: deltas in int8 with block scales; half precision where it cannot be seen."""
    codes, scales = ops.quantize(tensors["deltas"])
    small = {name: tensors[name].half() for name in ("quaternions", "rigidity")} | {"delta_scales": scales.half()}
    kept = {name: tensor for name, tensor in tensors.items() if name not in ("deltas", "basis")}
    return kept | small | {"delta_codes": codes}


KIND = RendererKind(GaussianSettings, load)
TRAINABLE = TrainableKind(GaussianSettings, begin, pack)
