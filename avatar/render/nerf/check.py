"""Whether the tensors of a NeRF avatar are those that its settings say, before any is used."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from avatar.core.files import UserError
from avatar.render.features import EYE_FEATURES, POSE_FEATURES
from avatar.render.nerf.field import AMBIENT_ENTRIES, AMBIENT_LEVELS, head_shapes
from avatar.render.nerf.settings import NerfSettings
from avatar.render.nerf.torso import torso_shapes
from avatar.render.nerf.upscale import UPSCALE_SHAPES
from cuda_ext.shapes import check_shapes

MASKS = ("occupancy", "hull", "torso_mask")


def check_tensors(tensors: dict[str, Tensor], settings: NerfSettings) -> None:
    """Raise UserError, naming it, for a tensor of an avatar file that is missing or of another shape or kind."""
    try:
        if settings.lora_rank:
            raise ValueError("lora_rank is not 0, as it is in avatar files")
        features = check_shapes("field", {"feature_mean": (tensors["feature_mean"], "D")})["D"]
        if features <= EYE_FEATURES + POSE_FEATURES:
            raise ValueError(f"field.feature_mean has {features} values, expected more")
        shapes = _shapes(settings, features)
        check_shapes("field", {name: (tensors[name], shape) for name, shape in shapes.items()})
        for name in shapes:
            if tensors[name].dtype != torch.uint8 if name in MASKS else not tensors[name].is_floating_point():
                raise TypeError(f"field.{name} is {tensors[name].dtype}")
        if not tensors["torso_mask"].numel() or not len(tensors["light"]):
            raise ValueError("field: torso_mask or light is empty")
        if not bool((tensors["feature_scale"] > 0).all()):
            raise ValueError("field.feature_scale is not above 0")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the avatar's radiance field does not fit together ({error}); build it again") from error


def _shapes(settings: NerfSettings, features: int) -> dict[str, str]:
    """Patterns of all tensors, as `check_shapes` takes them; features: of a frame."""
    planes, side = (3 if settings.encoding == "triplane" else 1), settings.occupancy
    shapes = {
        "head.tables": f"{planes} {settings.levels} {2**settings.log2_entries} 2",
        "torso.tables": f"1 {settings.torso_levels} {2**settings.torso_log2_entries} 2",
        "light": f"F {settings.appearance}",
        "occupancy": f"{side} {side} {side}",
        "hull": f"{side} {side} {side}",
        "torso_mask": "H W",
        "rest_rotation": "3 3",
        "rest_translation": "3",
        "feature_mean": "D",
        "feature_scale": "D",
        "neutral": "478 3",
    }
    if settings.conditioning == "ambient":
        shapes["head.ambient_tables"] = f"1 {AMBIENT_LEVELS} {AMBIENT_ENTRIES} 2"
    for name, widths in (head_shapes(settings, features) | torso_shapes(settings)).items():
        shapes[name] = str(sum(a * b for a, b in itertools.pairwise(widths)))
    if settings.upscale > 1:
        shapes |= {name: " ".join(map(str, shape)) for name, shape in UPSCALE_SHAPES.items()}
    return shapes
