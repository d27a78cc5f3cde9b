"""Splat blendshapes: every Gaussian has base attributes and linear deltas over a short feature vector.

For one frame: attributes = base + coefficients @ deltas, then each splat is placed between the head's pose and the
torso's by its rigidity. Source of the splatting itself: Kerbl et al. 2023, 3D Gaussian Splatting.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from avatar.core.geometry import Camera, to_vector
from avatar.core.motion_space import Motion, MotionSpace
from avatar.core.recipe import Settings
from avatar.core.take import Take, Track
from avatar.render.base import RendererKind, random_generator
from avatar.render.densify import relocate
from avatar.render.splat_init import lift_splats
from cuda_ext import ops

COLUMNS = {"means": 3, "log_scales": 3, "opacity_logits": 1, "colors": 3}  # what the deltas move
WIDTH = sum(COLUMNS.values())
POSE_FEATURES = 6  # the last of the features: head turn and place
BETAS = (0.9, 0.99)
EPSILON = 1e-15


class GaussianSettings(Settings):
    """Hyper-parameters of the Gaussian renderer."""

    kind: str = "gaussian"
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
        self.restore(tensors)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over tensors as `tensors` returns them; the optimizer starts anew."""
        values = {name: tensor.clone() for name, tensor in tensors.items()}
        self.codes: Tensor | None
        self.code_scales: Tensor | None
        self.base = values["base"].float()  # [10 N] planar: means, log_scales, opacity_logits, colors
        self.quaternions = values["quaternions"].float()  # [N, 4]
        self.rigidity = values["rigidity"].float()  # [N]
        self.rest_rotation = values["rest_rotation"]
        self.rest_translation = values["rest_translation"]
        self.feature_mean = values["feature_mean"]  # [D]
        self.feature_scale = values["feature_scale"]  # [D]
        self._noise = random_generator(0)
        if "delta_codes" in values:
            codes, scales = values["delta_codes"], values["delta_scales"].float()
            self.codes, self.code_scales = codes, scales
            self.deltas = ops.dequantize(codes, scales)
        else:
            self.codes = self.code_scales = None
            self.deltas = values["deltas"]
        self._moments: dict[str, Tensor] = {}
        self._steps = 0
        self._leaves: dict[str, Tensor] = {}
        self._coefficients = torch.zeros(0)

    @property
    def count(self) -> int:
        return self.quaternions.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """All state that drawing needs, in float32."""
        names = ("quaternions", "rigidity", "rest_rotation", "rest_translation", "feature_mean", "feature_scale")
        return {name: getattr(self, name).clone() for name in (*names, "base", "deltas")}

    def features(self, motion: Motion) -> Tensor:
        """Coefficients [T, D] of the deltas, about unit variance over the training clip."""
        return (raw_features(motion, self.rest_rotation) - self.feature_mean) / self.feature_scale

    def render(self, motion: Motion, frames: range) -> tuple[Tensor, Tensor]:
        """Draw frames of a motion: rgb [B, 3, S, S] premultiplied 0..1, alpha [B, 1, S, S]."""
        part = motion[slice(frames.start, frames.stop)]
        features = self.features(part)
        pictures = [self._draw(part, index, features[index]) for index in range(len(part))]
        return torch.stack([rgb for rgb, _ in pictures]), torch.stack([alpha for _, alpha in pictures])

    def _draw(self, motion: Motion, index: int, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        training = torch.is_grad_enabled()
        if training:
            noise = torch.randn(coefficients.shape, generator=self._noise)
            self._coefficients = coefficients = coefficients + self.settings.feature_noise * noise
        if not training and self.codes is not None and self.code_scales is not None:
            attributes = ops.deform_int8(self.base, self.codes, self.code_scales, coefficients)
        else:
            attributes = ops.deform(self.base, self.deltas, coefficients)
        quaternions, rigidity = self.quaternions, self.rigidity
        if training:
            # gradients stop at the attributes; the deltas' own are never formed (see update)
            attributes = attributes.detach().requires_grad_()
            quaternions = quaternions.detach().requires_grad_()
            rigidity = rigidity.detach().requires_grad_()
            self._leaves = {"attributes": attributes, "quaternions": quaternions, "rigidity": rigidity}
        part = split_columns(attributes, self.count)
        means, turned = ops.place(
            part["means"],
            quaternions,
            rigidity,
            motion.rotation[index],
            motion.translation[index],
            self.rest_rotation,
            self.rest_translation,
            motion.torso[index],
            focal=self.camera.focal,
            size=self.camera.size,
        )
        return ops.splat(
            means,
            turned,
            part["log_scales"],
            part["opacity_logits"].squeeze(1),
            part["colors"],
            focal=self.camera.focal,
            size=self.camera.size,
        )

    def update(self, progress: float) -> None:
        """One Adam step from the gradients of the last `render`."""
        self._steps += 1
        decay = self.settings.last_rate**progress
        gradient = _gradient(self._leaves["attributes"])
        rates = self._rates() * decay
        self._adam("base", self.base[None], gradient, torch.ones(1), rates)
        # the torso does not follow the lips: expression and eyes move splats as far as they belong to the head
        turn = self.deltas.shape[0] - POSE_FEATURES
        rates = rates * self.settings.delta_rate
        head = rates * torch.cat([self.rigidity.repeat_interleave(width) for width in COLUMNS.values()])
        self._adam("face", self.deltas[:turn], gradient, self._coefficients[:turn], head)
        self._adam("pose", self.deltas[turn:], gradient, self._coefficients[turn:], rates)
        for name, rate in (("quaternions", self.settings.quaternions_rate), ("rigidity", self.settings.rigidity_rate)):
            values = getattr(self, name)
            leaf_gradient = _gradient(self._leaves[name]).reshape(-1)
            self._adam(
                name, values.view(1, -1), leaf_gradient, torch.ones(1), torch.full_like(leaf_gradient, rate * decay)
            )
        self.rigidity.clamp_(0, 1)
        if progress < self.settings.relocate_until and self._steps % self.settings.relocate_every == 0:
            relocate(self)

    def _rates(self) -> Tensor:
        settings = self.settings
        rates = (settings.means_rate, settings.scales_rate, settings.opacity_rate, settings.colors_rate)
        parts = [torch.full((width * self.count,), rate) for width, rate in zip(COLUMNS.values(), rates, strict=True)]
        return torch.cat(parts)

    def _adam(self, name: str, values: Tensor, gradient: Tensor, coefficients: Tensor, rates: Tensor) -> None:
        if f"{name}.first" not in self._moments:
            self._moments |= {f"{name}.{moment}": torch.zeros_like(values) for moment in ("first", "second")}
        ops.deform_adam_(
            values,
            self._moments[f"{name}.first"],
            self._moments[f"{name}.second"],
            gradient,
            coefficients,
            lr=rates,
            beta1=BETAS[0],
            beta2=BETAS[1],
            eps=EPSILON,
            step=self._steps,
        )

    def columns(self, values: Tensor) -> dict[str, Tensor]:
        """Views of a planar vector [10 N] by attribute."""
        return split_columns(values, self.count)

    def moments(self) -> dict[str, Tensor]:
        """The optimizer's running moments, by name."""
        return self._moments


def _gradient(leaf: Tensor) -> Tensor:
    if leaf.grad is None:
        raise RuntimeError("update() needs a backward pass through the last render()")
    return leaf.grad


def split_columns(values: Tensor, count: int) -> dict[str, Tensor]:
    """Views of a planar vector [10 N] as attributes [N, width]."""
    views = values.split([width * count for width in COLUMNS.values()])
    return {name: view.view(count, width) for (name, width), view in zip(COLUMNS.items(), views, strict=True)}


def raw_features(motion: Motion, rest_rotation: Tensor) -> Tensor:
    """[T, D]: expression, eyes, head turn against rest (rad), head place (cm)."""
    turn = to_vector(motion.rotation @ rest_rotation.T)
    return torch.cat([motion.expression, motion.eyes, turn, motion.translation], 1)


def begin(take: Take, track: Track, space: MotionSpace, settings: GaussianSettings, seed: int) -> GaussianRenderer:
    """A fresh renderer for a take: splats lifted from its frames, moved by the MotionSpace basis near the face."""
    splats, reference = lift_splats(take, track, space, count=settings.splats, generator=random_generator(seed))
    motion = track.motion()
    rest_rotation, rest_translation = motion.rotation[reference], motion.translation[reference]
    frames = torch.tensor(take.training_frames())
    raw = raw_features(motion, rest_rotation)[frames]
    mean, scale = raw.mean(0), raw.std(0).clamp_min(1e-3)
    scale[space.modes + 4 :] = scale[space.modes + 4 :].clamp_min(0.02)  # a still head must not be amplified
    count = settings.splats
    deltas = torch.zeros(raw.shape[1], WIDTH * count)
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
    }
    return GaussianRenderer(tensors, take.camera, settings)


def load(tensors: dict[str, Tensor], camera: Camera) -> GaussianRenderer:
    """A renderer from the tensors of an avatar file, drawn at the camera's size."""
    return GaussianRenderer(tensors, camera)


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as shipped: deltas in int8 with block scales; half precision where it cannot be seen."""
    codes, scales = ops.quantize(tensors["deltas"])
    small = {name: tensors[name].half() for name in ("quaternions", "rigidity")} | {"delta_scales": scales.half()}
    kept = {name: tensor for name, tensor in tensors.items() if name != "deltas"}
    return kept | small | {"delta_codes": codes}


KIND = RendererKind(GaussianSettings, begin, load, pack)
