"""The person of an avatar, drawn at any size; and how far they reach in their square."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.core.motion_space import Motion, scale_torso
from avatar.core.threads import torch_threads
from avatar.play.lighting import Lighting, Lit, open_lit
from avatar.play.look import Look
from avatar.presenter.behind import Behind
from avatar.presenter.layouts import Shape
from avatar.render import open_renderer
from avatar.render.base import Renderer
from avatar.render.device import DeviceName, pick_device
from avatar.render.gaussian import GaussianRenderer
from avatar.scene.light import changes

KEPT = 3  # renderers of different sizes
SEEN = 24  # frames of the person's own motion that say how far they reach
COARSE = 96  # px of the picture by which that is measured
CUT, STANDS = 0.04, 0.25  # of an edge of the square: where a cut-out person may reach its sides; must reach its bottom
LEAST, MOST = 32, 2048  # px a side of what is drawn; larger squares are scaled


class Person:
    """Draws one person, without what is behind them."""

    def __init__(
        self, avatar: Avatar, look: Look | None = None, behind: Behind | None = None, device: DeviceName = "auto"
    ) -> None:
        """look: light and colours; behind: what they may follow. Raises: UserError when there is no such device."""
        self._avatar, self._device = avatar, pick_device(device)
        self._look, self._behind = look or Look(), behind
        self._opened: OrderedDict[int, tuple[Renderer, Lit | None]] = OrderedDict()
        if changes(self._look.scene.light):
            raise UserError(
                f"--light {self._look.scene.light}: changes over time, which goes with speak; give one light"
            )

    def draw(self, motion: Motion, size: int) -> tuple[Tensor, Tensor]:
        """Frames [B] of a motion: rgb [B, 3, S, S], premultiplied 0..1, and alpha [B, 1, S, S], on the processor."""
        drawn = min(MOST, max(LEAST, size))
        renderer, lit = self._open(drawn)
        scaled = scale_torso(motion, drawn / self._avatar.camera.size)
        with torch_threads(1), torch.inference_mode():
            rgb, alpha = (part.cpu() for part in self._render(renderer, lit, scaled, drawn))
            if drawn != size:
                rgb, alpha = (functional.interpolate(part, (size, size), mode="bilinear") for part in (rgb, alpha))
        return rgb, alpha

    def _render(self, renderer: Renderer, lit: Lit | None, motion: Motion, size: int) -> tuple[Tensor, Tensor]:
        frames = range(len(motion))
        if lit is None or self._behind is None or not isinstance(renderer, GaussianRenderer):
            return renderer.render(motion, frames)
        # a lighting of its own each time, so that frames depend on nothing before them
        recolour = Lighting(lit).recolour(motion.to(self._device), [self._behind.panel(size)], None)
        return renderer.render(motion, frames, None, recolour)

    def _open(self, size: int) -> tuple[Renderer, Lit | None]:
        if size not in self._opened:
            renderer = open_renderer(self._avatar, size)
            renderer.to(self._device)
            self._opened[size] = renderer, open_lit(self._avatar, renderer, self._look, self._avatar.fps)
            while len(self._opened) > KEPT:
                self._opened.popitem(last=False)
        self._opened.move_to_end(size)
        return self._opened[size]

    def silhouette(self) -> np.ndarray:
        """Where the person is seen in their square in any frame of their own motion, [n, n] bool."""
        own = self._avatar.style.own
        chosen = torch.linspace(0, len(own) - 1, min(SEEN, len(own))).round().long()
        _, alpha = self.draw(own[chosen], COARSE)
        return np.asarray(alpha.amax((0, 1)).numpy() > 0.1)


def is_cut(silhouette: np.ndarray) -> bool:
    """Whether a person's shoulders end at the sides of the square."""
    return max(float(silhouette[:, column].mean()) for column in (1, -2)) > CUT


def natural_shape(silhouette: np.ndarray) -> Shape:
    """`cutout` for a person who ends inside the square's sides and stands on its bottom edge; else `circle`."""
    stands = float(silhouette[-2].mean()) >= STANDS
    return "cutout" if stands and not is_cut(silhouette) else "circle"
