"""Batches of frames on a GPU: by graphs that all drawings of a canvas share, several batches in flight."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from avatar.core.motion_space import MOTION_NAMES, Motion
from avatar.play.transfer import Readback, Transfer, upload
from avatar.render.base import Renderer
from avatar.render.gaussian.renderer import GaussianRenderer, view_of
from cuda_ext import native, ops

IN_FLIGHT = 3  # batches: one is drawn, one copied, and one waits, so that neither the GPU nor the bus ever does
AT_ONCE = (1, 8, 32)  # frames of a graph: one for live frames; beyond 32 a GPU draws little faster (docs/figures.md)
MOST_PIXELS = 32 * 512 * 512  # of a batch, 12 MB as NV12: larger pictures come in smaller batches


def batch_sizes(size: int) -> tuple[int, ...]:
    """Frames of the graphs that draw pictures of `size` px a side, smallest first."""
    most = max(1, MOST_PIXELS // size**2)
    return tuple(sorted({min(count, most) for count in AT_ONCE}))


@dataclass(frozen=True)
class Behind:
    """What lies behind the person."""

    plate: Tensor  # [S, S, 3] uint8 on the GPU
    film: bool  # every frame brings its own picture instead


@dataclass(frozen=True)
class Stretch:
    """What frames are drawn with, on the GPU."""

    pose: ops.Pose
    view: ops.View | None = None
    choice: Tensor | None = None  # [n] int32, of several people: whom each frame shows

    def __len__(self) -> int:
        return len(self.pose.coefficients)

    def __getitem__(self, frames: slice) -> Stretch:
        pose = ops.Pose(*(value[frames] for value in vars(self.pose).values()))
        view = self.view and ops.View(self.view.rotation[frames], self.view.quaternion[frames])
        return Stretch(pose, view, None if self.choice is None else self.choice[frames])


class FrameGraphs:
    """The graphs of one canvas, made when they are first needed. May be used from several threads."""

    def __init__(
        self, shapes: ops.SplatBlendshapes | ops.StackedBlendshapes, behind: Behind, *, turned: bool = False
    ) -> None:
        """turned: every frame brings a view."""
        self._shapes, self._behind, self._turned = shapes, behind, turned
        self._sizes = batch_sizes(shapes.size)
        self._graphs: dict[tuple[ops.Pixels, int], ops.FrameGraph] = {}
        self._lock = threading.Lock()  # the graphs' inputs and outputs are shared
        self.device = device = shapes.base.device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if self._stream:
            self._stream.wait_stream(torch.cuda.current_stream(device))

    @property
    def at_once(self) -> int:
        """Frames of the largest batch."""
        return self._sizes[-1]

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Everything of one canvas joins one stream, whichever its callers use."""
        stream: AbstractContextManager[Any] = torch.cuda.stream(self._stream) if self._stream else nullcontext()
        with self._lock, stream, torch.no_grad():
            yield

    def begin(self, part: Stretch, pixels: ops.Pixels, readback: Readback, behind: Tensor | None = None) -> Batch:
        """Begin to draw a part of at most `at_once` frames; behind: [n, S, S, 3] uint8 of a film, on the host."""
        with self.joined():
            inputs: dict[str, Any] = {"view": part.view, "choice": part.choice}
            if behind is not None:
                inputs["background"] = upload(behind, self.device)
            batch = Batch(self, self._graph(pixels, len(part)), part, inputs, readback)
            batch.launch()
            return batch

    def again(self, batch: Batch, needed: int) -> None:
        """Draw a batch again, with room for the pairs that it needs."""
        with self.joined():
            batch.graph.grow(needed)
            batch.launch()

    def _graph(self, pixels: ops.Pixels, count: int) -> ops.FrameGraph:
        size = next(size for size in self._sizes if size >= count)
        if (pixels, size) not in self._graphs:
            plate = self._behind.plate
            background = plate.repeat(size, 1, 1, 1) if self._behind.film else plate
            self._graphs[pixels, size] = ops.FrameGraph(
                self._shapes, size, background, pixels=pixels, turned=self._turned
            )
        return self._graphs[pixels, size]


class Batch:
    """Frames that are being drawn."""

    def __init__(
        self, graphs: FrameGraphs, graph: ops.FrameGraph, part: Stretch, inputs: dict[str, Any], readback: Readback
    ) -> None:
        self.graph, self._graphs, self._part, self._inputs, self._readback = graph, graphs, part, inputs, readback
        self._transfer: Transfer
        self._room = 0

    def launch(self) -> None:
        """Start the drawing and the copy to the host; called by the graphs, which see to the order."""
        launched = self.graph.launch(self._part.pose, **self._inputs)
        self._room = launched.room
        self._transfer = self._readback.start(launched)

    def pictures(self) -> np.ndarray:
        """Wait for the frames [n, ...] uint8."""
        if (needed := self._transfer.wait()) > self._room:
            self._graphs.again(self, needed)
            self._transfer.wait()
        return self._transfer.picture


def prepare(graphs: FrameGraphs, renderer: GaussianRenderer, motion: Motion, view: Tensor | None) -> Stretch:
    """A motion's frames, and their views [T, 3, 3], all at once."""
    with graphs.joined():
        values: dict[str, Any] = {name: upload(getattr(motion, name), graphs.device) for name in MOTION_NAMES}
        turn = None if view is None else view_of(upload(view, graphs.device))
        return Stretch(renderer.pose(replace(motion, **values)), turn)


def uses_graphs(renderer: Renderer) -> TypeGuard[GaussianRenderer]:
    """Whether a renderer's frames can come from graphs: not on the CPU, by gsplat, or of another kind."""
    if native.stream(renderer.device) is None or not isinstance(renderer, GaussianRenderer):
        return False
    return renderer.rasterizer == "native"
