"""Frames of several live sessions of an avatar, drawn in one go; each in a scene, with mark and label of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.core.label import Label
from avatar.core.motion_space import Motion, concatenate, scale_torso
from avatar.core.named_files import GRADES, is_light_name
from avatar.core.threads import torch_threads
from avatar.play.composite import PAINT, picture_nv12
from avatar.play.draw import Canvas, open_film, open_marker
from avatar.play.label import Labeller
from avatar.play.lighting import Lighting, Lit, Recolour, open_lit
from avatar.provenance.mark import Marker
from avatar.render.gaussian import GaussianRenderer

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Setting:
    """What a session shows its avatar in."""

    colour: Colour | None = None  # behind the person, in place of what all sessions have there
    light: str | None = None  # of `NAMED_LIGHTS`; None: as all sessions
    grade: str | None = None  # `match` or `none`; None: as all sessions


@dataclass
class View:
    """How one session's frames are drawn and finished."""

    setting: Setting
    plate: Tensor | None  # [H, W, 3] uint8, of a colour of its own
    lighting: Lighting | None
    marker: Marker | None
    labeller: Labeller | None

    def finish(self, frame: np.ndarray) -> np.ndarray:
        """The frame with mark and label."""
        frame = self.marker.add(frame) if self.marker else frame
        return self.labeller.add(frame) if self.labeller else frame


class SharedDrawing:
    """Draws the live sessions of one avatar on its canvas. Frames by one thread at a time; views from any."""

    def __init__(self, avatar: Avatar, canvas: Canvas) -> None:
        """Raises: UserError for a canvas whose frames are not drawn live."""
        look = canvas.look
        if canvas.stage or look.transparent or look.orbit:
            raise UserError(
                "live frames are pictures over one background; leave full frames, transparency and orbits out"
            )
        self.canvas = canvas
        self._avatar, self._film = avatar, open_film(canvas)
        self._lits: dict[tuple[str, str, bool], Lit | None] = {}
        self._converted: tuple[Tensor, Tensor] | None = None  # the last picture behind, and that as NV12
        self._lit(Setting())  # what is wrong with the light is said now

    def open_view(self, *, mark: int | None, label: Label, setting: Setting | None = None) -> View:
        """A view for a session. Raises: UserError, as `change`."""
        labeller = None if label.kind == "none" else Labeller(label, *self.canvas.shape, self.canvas.fps)
        marker = None if mark is None else open_marker(self.canvas, mark)
        view = View(Setting(), None, None, marker, labeller)
        self.change(view, setting or Setting())
        return view

    def change(self, view: View, setting: Setting) -> None:
        """Show a session's next frames in another setting.

        Raises: UserError for a light or grade that is a file, which whoever watches may not name, or that it lacks.
        """
        if setting.light is not None and not is_light_name(setting.light):
            raise UserError(f"light '{setting.light}': is no name of a light")
        if setting.grade is not None and setting.grade not in GRADES:
            raise UserError(f"grade '{setting.grade}': is none of {', '.join(GRADES)}")
        plate, lit = self._plate(setting.colour), self._lit(setting)
        if view.lighting is None or view.lighting.lit is not lit:
            view.lighting = Lighting(lit) if lit else None
        view.setting, view.plate = setting, plate

    def _plate(self, colour: Colour | None) -> Tensor | None:
        if colour is None:
            return None
        plate = torch.tensor(colour, dtype=torch.uint8).expand(*self.canvas.shape, 3).contiguous()
        return plate.to(self.canvas.device)

    def _lit(self, setting: Setting) -> Lit | None:
        """The light of a setting; what takes long to open is kept."""
        canvas, look = self.canvas, self.canvas.look
        light, grade = setting.light or look.scene.light, setting.grade or look.scene.grade
        key = (light, grade, setting.colour is not None)
        if key not in self._lits:
            background = look.background if setting.colour is None else "#{:02x}{:02x}{:02x}".format(*setting.colour)
            scene = replace(look.scene, light=light, grade=grade)
            wanted = replace(look, background=background, scene=scene)
            self._lits[key] = open_lit(self._avatar, canvas.renderer, wanted, canvas.fps, canvas.framing)
        return self._lits[key]

    def draw(self, motions: Sequence[Motion], views: Sequence[View]) -> list[np.ndarray]:
        """One frame [3 H / 2, W] uint8, NV12, of each motion, without mark and label: `View.finish` adds them.

        All see the same picture of a film: the next one.
        """
        canvas = self.canvas
        scaled = scale_torso(concatenate(list(motions)), canvas.size / canvas.trained_size)
        with canvas.lock, torch_threads(1), torch.inference_mode():
            common = next(self._film).to(canvas.device) if self._film else canvas.behind.plate
            behind = [common if view.plate is None else view.plate for view in views]
            rgb, alpha = self._render(scaled, views, behind)
            frames = [slice(index, index + 1) for index in range(len(views))]
            painted = [self._paint(rgb[one], alpha[one], plate) for one, plate in zip(frames, behind, strict=True)]
            return [picture[0].cpu().numpy() for picture in painted]

    def light_numbers(self, motion: Motion, view: View) -> np.ndarray | None:
        """`Lighting.numbers` of a frame [1] that a session's client draws; None where it is as filmed."""
        if view.lighting is None:
            return None
        with torch_threads(1), torch.inference_mode():
            behind = self.canvas.behind.plate if view.plate is None else view.plate
            return view.lighting.numbers(motion.to(self.canvas.device), behind).numpy()

    def _render(self, motion: Motion, views: Sequence[View], behind: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        renderer, frames = self.canvas.renderer, range(len(motion))
        lightings = [view.lighting for view in views]
        if not any(lightings) or not isinstance(renderer, GaussianRenderer):
            return renderer.render(motion, frames)
        there = motion.to(self.canvas.device)
        parts = [
            one.recolour(there[index : index + 1], [behind[index]], None) if one else _as_filmed
            for index, one in enumerate(lightings)
        ]
        return renderer.render(motion, frames, None, _each(parts))

    def _paint(self, rgb: Tensor, alpha: Tensor, plate: Tensor) -> Tensor:
        """A frame [1, 3 H / 2, W] uint8, NV12, of a square [1, ...] as it is drawn."""
        framing = self.canvas.framing
        if framing is None:
            return PAINT["nv12"](rgb, alpha, plate)
        if self._converted is None or self._converted[0] is not plate:
            self._converted = plate, picture_nv12(plate)
        return framing.paint_nv12(rgb, alpha, plate, self._converted[1])[None]


def _as_filmed(colours: Tensor) -> Tensor:
    return colours


def _each(parts: Sequence[Recolour]) -> Callable[[Tensor], Tensor]:
    """Colours [B, N, 3] of splats, each frame's by a function of its own."""
    return lambda colours: torch.cat([part(colours[at : at + 1]) for at, part in enumerate(parts)])
