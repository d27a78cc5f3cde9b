"""Frames of several live sessions of an avatar, drawn in one go; each with a background, mark and label of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.core.motion_space import Motion, concatenate, scale_torso
from avatar.core.threads import torch_threads
from avatar.play.composite import PAINT
from avatar.play.draw import Canvas, open_marker
from avatar.play.label import Labeller
from avatar.provenance.mark import Marker

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class View:
    """How one session's frames are finished."""

    plate: Tensor  # [S, S, 3] uint8 on the canvas's device
    marker: Marker | None
    labeller: Labeller | None

    def finish(self, frame: np.ndarray) -> np.ndarray:
        """The frame with mark and label."""
        frame = self.marker.add(frame) if self.marker else frame
        return self.labeller.add(frame) if self.labeller else frame


def open_view(canvas: Canvas, *, mark: int | None, label: Label, background: Colour | None = None) -> View:
    """A view of a canvas; background: red, green and blue, 0..255, in place of the canvas's own plate."""
    plate = canvas.behind.plate
    if background is not None:
        plate = torch.tensor(background, dtype=torch.uint8).expand_as(plate).contiguous().to(canvas.device)
    labeller = None if label.kind == "none" else Labeller(label, *canvas.shape, canvas.fps)
    return View(plate, None if mark is None else open_marker(canvas, mark), labeller)


def check_live(canvas: Canvas) -> None:
    """Raise UserError for a canvas whose frames are not drawn live."""
    look = canvas.look
    if canvas.stage or canvas.behind.film or look.transparent or look.orbit or canvas.framing or canvas.lit:
        raise UserError(
            "live frames are square pictures over one background, lit as filmed; leave full frames, films, orbits, "
            "places and lights out"
        )


def draw_together(canvas: Canvas, motions: Sequence[Motion], views: Sequence[View]) -> list[np.ndarray]:
    """One frame [3 S / 2, S] uint8, NV12, of each motion, without mark and label: `View.finish` adds them."""
    motion, paint = concatenate(list(motions)), PAINT["nv12"]
    scaled = scale_torso(motion, canvas.size / canvas.trained_size)
    with canvas.lock, torch_threads(1), torch.inference_mode():
        rgb, alpha = canvas.renderer.render(scaled, range(len(motion)))
        single = [slice(index, index + 1) for index in range(len(views))]
        painted = [paint(rgb[one], alpha[one], view.plate) for one, view in zip(single, views, strict=True)]
        return [picture[0].cpu().numpy() for picture in painted]
