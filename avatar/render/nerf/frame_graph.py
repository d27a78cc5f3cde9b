"""Frames of a NeRF avatar on a GPU, each one replay of a CUDA graph: nothing waits, so that the card stays busy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from avatar.core.motion_space import MOTION_NAMES, Motion
from avatar.render.features import EYE_FEATURES, POSE_FEATURES
from avatar.render.nerf.model import FrameInputs, NerfModel
from cuda_ext import ops

DrawPlanes = Callable[[FrameInputs, ops.Room], Tensor]
"""Inputs of a frame, room for its samples -> red, green, blue premultiplied, coverage [4, S, S]."""


class NerfFrameGraph:
    """Draws frame after frame of a model with room for their samples.

    A frame that needs more room than there is loses the samples at the end of its longest rays, which mostly lie behind
    skin; the next frames have more.
    """

    def __init__(self, model: NerfModel, draw: DrawPlanes, room: ops.Room) -> None:
        features, device = len(model.scaling.mean), model.device
        modes = features - EYE_FEATURES - POSE_FEATURES
        pose = [(modes,), (EYE_FEATURES,), (3, 3), (3,), (4,)]  # MOTION_NAMES
        self._shapes = [*pose, (features,), (3, 3)]
        self._widths = [torch.Size(shape).numel() for shape in self._shapes]
        self._model, self._draw, self._room = model, draw, room
        self._row = torch.zeros(sum(self._widths), device=device)  # the frame to draw
        self._needed = torch.zeros(1, dtype=torch.int64, pin_memory=device.type == "cuda")  # as known on the host
        self._replay: Callable[[], Tensor] | None = None

    def __call__(self, motion: Motion, features: Tensor, views: Tensor) -> Tensor:
        """Frames of a placed motion [B], with features [B, D] and views [B, 3, 3], as planes [B, 4, S, S]."""
        parts = [*(getattr(motion, name) for name in MOTION_NAMES), features, views]
        rows, size = torch.cat([part.flatten(1) for part in parts], 1), self._model.camera.size
        planes = torch.empty(len(rows), 4, size, size, device=rows.device)
        if self._replay is None or self._room.resize(int(self._needed)):
            self._row.copy_(rows[0])
            self._replay = self._capture()
        for row, drawn in zip(rows, planes, strict=True):
            self._row.copy_(row)
            drawn.copy_(self._replay())
        self._needed.copy_(self._room.needed, non_blocking=True)
        return planes

    def _capture(self) -> Callable[[], Tensor]:
        """What draws the frame at hand into the same planes again and again."""
        fits = False
        while not fits:
            self._draw_row()
            self._needed.copy_(self._room.needed)
            fits = not self._room.resize(int(self._needed))
        if self._model.device.type != "cuda":
            return self._draw_row
        before, stream = torch.cuda.current_stream(), torch.cuda.Stream()
        stream.wait_stream(before)
        with torch.cuda.stream(stream):  # so that everything that is made on first use exists
            self._draw_row()
        before.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            planes = self._draw_row()

        def replay() -> Tensor:
            graph.replay()
            return planes

        return replay

    def _draw_row(self) -> Tensor:
        parts = [part.view(shape) for part, shape in zip(self._row.split(self._widths), self._shapes, strict=True)]
        *pose, features, view = parts
        expression, eyes, rotation, translation, torso = (part[None] for part in pose)
        motion = Motion(expression, eyes, rotation, translation, torso, fps=25.0)  # of one frame: any rate
        return self._draw(FrameInputs(motion, features, self._model.values["light"].mean(0), view), self._room)
