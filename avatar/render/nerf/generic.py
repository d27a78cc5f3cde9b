"""The generic field of many people: what `avatar pretrain-renderer` makes, and what one person's begins with.

All share the networks; each person has hash tables of their own. A new person begins with the mean of all tables, and
changes the motion branch by low-rank factors only (after Ye et al. 2024, MimicTalk).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from avatar.core.files import UserError, check_readable, open_tensors, whole
from avatar.render.features import POSE_FEATURES
from avatar.render.nerf.field import Values
from avatar.render.nerf.settings import NerfSettings, pack_settings, unpack_settings

FORMAT = "generic-nerf/1"
TABLES = "head.tables"
MOTION_BRANCH = ("head.code", "head.ambient", "head.attention")  # networks; adapted by low-rank factors
STRUCTURE = (
    *("encoding", "conditioning", "warp", "levels", "log2_entries", "coarsest", "finest", "width", "code", "ambient"),
    "appearance",
)


@dataclass(frozen=True)
class Generic:
    """A generic head."""

    values: Values  # head.*
    feature_mean: Tensor  # [K + 4] of expression and eyes, over all people
    feature_scale: Tensor
    settings: NerfSettings

    def shape(self, settings: NerfSettings) -> NerfSettings:
        """Settings with those replaced that say how the generic tensors are read."""
        return settings.model_copy(update={name: getattr(self.settings, name) for name in STRUCTURE})


def is_shared(name: str) -> bool:
    """Whether all people share a tensor of the head."""
    return name.startswith("head.") and name != TABLES


def save_generic(generic: Generic, path: Path, notes: dict[str, str]) -> None:
    """Write a generic field as safetensors, with notes on what it was trained on."""
    tensors = generic.values | {"feature_mean": generic.feature_mean, "feature_scale": generic.feature_scale}
    tensors |= {"settings": pack_settings(generic.settings)}
    with whole(path) as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {"format": FORMAT} | notes
        )


def load_generic(path: Path) -> Generic:
    """Read what `save_generic` wrote. Raises: UserError when it is none."""
    check_readable(path, "generic NeRF")
    try:
        with open_tensors(path) as file:
            if (file.metadata() or {}).get("format") != FORMAT:
                raise UserError(f"{path}: is not a {FORMAT} file; make one with `avatar pretrain-renderer`")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        mean, scale, settings = (tensors.pop(name) for name in ("feature_mean", "feature_scale", "settings"))
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{path}: is damaged ({error}); make it again with `avatar pretrain-renderer`") from error
    return Generic(tensors, mean, scale, unpack_settings(settings))


def mean_tables(tables: list[Tensor]) -> Tensor:
    """The tables that a new person begins with, of those [planes, L, T, 2] of many."""
    return torch.stack(tables).mean(0)


def common_scaling(means: list[Tensor], scales: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of expression and eyes over people, from each one's features' mean and scale [D]."""
    mean, scale = torch.stack(means)[:, :-POSE_FEATURES], torch.stack(scales)[:, :-POSE_FEATURES]
    return mean.mean(0), (scale.square() + mean.var(0, correction=0)).mean(0).sqrt()
