"""Frames of many avatars in common batches, for live sessions: each frame shows one avatar, over its own plate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.core.motion_space import Motion
from avatar.play.frame_graphs import Batch, Behind, FrameGraphs, Stretch, uses_graphs
from avatar.play.transfer import Readback, upload
from avatar.provenance.mark import Marker
from avatar.render import open_renderer
from avatar.render.device import DeviceName, pick_device
from avatar.render.features import Scaling
from avatar.render.gaussian import GaussianRenderer
from avatar.render.gaussian.renderer import splat_pose
from avatar.scene.still import resize_plate
from cuda_ext import ops


class BatchedDrawing:
    """Draws frames of many sessions together. One thread at a time; batches may be begun while others are drawn."""

    def __init__(
        self,
        renderers: Sequence[GaussianRenderer],
        plates: Sequence[Tensor],
        enlargement: Sequence[float],
        pixels: ops.Pixels,
    ) -> None:
        """Made by `open_batched_drawing`. plates: [S, S, 3] uint8; enlargement: of the size trained at."""
        device = renderers[0].device
        shapes = ops.stack([one.blendshapes for one in renderers])
        self._graphs = FrameGraphs(shapes, Behind(torch.stack(list(plates)).to(device), film=False))
        self._pixels, self._readback = pixels, Readback(device)
        host = [one.scaling.to(torch.device("cpu")) for one in renderers]  # features of a few frames are made there
        self._rest = torch.stack([one.rest_rotation for one in host])
        self._mean = pad_sequence([one.mean for one in host], batch_first=True)
        self._scale = pad_sequence([one.scale for one in host], batch_first=True, padding_value=1.0)
        self._focal = torch.tensor([one.camera.focal for one in renderers])
        self._torso = torch.tensor([[size, size, 1.0, 1.0] for size in enlargement])

    @property
    def at_once(self) -> int:
        """Frames of the largest batch."""
        return self._graphs.at_once

    def begin(self, motion: Motion, avatars: Sequence[int]) -> list[Batch]:
        """Begin to draw frames, in order; nothing waits. Each batch's `pictures` are [n, ...] uint8, not marked yet.

        motion: frames of all sessions; avatars: whom each of them shows, an index in what the drawing was opened with.
        """
        stretch = self._prepare(motion, torch.tensor(avatars, dtype=torch.int32))
        steps = range(0, len(stretch), self.at_once)
        parts = [stretch[slice(start, start + self.at_once)] for start in steps]
        return [self._graphs.begin(part, self._pixels, self._readback) for part in parts]

    def draw(self, motion: Motion, avatars: Sequence[int], markers: Sequence[Marker]) -> list[np.ndarray]:
        """As `begin`: all frames, waited for, and marked. markers: each frame's, one for all frames of a session."""
        pictures = (picture for batch in self.begin(motion, avatars) for picture in batch.pictures())
        return [marker.add(picture) for marker, picture in zip(markers, pictures, strict=True)]

    def _prepare(self, motion: Motion, choice: Tensor) -> Stretch:
        own = Scaling(*(values.index_select(0, choice) for values in (self._rest, self._mean, self._scale)))
        torso = motion.torso * self._torso.index_select(0, choice)
        scaled = replace(motion, torso=torso)
        pose = splat_pose(scaled, own, self._focal.index_select(0, choice))
        with self._graphs.joined():
            there = ops.Pose(*(upload(value, self._graphs.device) for value in vars(pose).values()))
            return Stretch(there, choice=upload(choice, self._graphs.device))


def open_batched_drawing(
    avatars: Sequence[Avatar], size: int, *, device: DeviceName = "cuda", pixels: ops.Pixels = "nv12"
) -> BatchedDrawing:
    """Open avatars to be drawn together at `size` px.

    Raises: UserError without a GPU, or for an avatar that is not of splats that the native ops draw.
    """
    place, renderers = pick_device(device), []
    for number, avatar in enumerate(avatars):
        renderer = open_renderer(avatar, size)
        renderer.to(place)
        if not uses_graphs(renderer):
            raise UserError(
                f"avatar {number}: frames of many avatars are drawn from splats, by the native ops, on a GPU"
            )
        renderers.append(renderer)
    plates = [resize_plate(avatar.plate, size) for avatar in avatars]
    return BatchedDrawing(renderers, plates, [size / avatar.camera.size for avatar in avatars], pixels)
