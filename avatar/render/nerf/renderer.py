"""The NeRF avatar: rays of the head's box through a field that is static apart from what the face does."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.geometry import Camera
from avatar.core.motion_space import Motion
from avatar.render.base import RendererKind
from avatar.render.features import EYE_FEATURES, POSE_FEATURES
from avatar.render.nerf.check import check_tensors
from avatar.render.nerf.frame_graph import NerfFrameGraph
from avatar.render.nerf.model import (
    FrameInputs,
    RayBatch,
    draw_frame,
    draw_rays,
    frame_field,
    frame_rays,
    frame_samples,
    open_model,
    place_motion,
    positions_at_rest,
    sample_room,
)
from avatar.render.nerf.occupancy import cell_of
from avatar.render.nerf.rays import Box, Rays
from avatar.render.nerf.settings import NerfSettings, unpack_settings
from avatar.render.nerf.volume import Field, composite, composite_early
from cuda_ext import ops

OPAQUE = 1 - 1 / 512  # of the head: what shines through is less than half a grey level


class NerfRenderer:
    """Draws a person from the radiance field of an avatar file."""

    def __init__(self, tensors: dict[str, Tensor], camera: Camera, settings: NerfSettings | None = None) -> None:
        """settings: default: those in the tensors. Raises: UserError when they are of another version."""
        self.camera, self._tensors = camera, tensors
        self.settings = settings or unpack_settings(tensors["settings"])
        self._batch = RayBatch(self.settings.rays_at_once)
        self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        """Draw on another device, by our own ops where it cannot run the backend that the settings name."""
        self.device = device
        self._model = open_model(self._tensors, self.camera, self.settings, device)
        room = sample_room(self._model)
        self._graph = NerfFrameGraph(self._model, self._draw_in, room) if room else None

    @property
    def box(self) -> Box:
        """All that is filled of the head lies within it; head frame."""
        return self._model.filled

    @torch.no_grad()
    def render(self, motion: Motion, frames: range, view: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw frames of a motion: rgb [B, 3, S, S] premultiplied 0..1, alpha [B, 1, S, S]."""
        if self._graph:
            placed, features = place_motion(self._model, motion[slice(frames.start, frames.stop)])
            straight = torch.eye(3, device=self.device).expand(len(placed), 3, 3)
            planes = self._graph(placed, features, straight if view is None else view.to(self.device))
            return planes[:, :3], planes[:, 3:]
        inputs = self._inputs(motion, frames, view)
        pictures = [draw_frame(self._model, one, self._batch, self._shade, opaque=OPAQUE) for one in inputs]
        rgb, alpha = (torch.stack(planes) for planes in zip(*pictures, strict=True))
        return rgb, alpha

    @torch.no_grad()
    def depth(self, motion: Motion, frame: int) -> Tensor:
        """Distance [S, S] of the head from the camera plane in cm; 0 where less than half of a ray meets it.

        S is half the picture's side where a network enlarges it.
        """
        (inputs,) = self._inputs(motion, range(frame, frame + 1))
        rays, size = frame_rays(self._model, inputs), self._model.ray_camera.size
        drawn = draw_rays(rays, frame_field(self._model, inputs), inputs.motion, self._batch, self._shade)
        picture = torch.zeros(size**2, device=self.device)
        seen = torch.where(drawn.alpha > 0.5, drawn.depth / drawn.alpha.clamp_min(1e-3), 0)
        return picture.index_copy(0, rays.pixels, seen).view(size, size)

    @torch.no_grad()
    def sample(self, points: Tensor, motion: Motion, frame: int) -> tuple[Tensor, Tensor]:
        """Density [P] per cm and colour [P, 3] at head-frame points [P, 3] cm in a frame, seen from the front."""
        (inputs,), occupancy = self._inputs(motion, range(frame, frame + 1)), self._model.state["occupancy"]
        unit = self._model.box.to_unit(points.to(self.device))
        filled = (occupancy.view(-1)[cell_of(unit, len(occupancy))] > 0) & ((unit >= 0) & (unit < 1)).all(1)
        positions, warp_features = positions_at_rest(self._model, unit[filled], inputs.motion)
        ahead = torch.tensor([0.0, 0, 1], device=self.device).expand(len(positions), 3)
        density, color = torch.zeros(len(unit), device=self.device), torch.zeros(len(unit), 3, device=self.device)
        density[filled], color[filled] = frame_field(self._model, inputs)(positions, warp_features, ahead)
        return density, color

    def at_rest(self) -> Motion:
        """One frame of the person at rest, with the mean of all expressions."""
        mean, state = self._model.scaling.mean, self._model.state
        modes = len(mean) - POSE_FEATURES - EYE_FEATURES
        pose = state["rest_rotation"][None], state["rest_translation"][None]
        eyes = mean[modes : modes + EYE_FEATURES]
        return Motion(mean[None, :modes], eyes[None], *pose, torch.zeros(1, 4, device=self.device), 25.0)

    def _inputs(self, motion: Motion, frames: range, view: Tensor | None = None) -> list[FrameInputs]:
        """Frames with the mean appearance of all training frames."""
        part, features = place_motion(self._model, motion[slice(frames.start, frames.stop)])
        appearance = self._model.values["light"].mean(0)
        views = [None] * len(part) if view is None else list(view.to(self.device))
        return [
            FrameInputs(part[index : index + 1], features[index], appearance, views[index])
            for index in range(len(part))
        ]

    def _draw_in(self, inputs: FrameInputs, room: ops.Room) -> Tensor:
        """One frame as planes [4, S, S], its samples in a room; all are evaluated, without early termination."""

        def shade(rays: Rays, field: Field, motion: Motion) -> tuple[Tensor, Tensor]:
            return composite(frame_samples(self._model, rays, motion, room=room), field, self.settings.step_cm)

        return torch.cat(draw_frame(self._model, inputs, self._batch, shade, opaque=OPAQUE, room=room))

    def _shade(self, rays: Rays, field: Field, motion: Motion) -> tuple[Tensor, Tensor]:
        samples = frame_samples(self._model, rays, motion)
        return composite_early(samples, field, self.settings.step_cm, self.settings.stop)


def load(tensors: dict[str, Tensor], camera: Camera, settings: NerfSettings) -> NerfRenderer:
    """A renderer from the tensors of an avatar file, drawn at the camera's size. Raises: UserError."""
    del settings  # the tensors bring those they were packed with, which differ where a generic field was begun with
    if "settings" not in tensors:
        raise UserError("the avatar's radiance field has no settings; build it again")
    check_tensors(tensors, unpack_settings(tensors["settings"]))
    return NerfRenderer(tensors, camera)


KIND = RendererKind(NerfSettings, load)
