"""Whole frames of splat blendshapes, of one person or of many, and the same as one CUDA graph that ends in bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from cuda_ext.deform import deform_int8
from cuda_ext.place import RigidTransform, place
from cuda_ext.reference import COLUMNS, quaternion_product
from cuda_ext.splat import SplatCall, draw_bytes_into, draw_into, first_pairs, plan, splat

ATTRIBUTES = {"means": 3, "log_scales": 3, "opacity_logits": 1, "colors": 3}  # what blendshapes move, and its width
WIDTH = sum(ATTRIBUTES.values())
HIDDEN = -30.0  # of attributes that fill up a shorter list of splats: as an opacity logit, far below what is drawn

Pixels = Literal["rgb", "nv12", "rgba"]
Splats = tuple[Tensor, ...]
"""Means, quaternions, log-scales, opacity logits and colours: the first five arguments of `splat`."""


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

    def __len__(self) -> int:
        """Number of splats."""
        return self.rigidity.shape[0]


@dataclass(frozen=True)
class StackedBlendshapes:
    """Blendshapes of A people, for batches of which each frame shows one of them; made by `stack`."""

    base: Tensor  # [A, M]
    codes: Tensor  # [A, K, M] int8
    scales: Tensor  # [A, K, M / 64]
    columns: Tensor  # [A, 10 N] int64, which of the M values each attribute of N splats is
    quaternions: Tensor  # [A, N, 4]
    rigidity: Tensor  # [A, N]
    rest_rotation: Tensor  # [A, 3, 3]
    rest_translation: Tensor  # [A, 3] cm
    focals: Tensor  # [A] px
    size: int  # px

    def to(self, device: torch.device) -> StackedBlendshapes:
        """The same on another device."""
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)

    def __len__(self) -> int:
        """Number of splats of a frame."""
        return self.rigidity.shape[1]


def stack(people: Sequence[SplatBlendshapes]) -> StackedBlendshapes:
    """Blendshapes of several people as one, each filled up by splats that are not drawn.

    Coefficients that one person has and another lacks do not move the other. Raises ValueError when their pictures are
    of different sizes.
    """
    sizes, rows = {one.size for one in people}, max(one.codes.shape[0] for one in people)
    if len(sizes) != 1:
        raise ValueError(f"stack: sizes {sorted(sizes)} px, expected one")
    count = max(len(one) for one in people)
    width = -(-(WIDTH * count + 1) // COLUMNS) * COLUMNS  # at least one column is left for what is hidden

    def fill(values: list[Tensor], length: int, value: float = 0.0) -> Tensor:
        """Rows of different lengths, filled up at their last dimension."""
        return torch.stack([torch.nn.functional.pad(row, (0, length - row.shape[-1]), value=value) for row in values])

    def all_rows(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values, (0, 0, 0, rows - len(values)))

    return StackedBlendshapes(
        fill([one.base for one in people], width, HIDDEN),
        fill([all_rows(one.codes) for one in people], width),
        fill([all_rows(one.scales) for one in people], width // COLUMNS),
        torch.stack([_columns(len(one), count, width).to(one.base.device) for one in people]),
        fill([one.quaternions.mT for one in people], count, 1.0).mT.contiguous(),
        fill([one.rigidity for one in people], count),
        torch.stack([one.rest_rotation for one in people]),
        torch.stack([one.rest_translation for one in people]),
        torch.tensor([one.focal for one in people], device=people[0].base.device),
        people[0].size,
    )


def _columns(own: int, count: int, width: int) -> Tensor:
    """Where `own` splats of planar layout keep the attributes of `count`; those that are missing: the last column."""
    found, start = [], 0
    for each in ATTRIBUTES.values():
        columns = torch.full((count, each), width - 1)
        columns[:own] = torch.arange(start, start + own * each).view(own, each)
        found.append(columns.flatten())
        start += own * each
    return torch.cat(found)


@dataclass(frozen=True)
class Pose:
    """What moves the splats of B frames."""

    coefficients: Tensor  # [B, K]
    rotation: Tensor  # [B, 3, 3] head -> camera
    translation: Tensor  # [B, 3] cm
    torso: Tensor  # [B, 4] shift x, y px, log-scale, roll rad


@dataclass(frozen=True)
class View:
    """How B frames are turned about the middle of the head at rest."""

    rotation: Tensor  # [B, 3, 3]
    quaternion: Tensor  # [B, 4] of the same rotation


def place_splats(shapes: SplatBlendshapes, pose: Pose, view: View | None = None) -> Splats:
    """The first five arguments of `splat` for B frames."""
    parts = split_attributes(deform_int8(shapes.base, shapes.codes, shapes.scales, pose.coefficients))
    head = RigidTransform(pose.rotation, pose.translation)
    placed = place(
        parts["means"], shapes.quaternions, shapes.rigidity, head, shapes.rest, pose.torso, focal=shapes.focal
    )
    return _with_view(placed, parts, shapes.rest_translation, view)


def place_stacked(shapes: StackedBlendshapes, choice: Tensor, pose: Pose) -> Splats:
    """The first five arguments of `splat` for B frames, of which each shows the person that `choice` [B] int32 says."""
    values = deform_int8(shapes.base, shapes.codes, shapes.scales, pose.coefficients, choice)
    parts = split_attributes(values.gather(1, shapes.columns.index_select(0, choice)))
    own = [
        tensor.index_select(0, choice)
        for tensor in (
            shapes.quaternions, shapes.rigidity, shapes.rest_rotation, shapes.rest_translation, shapes.focals,
        )
    ]  # fmt: skip
    quaternions, rigidity, rest, focals = own[0], own[1], RigidTransform(own[2], own[3]), own[4]
    head = RigidTransform(pose.rotation, pose.translation)
    placed = place(parts["means"], quaternions, rigidity, head, rest, pose.torso, focal=focals)
    return _with_view(placed, parts, own[3], None)


def _with_view(placed: tuple[Tensor, Tensor], parts: dict[str, Tensor], center: Tensor, view: View | None) -> Splats:
    means, turned = placed
    if view is not None:
        means = (means - center) @ view.rotation.mT + center
        turned = quaternion_product(view.quaternion[:, None], turned)
    return means, turned, parts["log_scales"], parts["opacity_logits"], parts["colors"]


def draw_frames(shapes: SplatBlendshapes, pose: Pose) -> tuple[Tensor, Tensor]:
    """Draw B frames: rgb [B, 3, S, S] premultiplied, alpha [B, 1, S, S]. Not differentiable."""
    return splat(*place_splats(shapes, pose), focal=shapes.focal, size=shapes.size)


def with_alpha(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Premultiplied rgb [B, 3, S, S] and alpha -> RGB and alpha, not premultiplied, [B, S, S, 4] uint8."""
    straight = rgb / alpha.clamp_min(1 / 255)
    return (torch.cat([straight, alpha], 1).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class _Replay:
    """A drawing that is captured as a CUDA graph on a GPU; elsewhere, as in emulation, it is called each time."""

    def __init__(self, draw: Callable[[], tuple[Tensor, Tensor]], device: torch.device) -> None:
        """draw: bytes and the pairs that they needed."""
        self._draw = draw
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type != "cuda":
            return
        with torch.no_grad(), torch.cuda.device(device):
            # once before, on another stream, so that everything that is made on first use exists
            warm, now = torch.cuda.Stream(), torch.cuda.current_stream()
            warm.wait_stream(now)
            with torch.cuda.stream(warm):
                draw()
            now.wait_stream(warm)
            self._graph = torch.cuda.CUDAGraph()
            # of this thread alone: others may go on allocating and copying meanwhile
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._drawn = draw()

    def __call__(self) -> tuple[Tensor, Tensor]:
        if self._graph is None:
            with torch.no_grad():
                return self._draw()
        self._graph.replay()
        return self._drawn


@dataclass(frozen=True)
class Launched:
    """Frames that are being drawn."""

    picture: Tensor  # [n, ...] uint8; overwritten by the next launch
    needed: Tensor  # [] int64, (splat, tile) pairs of the frame that needed the most
    room: int  # pairs that there was room for: frames that needed more are empty, and are to be drawn again


class FrameGraph:
    """Up to B frames from coefficients to bytes as one CUDA graph: one launch, nothing allocated, nothing waits inside.

    One thread at a time; launches join the current stream.
    """

    def __init__(
        self,
        shapes: SplatBlendshapes | StackedBlendshapes,
        batch: int,
        background: Tensor,
        *,
        pixels: Pixels = "nv12",
        turned: bool = False,
    ) -> None:
        """background: [S, S, 3] uint8, or [B, S, S, 3] where every launch brings its own; of several people
        [A, S, S, 3], each person's; on the GPU as all of shapes. turned: every launch brings a view.
        Raises ValueError for NV12 of an odd size.
        """
        if pixels == "nv12" and shapes.size % 2:
            raise ValueError(f"FrameGraph: pictures are {shapes.size} px wide, expected an even number for NV12")
        self.batch, self._shapes, self._pixels, self._background = batch, shapes, pixels, background
        rows, device = shapes.codes.shape[-2], shapes.base.device
        stacked = isinstance(shapes, StackedBlendshapes)
        upright = torch.eye(3, device=device).repeat(batch, 1, 1)
        rest = shapes.rest_translation[0] if stacked else shapes.rest_translation
        far = rest.repeat(batch, 1)  # a copy: launches overwrite it
        self._pose = Pose(torch.zeros(batch, rows, device=device), upright, far, torch.zeros(batch, 4, device=device))
        self._choice = torch.zeros(batch, dtype=torch.int32, device=device) if stacked else None
        still = torch.tensor([1.0, 0, 0, 0], device=device).repeat(batch, 1)
        self._view = View(upright.clone(), still) if turned else None
        self._make_room(first_pairs(len(shapes)))

    def _make_room(self, pairs: int) -> None:
        self._room = pairs
        self._replay = _Replay(self._draw, self._shapes.base.device)

    def _plan(self) -> SplatCall:
        shapes = self._shapes
        if isinstance(shapes, SplatBlendshapes):
            return plan(*place_splats(shapes, self._pose, self._view), focal=shapes.focal, size=shapes.size)
        assert self._choice is not None
        focals = shapes.focals.index_select(0, self._choice)
        return plan(*place_stacked(shapes, self._choice, self._pose), focal=focals, size=shapes.size)

    def _draw(self) -> tuple[Tensor, Tensor]:
        call, size = self._plan(), self._shapes.size
        if self._pixels == "rgba":
            rgb, alpha = call.pictures()
            space = draw_into(call, rgb, alpha, pairs=self._room, training=False)
            return with_alpha(rgb, alpha), space.needed.amax()
        background = self._background
        if self._choice is not None:
            background = background.index_select(0, self._choice)
        shape = (size, size, 3) if self._pixels == "rgb" else (3 * size // 2, size)
        picture = torch.empty(self.batch, *shape, dtype=torch.uint8, device=call.device)
        return picture, draw_bytes_into(call, background, picture, pairs=self._room).needed.amax()

    def launch(
        self,
        pose: Pose,
        *,
        view: View | None = None,
        choice: Tensor | None = None,
        background: Tensor | None = None,
    ) -> Launched:
        """Start the drawing of n frames, at most B.

        view: with `turned`; choice: [n] int32 on the GPU, of several people, which of them each frame shows;
        background: [n, S, S, 3] uint8, where each frame has its own.
        """
        count = len(pose.coefficients)
        for field in fields(Pose):
            getattr(self._pose, field.name)[:count].copy_(getattr(pose, field.name), non_blocking=True)
        if self._view is not None and view is not None:
            self._view.rotation[:count].copy_(view.rotation)
            self._view.quaternion[:count].copy_(view.quaternion)
        if self._choice is not None and choice is not None:
            self._choice[:count].copy_(choice, non_blocking=True)
        if background is not None:
            self._background[:count].copy_(background, non_blocking=True)
        picture, needed = self._replay()
        return Launched(picture[:count], needed, self._room)

    def grow(self, needed: int) -> None:
        """Make room for frames of so many pairs, and a quarter more. Waits for the GPU."""
        if needed <= self._room:
            return
        if self._shapes.base.device.type == "cuda":
            torch.cuda.synchronize(self._shapes.base.device)
        self._make_room(needed + needed // 4)

    def __call__(self, pose: Pose, **inputs: Any) -> Tensor:
        """The bytes of `launch`, again with more room where that was needed; waits for it."""
        launched = self.launch(pose, **inputs)
        if (needed := int(launched.needed)) > launched.room:
            self.grow(needed)
            launched = self.launch(pose, **inputs)
        return launched.picture
