"""Splat blendshapes: the first renderer."""

from __future__ import annotations

from avatar.render.gaussian.renderer import KIND, GaussianRenderer
from avatar.render.gaussian.settings import GaussianSettings

__all__ = ["KIND", "GaussianRenderer", "GaussianSettings"]
