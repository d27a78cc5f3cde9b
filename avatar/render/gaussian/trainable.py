"""Training of splat blendshapes: drawing with gradients, and an Adam step that never forms those of the deltas."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from avatar.core.geometry import Camera
from avatar.core.landmarks import IRIS_CENTERS, MESH_POINTS
from avatar.core.motion_space import Motion, MotionSpace
from avatar.core.take import Take, Track
from avatar.render.adam import Adam, bias_correction
from avatar.render.base import StepInputs, TrainableKind, random_generator
from avatar.render.features import EYE_FEATURES, POSE_FEATURES, Scaling, fit_scaling
from avatar.render.gaussian.initial import FEW_FRAMES, lift_splats
from avatar.render.gaussian.lifting import InitialSplats
from avatar.render.gaussian.order import reorder
from avatar.render.gaussian.parameters import SplatParameters, copy_parameters
from avatar.render.gaussian.rasterizers import check_rasterizer, rasterize
from avatar.render.gaussian.relocation import relocate
from avatar.render.gaussian.renderer import GaussianRenderer, splat_pose, view_of
from avatar.render.gaussian.settings import GaussianSettings
from avatar.render.reference_frame import reference_frame
from cuda_ext import ops

LID_MODES = 2  # of the MotionSpace, its first
DECAY_EVERY, DECAY = 50, 0.03  # steps; share: what no frame renews is half gone after 1100 steps
EYE_CM, EYE_FADE_CM = 1.8, 1.0  # from the iris, the eye's socket: what lids and gaze may move; then less and less
FACE_CM, FACE_FADE_CM = 2.0, 2.0  # from the face's mesh: what expressions may move; hair does not
FACE_POINTS = slice(0, MESH_POINTS, 6)  # mesh points that this distance is measured to: a sixth, to be quick
SURE_FRAMES = 25  # of which half of what they show is learned of how looks change with motion


class TrainableGaussian:
    """Splat blendshapes in training."""

    def __init__(self, tensors: dict[str, Tensor], camera: Camera, settings: GaussianSettings) -> None:
        """tensors: those of `SplatParameters`, by name."""
        self.camera, self.settings = camera, settings
        self.device = torch.device("cpu")
        self._motion: Motion | None = None
        self.restore(tensors)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over tensors as `tensors` returns them; the optimizer starts anew."""
        self._splats = copy_parameters(tensors, self.device)
        splats, settings, self._adam = self._splats, self.settings, Adam()
        self._one = torch.ones(1, device=self.device)
        self._room = ops.Room(ops.first_pairs(splats.count), self.device)
        rates = (settings.means_rate, settings.scales_rate, settings.opacity_rate, settings.colors_rate)
        widths = torch.tensor(list(ops.ATTRIBUTES.values())) * splats.count
        self._base_rates = torch.tensor(rates).repeat_interleave(widths).to(self.device)  # [10 N]
        self._base_rates *= _for_each_value(splats.learned)
        self._leaves: dict[str, Tensor] = {}  # of the last drawing: attributes, quaternions, rigidity
        self._coefficients = torch.zeros(0)  # [D] of the last drawing
        self._near_parts = near_parts(splats)
        self._pose = self._find_pose()

    def to(self, device: torch.device) -> None:
        """Train on another device; the optimizer starts anew. Raises: UserError, as `check_rasterizer`."""
        check_rasterizer(self.settings.rasterizer, device)
        self.device = device
        self.restore(self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all parameters, in float32."""
        return {name: tensor.clone() for name, tensor in vars(self._splats).items()}

    def renderer(self) -> GaussianRenderer:
        """The renderer of the parameters as they are now, packed as for the avatar file."""
        renderer = GaussianRenderer(pack(self.tensors()), self.camera, self.settings)
        renderer.to(self.device)
        return renderer

    @property
    def features(self) -> int:
        """How many features a frame has."""
        return len(self._splats.feature_mean)

    @property
    def rooms(self) -> tuple[ops.Room, ...] | None:
        """That of the pairs of splats and tiles; None with a rasterizer that waits for the GPU."""
        return (self._room,) if self.settings.rasterizer == "native" else None

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """None: the noise of the features is all."""
        return ()

    def prepare(self, motion: Motion) -> None:
        """Take in the motion of all frames of the clip."""
        self._motion = motion
        self._pose = self._find_pose()

    def _find_pose(self) -> ops.Pose | None:
        splats = self._splats
        scaling = Scaling(splats.rest_rotation, splats.feature_mean, splats.feature_scale)
        return splat_pose(self._motion.to(self.device), scaling, self.camera.focal) if self._motion else None

    def draw(self, step: StepInputs) -> tuple[Tensor, Tensor]:
        """Draw a step's frame, its features with noise: rgb [1, 3, S, S] premultiplied, alpha [1, 1, S, S].

        Gradients reach the attributes, quaternions and rigidity of the frame; those of the deltas are an outer product
        with the coefficients, which `update` never forms.
        """
        if self._pose is None:
            raise RuntimeError("draw() needs the motion that prepare() takes in")
        splats = self._splats
        pose = ops.Pose(*(getattr(self._pose, field.name)[step.frame] for field in fields(ops.Pose)))
        coefficients = pose.coefficients + self.settings.feature_noise * step.noise
        attributes = ops.deform(splats.base, splats.deltas, coefficients).detach().requires_grad_()
        quaternions = splats.quaternions.detach().requires_grad_()
        rigidity = splats.rigidity.detach().requires_grad_()
        self._leaves = {"attributes": attributes, "quaternions": quaternions, "rigidity": rigidity}
        (self._coefficients,) = coefficients
        parts, head = ops.split_attributes(attributes), ops.RigidTransform(pose.rotation, pose.translation)
        rest = ops.RigidTransform(splats.rest_rotation, splats.rest_translation)
        means, turned = ops.place(
            parts["means"], quaternions, rigidity, head, rest, pose.torso, focal=self.camera.focal
        )
        looks = parts["log_scales"], parts["opacity_logits"], parts["colors"]
        return rasterize(self.settings.rasterizer, means, turned, *looks, camera=self.camera, room=self._room)

    def advance(self) -> int:
        """Begin an optimizer step."""
        return self._adam.advance()

    def rate(self, number: int, progress: float) -> float:
        """What the rates of a step are multiplied with."""
        return bias_correction(number) * self.settings.last_rate**progress

    def update(self, step: StepInputs) -> None:
        """One Adam step from the gradients of the last `draw`."""
        splats, settings = self._splats, self.settings
        (gradient,) = _gradient(self._leaves["attributes"])
        self._adam.update("base", splats.base[None], gradient, self._one, self._base_rates, step.rate)
        for name, (rows, rates) in self._delta_rates(self._base_rates * settings.delta_rate).items():
            self._adam.update(name, splats.deltas[rows], gradient, self._coefficients[rows], rates, step.rate)
        for name, rate in (("quaternions", settings.quaternions_rate), ("rigidity", settings.rigidity_rate)):
            values, gradient = getattr(splats, name), _gradient(self._leaves[name]).reshape(-1)
            rates = (rate * splats.learned).repeat_interleave(values.numel() // splats.count)
            self._adam.update(name, values.view(1, -1), gradient, self._one, rates, step.rate)
        splats.rigidity.clamp_(0, 1)

    def maintain(self, number: int, progress: float) -> None:
        """Decay deltas, and relocate transparent splats, now and then."""
        settings = self.settings
        if number % DECAY_EVERY == 0:
            decay_deltas(self._splats)
        if progress < settings.relocate_until and number % settings.relocate_every == 0:
            relocate(self._splats, self._adam.moments)
            for known, new in zip(self._near_parts, near_parts(self._splats), strict=True):
                known.copy_(new)

    def _delta_rates(self, rates: Tensor) -> dict[str, tuple[slice, Tensor]]:
        """Groups of deltas: which rows, and the rate [10 N] of each value.

        The torso does not follow the lips, nor the head the shoulders: expression and eyes move splats as far as they
        belong to the head, the torso's motion those that do not.
        """
        pose = len(self._splats.prior)
        eyes = pose - EYE_FEATURES
        torso = pose + POSE_FEATURES
        rigidity = _for_each_value(self._splats.rigidity)
        head = rates * rigidity
        near_eyes, near_face = self._near_parts
        lids = head * near_eyes
        return {
            "lids": (slice(0, LID_MODES), lids),
            "face": (slice(LID_MODES, eyes), head * near_face),
            "eyes": (slice(eyes, pose), lids),
            "pose": (slice(pose, torso), rates),
            "torso": (slice(torso, None), rates * (1 - rigidity)),
        }

    def reduce_memory(self) -> bool:
        """Splats are drawn all at once or not at all."""
        return False


def decay_deltas(splats: SplatParameters) -> None:
    """Weight decay of what is learned frame by frame (docs/lab/picture.md: eyes +.4 dB).

    The motion of the face's splats decays to that of the MotionSpace, so that a mouth that opens wider than it was ever
    seen does not fall apart.
    """
    pose, places = len(splats.prior), 3 * splats.count
    modes = pose - EYE_FEATURES
    splats.deltas[pose:] *= 1 - DECAY
    splats.deltas[:pose, places:].lerp_(splats.prior[:, places:], DECAY)
    splats.deltas[LID_MODES:modes, :places].lerp_(splats.prior[LID_MODES:modes, :places], DECAY)


def near_parts(splats: SplatParameters) -> tuple[Tensor, Tensor]:
    """1 for values of splats about the eyes, about the face, 0 far from them, each [10 N].

    Few blinks must not move hair, nor few frames make it follow the lips.
    """
    means = ops.split_attributes(splats.base)["means"]
    eyes, face = (torch.cdist(means, points).min(1).values for points in (splats.irises, splats.mesh))
    near_eyes = ((EYE_CM + EYE_FADE_CM - eyes) / EYE_FADE_CM).clamp(0, 1)
    near_face = ((FACE_CM + FACE_FADE_CM - face) / FACE_FADE_CM).clamp(0, 1)
    return _for_each_value(near_eyes), _for_each_value(near_face)


def _for_each_value(values: Tensor) -> Tensor:
    """Values [N] of splats, repeated for all their attributes, planar [10 N]."""
    return torch.cat([values.repeat_interleave(width) for width in ops.ATTRIBUTES.values()])


def _gradient(leaf: Tensor) -> Tensor:
    if leaf.grad is None:
        raise RuntimeError("update() needs a backward pass through the last draw()")
    return leaf.grad


def begin(take: Take, track: Track, space: MotionSpace, settings: GaussianSettings, seed: int) -> TrainableGaussian:
    """Fresh splats for a take: lifted from its frames, moved by the MotionSpace basis near the face."""
    frames, motion, count = take.training_frames(), track.motion(), settings.splats
    reference = frames[0] if len(frames) < FEW_FRAMES else reference_frame(track, frames)  # of photos the first
    splats = lift_splats(take, track, space, reference=reference, count=count, generator=random_generator(seed))
    scaling = fit_scaling(motion[torch.tensor(frames)], motion.rotation[reference], take.camera.focal)
    mean, scale = scaling.mean, scaling.scale
    prior = _prior(splats, scale)
    deltas = torch.cat([prior, torch.zeros(len(mean) - len(prior), prior.shape[1])])
    eyes = slice(space.modes, space.modes + EYE_FEATURES)
    means = splats.means + torch.einsum("k,knc->nc", mean[: space.modes], splats.basis)
    means = means + torch.einsum("e,enc->nc", mean[eyes], splats.eyes)
    opacity = splats.opacity_logits + mean[: len(prior)] @ splats.fading
    colors = splats.colors + torch.einsum("k,knc->nc", mean[: space.modes], splats.shading)
    parameters = SplatParameters(
        base=torch.cat([means.reshape(-1), splats.log_scales.reshape(-1), opacity, colors.reshape(-1)]),
        deltas=deltas,
        prior=prior,
        quaternions=view_of(scaling.rest_rotation.mT[None]).quaternion.repeat(count, 1),
        rigidity=splats.rigidity,
        learned=splats.learned,
        irises=track.neutral[list(IRIS_CENTERS)],
        mesh=track.neutral[FACE_POINTS],
        rest_rotation=scaling.rest_rotation,
        rest_translation=motion.translation[reference],
        feature_mean=mean,
        feature_scale=scale,
    )
    sure = len(frames) / (len(frames) + SURE_FRAMES)
    changed = {"delta_rate": sure * settings.delta_rate, "feature_noise": sure * settings.feature_noise}
    return TrainableGaussian(vars(parameters), take.camera, settings.model_copy(update=changed))


def _prior(splats: InitialSplats, scale: Tensor) -> Tensor:
    """[K + 4, 10 N]: how the first splats change with each feature of expression and eyes, of deviations `scale`."""
    modes = len(splats.basis)
    prior = torch.zeros(modes + EYE_FEATURES, ops.WIDTH * splats.count)
    parts = ops.split_attributes(prior)
    parts["means"][:modes] = splats.basis * scale[:modes, None, None]
    parts["means"][modes:] = splats.eyes * scale[modes : modes + EYE_FEATURES, None, None]
    parts["opacity_logits"][:] = splats.fading * scale[: len(prior), None]
    parts["colors"][:modes] = splats.shading * scale[:modes, None, None]
    return prior


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the avatar file: deltas in int8 with block scales; half precision where it cannot be seen.

    Splats that training moved away from their neighbours lie among them again: a block of codes then holds splats that
    move alike, and one that does not move is all zeros, which files and drawing leave out (docs/lab/browser.md).
    """
    tensors = reorder(tensors)
    codes, scales = ops.quantize(tensors["deltas"])
    small = {name: tensors[name].half() for name in ("quaternions", "rigidity")} | {"delta_scales": scales.half()}
    kept = {name: tensor for name, tensor in tensors.items() if name not in ("deltas", "prior", "learned")}
    return kept | small | {"delta_codes": codes}


def check(settings: GaussianSettings, device: torch.device) -> None:
    """Raises: as `check_rasterizer`."""
    check_rasterizer(settings.rasterizer, device)


TRAINABLE = TrainableKind(GaussianSettings, begin, pack, check)
