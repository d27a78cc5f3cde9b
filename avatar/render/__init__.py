"""Motion -> pictures. To add a renderer, write its file and name it in RENDERERS; in kinds.py, too, to train it.

Importing this loads what draws and nothing that trains.
"""

from __future__ import annotations

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.core.recipe import Settings, parse, yaml_values
from avatar.render import gaussian, nerf
from avatar.render.base import Renderer, RendererKind
from avatar.render.features import EYE_FEATURES, POSE_FEATURES

RENDERERS: dict[str, RendererKind] = {"gaussian": gaussian.KIND, "nerf": nerf.KIND}


def renderer_kind(name: str) -> RendererKind:
    """The kind of a name. Raises: UserError that lists the names."""
    if name not in RENDERERS:
        raise UserError(f"renderer '{name}' is unknown; choose one of {', '.join(RENDERERS)}")
    return RENDERERS[name]


def open_renderer(avatar: Avatar, size: int | None = None) -> Renderer:
    """The renderer of an avatar, ready to draw pictures of `size` px a side (default: as it was trained) on the CPU.

    Raises: UserError when its kind or its settings are not known, or its tensors are of another version.
    """
    try:
        return _open_renderer(avatar, size)
    except UserError as error:
        if not avatar.file:
            raise
        raise UserError(f"{avatar.file}: {error}") from error


def _open_renderer(avatar: Avatar, size: int | None) -> Renderer:
    kind, features = renderer_kind(avatar.kind), len(avatar.speech.mean) + EYE_FEATURES + POSE_FEATURES
    shapes = [(features + more,) for more in kind.more_features]
    if "feature_mean" not in avatar.renderer or avatar.renderer["feature_mean"].shape not in shapes:
        raise UserError(f"the avatar's feature_mean is not of {features} values, as its motion is; build it again")
    camera = avatar.camera.scaled(size) if size else avatar.camera
    return kind.load(avatar.renderer, camera, recipe_settings(avatar, kind))


def recipe_settings(avatar: Avatar, kind: RendererKind) -> Settings:
    """The renderer's settings in the recipe that an avatar was built with.

    Keys that this version does not know are left out: an avatar outlives the settings that only mattered in training.
    Raises: UserError when a value is not valid.
    """
    section = yaml_values(avatar.recipe).get("renderer")
    values = section if isinstance(section, dict) else {}
    known = {name: value for name, value in values.items() if name in kind.settings.model_fields}
    return parse(kind.settings, known, "the avatar's recipe, renderer")
