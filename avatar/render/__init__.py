"""Motion -> pictures. To add a renderer, write its file and name it in RENDERERS."""

from __future__ import annotations

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.render import gaussian, nerf
from avatar.render.base import Renderer, RendererKind

RENDERERS: dict[str, RendererKind] = {"gaussian": gaussian.KIND, "nerf": nerf.KIND}


def renderer_kind(name: str) -> RendererKind:
    """The kind of a name. Raises: UserError that lists the names."""
    if name not in RENDERERS:
        raise UserError(f"renderer '{name}' is unknown; choose one of {', '.join(RENDERERS)}")
    return RENDERERS[name]


def open_renderer(avatar: Avatar, size: int | None = None) -> Renderer:
    """The renderer of an avatar, ready to draw pictures of `size` px a side (default: as it was trained)."""
    camera = avatar.camera.scaled(size) if size else avatar.camera
    return renderer_kind(avatar.kind).load(avatar.renderer, camera)
