"""The light and colour that an avatar is drawn in: what the scene says, for each frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.core.light import DISPLAY
from avatar.core.motion_space import Motion
from avatar.play.framing import Framing
from avatar.play.look import Look
from avatar.play.wrap import Wrap
from avatar.render.base import Renderer
from avatar.render.gaussian import GaussianRenderer
from avatar.render.gaussian.shading import Shading
from avatar.scene.grade import MATCH, Table, check_grade, matching_gain, tone_of
from avatar.scene.light import KEEP, ROOM, Light, open_light
from avatar.scene.scene import Scene
from avatar.scene.surroundings import SECONDS

Recolour = Callable[[Tensor], Tensor]
"""Colours of splats [B, N, 3] -> those that are drawn."""


@dataclass(frozen=True)
class Lit:
    """What all drawings of an avatar in one light share."""

    shading: Shading | None  # None: lit as filmed
    old: Tensor  # [3, 4, 4] the clip's light
    own_tone: Tensor  # [4] of where it was filmed
    scene: Scene
    table: Table | None
    fps: float
    wrap: Wrap | None
    framing: Framing | None


def open_lit(avatar: Avatar, renderer: Renderer, look: Look, fps: float, framing: Framing | None = None) -> Lit | None:
    """The light of a look; None where all is as it was filmed. Raises: UserError."""
    scene = look.scene
    if not scene.lit:
        return None
    table = check_grade(scene.grade)
    if scene.light not in (KEEP, ROOM):
        open_light(scene.light)  # what is wrong with it is said now
    if not isinstance(renderer, GaussianRenderer):
        raise UserError(f"an avatar of kind {avatar.kind} keeps light and colour; build a gaussian one")
    shading, old = None, torch.zeros(3, 4, 4)
    if scene.light != KEEP:
        if avatar.light is None or len(avatar.light.normals) != len(renderer.blendshapes):
            raise UserError("the avatar does not know the light that it was filmed in; build it again from its clip")
        own, old = avatar.style.own.to(renderer.device), avatar.light.matrices
        shading = Shading(avatar.light, renderer.blendshapes, renderer.scaling, own)
    before = scene.grade == MATCH and look.background is not None and not look.transparent
    wrap = Wrap(renderer) if before else None
    return Lit(shading, old, tone_of(avatar.plate), scene, table, fps, wrap, framing)


class Lighting:
    """The light of one sequence of frames."""

    def __init__(self, lit: Lit) -> None:
        self.lit, self._frame = lit, 0
        light = lit.scene.light
        self._light: Light | None = None if light in (KEEP, ROOM) else open_light(light)
        self._tone: Tensor | None = None
        self._seen: Tensor | None = None  # the picture that this tone is of

    def recolour(self, motion: Motion, behind: Sequence[Tensor], view: Tensor | None) -> Recolour:
        """How the splats of the next frames are coloured; behind: [H, W, 3] uint8 of each, or one for all."""
        lit, count = self.lit, len(motion)
        lights, gain = self._next(count, behind)
        tint = None if gain is None else (gain / DISPLAY).exp()[:, None].to(motion.rotation.device)
        if lit.shading is not None:
            tint = lit.shading.tint(motion, lights, gain, view)

        def apply(colours: Tensor) -> Tensor:
            colours = colours if tint is None else colours * tint
            colours = colours if lit.table is None else lit.table(colours)
            if lit.wrap is None:
                return colours
            near = [lit.framing.behind(one) for one in behind] if lit.framing else list(behind)
            return lit.wrap(colours, near * (count // len(near)))

        return apply

    def numbers(self, motion: Motion, behind: Tensor) -> Tensor:
        """The light of the next frame [1] for whoever draws it elsewhere: [63] float32.

        `Shading.change` [20, 3], which is zero where light is as filmed, and log light [3] that is added to all. Tables
        of colours and the background's light at the edge are not in it.
        """
        lights, gain = self._next(1, [behind])
        change = torch.zeros(1, 20, 3)
        if self.lit.shading is not None:
            change = self.lit.shading.change(motion, lights).cpu()
        return torch.cat([change.flatten(), torch.zeros(3) if gain is None else gain.flatten()])

    def _next(self, count: int, behind: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Lights [T, 3, 4, 4] and gains [T, 3] of the next frames; None: those of the clip, and none."""
        lit, lights = self.lit, None
        pictures = list(behind) if len(behind) == count else [behind[0]] * count
        gain = torch.stack([self._gain(picture) for picture in pictures]) if lit.scene.grade == MATCH else None
        if self._light is not None:
            times = [(self._frame + index) / lit.fps for index in range(count)]
            pairs = zip(times, pictures, strict=True)
            lights = torch.stack([self._light.at(time, lit.old, picture, 1 / lit.fps) for time, picture in pairs])
        self._frame += count
        return lights, gain

    def _gain(self, picture: Tensor) -> Tensor:
        if picture is not self._seen:
            share = 1 - math.exp(-1 / (SECONDS * self.lit.fps))
            now = tone_of(picture)
            self._tone = now if self._tone is None else torch.lerp(self._tone, now, share)
            self._seen = picture
        assert self._tone is not None
        return matching_gain(self.lit.own_tone, self._tone)
