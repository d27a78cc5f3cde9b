"""A radiance field of the head, a picture field of the torso: the second renderer."""

from __future__ import annotations

from avatar.render.nerf.renderer import KIND, NerfRenderer
from avatar.render.nerf.settings import NerfSettings

__all__ = ["KIND", "NerfRenderer", "NerfSettings"]
