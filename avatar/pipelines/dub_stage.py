"""Faces drawn in a clip's frames, in the frames' own pixels, and frames with another mouth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.core.geometry import eye_distance, project, to_camera
from avatar.core.media import read_order
from avatar.core.motion_space import Motion, load_space
from avatar.core.take import Take, read_track
from avatar.pipelines.dub_plan import Footage, Plan, usable_frames
from avatar.render import open_renderer
from avatar.render.device import DeviceName, pick_device
from avatar.render.gaussian import GaussianRenderer
from cuda_ext import ops
from preprocess.dub import SHRINK, Faces, around, box_of, covering, mask, measure_tone, over, patch, place
from preprocess.nv12 import Box, put, rgb_of, size_of

SURVEYED = 12  # frames of the footage that are drawn before anything is written: is it this person, what is usual
COVERED = 4.0  # times the usual difference of filmed and drawn: something is before the mouth
ANOTHER_PERSON = 40.0  # grey levels of that difference on most frames: of the own person 4 to 26, of others 43 to 211

Array = np.ndarray


class Stage:
    """Draws an avatar's faces in the frames of a clip of the same person."""

    def __init__(self, avatar: Avatar, take: Take, device: DeviceName = "auto") -> None:
        """Raises: UserError when the avatar or the Take cannot be used, or there is no such device."""
        self.take, self._camera, track = take, avatar.camera, read_track(take)
        self._renderer = open_renderer(avatar)
        self._renderer.to(pick_device(device))
        self._neutral, self._basis = track.neutral, load_space().basis
        self._eye = float(eye_distance(track.landmarks).median()) * take.crop[2] / take.camera.size

    def faces(self, own: Motion, new: Motion, index: int) -> Faces:
        """The two faces of a frame, in px of the footage."""
        left, top, side = self.take.crop
        corner = np.array([left, top])
        pose, scale = (own.rotation[index], own.translation[index]), side / self._camera.size
        meshes = [to_camera(self._mesh(one.expression[index]), *pose) for one in (own, new)]
        filmed, asked = (project(mesh, self._camera).numpy() * scale + corner for mesh in meshes)
        return Faces(filmed, asked, self._eye)

    @torch.inference_mode()
    def draw(self, motion: Motion, index: int, box: Box, shrink: int = 1) -> Array:
        """A frame's person [4, h, w] float32 0..1, premultiplied, in a box of the footage, so many times smaller.

        Splats are drawn there alone, on the footage's own pixels; other renderers draw all, which is then moved there.
        """
        left, top, side = self.take.crop
        height, width = box.smaller(shrink).shape
        if isinstance(self._renderer, GaussianRenderer):
            corner = (box.left - left) / shrink, (box.top - top) / shrink
            part = ops.Part(side / shrink, *corner, low_pass=ops.LOW_PASS / shrink**2)  # as bright as at full size
            planes = self._renderer.render_part(motion, index, part, max(height, width))
            return torch.cat(planes, 1)[0, :, :height, :width].contiguous().cpu().numpy()
        planes = self._renderer.render(motion, range(index, index + 1))
        picture = torch.cat(planes, 1)[0].cpu().numpy()
        return place(picture, (left / shrink, top / shrink, side / shrink), box.smaller(shrink))

    def _mesh(self, expression: Tensor) -> Tensor:
        return self._neutral + torch.einsum("k,kvc->vc", expression, self._basis)


def survey(stage: Stage, footage: Footage) -> float:
    """What the drawn face usually differs by from the filmed one, grey levels. Raises: UserError for another person."""
    video, take = footage.video, footage.take
    usable = usable_frames(take).nonzero().flatten()
    if not len(usable):
        raise UserError(f"{video}: there is no frame in which a mouth could be replaced; see {take.root}/report.html")
    chosen = usable[torch.linspace(0, len(usable) - 1, min(SURVEYED, len(usable))).round().long()]
    motion, found = footage.tracked[chosen], list[float]()
    filmed = read_order(video, chosen.tolist(), fps=take.fps, start=footage.start)
    for index, frame in enumerate(filmed):
        faces = stage.faces(motion, motion, index)
        box = around(faces, size_of(frame))
        if not box.empty:
            found.append(covering(*_both(stage, frame, motion, index, box), faces, box))
    usual = float(np.median(found)) if found else 0.0
    if usual > ANOTHER_PERSON:
        raise UserError(
            f"{video}: does not show the avatar's person, or in quite another light; build an avatar from it instead"
        )
    return usual


def _both(stage: Stage, frame: Array, own: Motion, index: int, box: Box) -> tuple[Array, Array]:
    """A box of a frame as it was filmed and as it is drawn, smaller."""
    filmed = rgb_of(frame, box, SHRINK)
    return filmed, over(stage.draw(own, index, box, SHRINK), filmed)


class MouthReplacer:
    """Draws the frames of a plan, one after the other."""

    def __init__(self, stage: Stage, plan: Plan, usual: float) -> None:
        """usual: of `survey`."""
        self._stage, self._plan, self._usual = stage, plan, usual
        self.left, self._reasons = 0, set[str]()

    @property
    def why(self) -> str:
        """Why frames were left as they were filmed."""
        return "; ".join(sorted(self._reasons))

    def draw(self, filmed: Iterator[Array]) -> Iterator[Array]:
        """The film's frames, NV12 [3 H / 2, W] uint8, for those of the footage."""
        for index, frame in enumerate(filmed):
            yield self._dub(frame, index)

    def _dub(self, frame: Array, index: int) -> Array:
        weight, plan, stage = float(self._plan.weight[index]), self._plan, self._stage
        if weight == 0:
            reason = "no face, or something before the mouth"
            return self._leave(frame, reason) if plan.impossible[index] else frame
        faces = stage.faces(plan.own, plan.new, index)
        box, surrounds = box_of(faces, size_of(frame)), around(faces, size_of(frame))
        if box.empty or surrounds.empty:
            return self._leave(frame, "the face is out of the picture")
        both = _both(stage, frame, plan.own, index, surrounds)
        if covering(*both, faces, surrounds) > COVERED * max(self._usual, 1.0):
            return self._leave(frame, "something before the mouth")
        part = rgb_of(frame, box)
        new = over(stage.draw(plan.new, index, box), part)
        result = frame.copy()
        put(result, box, patch(part, new, measure_tone(*both, faces, surrounds), faces, box), weight * mask(faces, box))
        return result

    def _leave(self, frame: Array, reason: str) -> Array:
        self.left += 1
        self._reasons.add(reason)
        return frame
