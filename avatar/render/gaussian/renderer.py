"""Splat blendshapes: every Gaussian has base attributes and linear deltas over a short feature vector.

For one frame: attributes = base + coefficients @ deltas, then each splat is placed between the head's pose and the
torso's by its rigidity. Source of the splatting itself: Kerbl et al. 2023, 3D Gaussian Splatting.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.geometry import Camera, to_vector
from avatar.core.motion_space import Motion
from avatar.render.base import RendererKind
from avatar.render.features import TORSO_FEATURES, Scaling
from avatar.render.gaussian.rasterizers import rasterize, usable_rasterizer
from avatar.render.gaussian.settings import GaussianSettings
from cuda_ext import ops
from cuda_ext.reference import COLUMNS
from cuda_ext.shapes import check_shapes


class GaussianRenderer:
    """Draws a person from the splat blendshapes of an avatar file."""

    def __init__(self, tensors: dict[str, Tensor], camera: Camera, settings: GaussianSettings | None = None) -> None:
        """tensors: as `avatar.render.gaussian.trainable.pack` returns them."""
        self.camera, self.settings = camera, settings or GaussianSettings()
        self.device = torch.device("cpu")
        self._rasterizer: str | None = None  # picked where it draws first
        pose = tensors["rest_rotation"], tensors["rest_translation"]
        splats = (tensors["quaternions"].float(), tensors["rigidity"].float(), *pose)
        deltas = tensors["delta_codes"], tensors["delta_scales"].float()
        self._blendshapes = ops.SplatBlendshapes(tensors["base"].float(), *deltas, *splats, camera.focal, camera.size)
        self._scaling = Scaling(pose[0], tensors["feature_mean"], tensors["feature_scale"])

    def to(self, device: torch.device) -> None:
        """Draw on another device."""
        self.device, self._rasterizer = device, None
        self._blendshapes, self._scaling = self._blendshapes.to(device), self._scaling.to(device)

    @property
    def blendshapes(self) -> ops.SplatBlendshapes:
        """The blendshapes as the avatar file holds them, on the renderer's device."""
        return self._blendshapes

    @property
    def scaling(self) -> Scaling:
        """What features of motion are brought to, on the renderer's device."""
        return self._scaling

    @property
    def rasterizer(self) -> str:
        """What draws on the renderer's device: native or gsplat."""
        self._rasterizer = self._rasterizer or usable_rasterizer(self.settings.rasterizer, self.device)
        return self._rasterizer

    def pose(self, motion: Motion) -> ops.Pose:
        """What moves the splats for a motion's frames, on the renderer's device."""
        return splat_pose(motion.to(self.device), self._scaling, self.camera.focal)

    @torch.no_grad()
    def render(
        self,
        motion: Motion,
        frames: range,
        view: Tensor | None = None,
        recolour: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw frames of a motion: rgb [B, 3, S, S] premultiplied 0..1, alpha [B, 1, S, S].

        recolour: from the colours of splats [B, N, 3] to those that are drawn.
        """
        turn = None if view is None else view_of(view.to(self.device))
        splats = ops.place_splats(self._blendshapes, self.pose(motion[slice(frames.start, frames.stop)]), turn)
        if recolour:
            splats = (*splats[:-1], recolour(splats[-1]))
        return rasterize(self.rasterizer, *splats, camera=self.camera)

    @torch.no_grad()
    def render_part(self, motion: Motion, frame: int, part: ops.Part, size: int) -> tuple[Tensor, Tensor]:
        """As `render`, a part of one frame, `size` px a side, drawn by the native rasterizer.

        part: of the picture of the avatar's camera, at any scale, so of a whole of any size.
        """
        splats = ops.place_splats(self._blendshapes, self.pose(motion[slice(frame, frame + 1)]))
        focal = self.camera.focal * part.whole / self.camera.size
        return ops.splat_part(*splats, focal=focal, size=size, part=part)

    @torch.no_grad()
    def splats(self, motion: Motion | None = None) -> tuple[Tensor, ...]:
        """Means [N, 3] cm, quaternions, log-scales, opacity logits and colours of one frame, in the camera frame.

        motion: of one frame; without it the person at rest, with the mean of all expressions.
        """
        if motion is not None:
            pose = self.pose(motion)
        else:
            upright = self._blendshapes.rest_rotation[None], self._blendshapes.rest_translation[None]
            mean = torch.zeros(1, len(self._scaling.mean), device=self.device)
            pose = ops.Pose(mean, *upright, torch.zeros(1, 4, device=self.device))
        return tuple(part[0] for part in ops.place_splats(self._blendshapes, pose))


def splat_pose(motion: Motion, scaling: Scaling, focal: float | Tensor) -> ops.Pose:
    """What moves splats for the frames of a motion, its features scaled; all on one device. focal: px."""
    return ops.Pose(scaling.with_torso(motion, focal), motion.rotation, motion.translation, motion.torso)


def view_of(rotation: Tensor) -> ops.View:
    """The view that rotations [B, 3, 3] turn splats into."""
    half = to_vector(rotation) / 2
    angle = half.norm(dim=1, keepdim=True).clamp_min(1e-9)
    return ops.View(rotation, torch.cat([angle.cos(), half * (angle.sin() / angle)], 1))


def check_tensors(tensors: dict[str, Tensor]) -> None:
    """Raise UserError, naming it, for a tensor of an avatar file that is missing or of another shape or kind."""
    shapes = {"quaternions": "N 4", "rigidity": "N", "rest_rotation": "3 3", "rest_translation": "3"}
    shapes |= {"feature_mean": "D", "feature_scale": "D"}
    try:
        sizes = check_shapes("splats", {name: (tensors[name], shape) for name, shape in shapes.items()})
        values = ops.WIDTH * sizes["N"]
        check_shapes("splats", {"base": (tensors["base"], str(values))})
        check_shapes("splats", {"delta_codes": (tensors["delta_codes"], f"D {values}")}, dtype=torch.int8, sizes=sizes)
        blocks = {"delta_scales": (tensors["delta_scales"], f"D {-(-values // COLUMNS)}")}
        check_shapes("splats", blocks, sizes=sizes)
        floats = {name: tensor for name, tensor in tensors.items() if name != "delta_codes"}
        if wrong := next((name for name, tensor in floats.items() if not tensor.is_floating_point()), ""):
            raise TypeError(f"splats.{wrong} is {floats[wrong].dtype}, expected floating point")
        if not sizes["N"] or not bool((tensors["feature_scale"] > 0).all()):
            raise ValueError("splats: there are none, or their feature_scale is not above 0")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the avatar's splats do not fit together ({error}); build it again") from error


def load(tensors: dict[str, Tensor], camera: Camera, settings: GaussianSettings) -> GaussianRenderer:
    """A renderer from the tensors of an avatar file, drawn at the camera's size, by the rasterizer of its recipe.

    Raises: UserError naming the tensor that is missing or of another shape.
    """
    check_tensors(tensors)
    return GaussianRenderer(tensors, camera, settings)


KIND = RendererKind(GaussianSettings, load, more_features=(0, TORSO_FEATURES))  # avatars of earlier versions: none
