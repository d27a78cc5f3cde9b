"""A whole frame of splat blendshapes, and the same as one CUDA graph that ends in bytes for a video encoder."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from cuda_ext.deform import deform_int8
from cuda_ext.image import to_nv12
from cuda_ext.place import RigidTransform, place
from cuda_ext.splat import SplatSpace, draw_into, first_pairs, plan, splat

ATTRIBUTES = {"means": 3, "log_scales": 3, "opacity_logits": 1, "colors": 3}  # what blendshapes move, and its width
WIDTH = sum(ATTRIBUTES.values())


def split_attributes(values: Tensor) -> dict[str, Tensor]:
    """Views of planar values [..., 10 N] by attribute: [..., N, 3], and [..., N] for the opacity logits."""
    count = values.shape[-1] // WIDTH
    views = values.split([width * count for width in ATTRIBUTES.values()], -1)
    parts = {name: view.unflatten(-1, (count, -1)) for name, view in zip(ATTRIBUTES, views, strict=True)}
    return parts | {"opacity_logits": parts["opacity_logits"].squeeze(-1)}


@dataclass(frozen=True)
class SplatBlendshapes:
    """Splats whose attributes follow coefficients, in int8 with block scales as avatars ship them."""

    base: Tensor  # [10 N] planar, see ATTRIBUTES
    codes: Tensor  # [K, 10 N] int8
    scales: Tensor  # [K, ceil(10 N / 64)]
    quaternions: Tensor  # [N, 4]
    rigidity: Tensor  # [N] 1 = head, 0 = torso
    rest_rotation: Tensor  # [3, 3]
    rest_translation: Tensor  # [3] cm
    focal: float  # px
    size: int  # px

    @property
    def rest(self) -> RigidTransform:
        """The pose at rest."""
        return RigidTransform(self.rest_rotation, self.rest_translation)

    def to(self, device: torch.device) -> SplatBlendshapes:
        """The same on another device."""
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True)
class Pose:
    """What moves the splats of B frames."""

    coefficients: Tensor  # [B, K]
    rotation: Tensor  # [B, 3, 3] head -> camera
    translation: Tensor  # [B, 3] cm
    torso: Tensor  # [B, 4] shift x, y px, log-scale, roll rad


def place_splats(shapes: SplatBlendshapes, pose: Pose) -> tuple[Tensor, ...]:
    """The first five arguments of `splat` for B frames."""
    parts = split_attributes(deform_int8(shapes.base, shapes.codes, shapes.scales, pose.coefficients))
    head, rest = RigidTransform(pose.rotation, pose.translation), shapes.rest
    means, turned = place(
        parts["means"], shapes.quaternions, shapes.rigidity, head, rest, pose.torso, focal=shapes.focal
    )
    return means, turned, parts["log_scales"], parts["opacity_logits"], parts["colors"]


def draw_frames(shapes: SplatBlendshapes, pose: Pose) -> tuple[Tensor, Tensor]:
    """Draw B frames: rgb [B, 3, S, S] premultiplied, alpha [B, 1, S, S]. Not differentiable."""
    return splat(*place_splats(shapes, pose), focal=shapes.focal, size=shapes.size)


class FrameGraph:
    """B frames from coefficients to NV12 as one CUDA graph: one launch, nothing allocated, nothing waits inside."""

    def __init__(self, shapes: SplatBlendshapes, batch: int, background: Tensor) -> None:
        """background [S, S, 3] uint8, on the GPU as all of shapes."""
        self._shapes, self._background = shapes, background
        rows, device = shapes.codes.shape[0], shapes.base.device
        upright = torch.eye(3, device=device).expand(batch, 3, 3).contiguous()
        far = shapes.rest_translation.expand(batch, 3).contiguous()
        self._pose = Pose(torch.zeros(batch, rows, device=device), upright, far, torch.zeros(batch, 4, device=device))
        self._capture(first_pairs(shapes.rigidity.shape[0]))

    def _draw(self, pairs: int) -> tuple[SplatSpace, Tensor]:
        call = plan(*place_splats(self._shapes, self._pose), focal=self._shapes.focal, size=self._shapes.size)
        rgb, alpha = call.pictures()
        space = draw_into(call, rgb, alpha, pairs=pairs, training=False)
        return space, to_nv12(rgb, alpha, self._background)

    def _capture(self, pairs: int) -> None:
        # once before, on another stream, so that everything that is made on first use exists
        warm = torch.cuda.Stream()
        warm.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm):
            self._draw(pairs)
        torch.cuda.current_stream().wait_stream(warm)
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph):
            self._space, self._picture = self._draw(pairs)

    def launch(self, pose: Pose) -> Tensor:
        """Start the drawing of a pose: NV12 [B, 3 S / 2, S] uint8, overwritten by the next launch; see `fits`."""
        for field in fields(Pose):
            getattr(self._pose, field.name).copy_(getattr(pose, field.name))
        self._graph.replay()
        return self._picture

    def fits(self) -> bool:
        """Wait for the last launch: False when a frame needed more room, was left empty, and must be drawn again."""
        needed = int(self._space.needed.max())
        if needed <= self._space.pairs:
            return True
        self._capture(needed + needed // 4)
        return False

    def __call__(self, pose: Pose) -> Tensor:
        """`launch`, and again with more room where that was needed."""
        picture = self.launch(pose)
        return picture if self.fits() else self.launch(pose)
