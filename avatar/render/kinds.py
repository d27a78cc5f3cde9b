"""Renderers that can be trained. To add one, write its file and name it here."""

from __future__ import annotations

from avatar.core.files import UserError
from avatar.render import gaussian, nerf
from avatar.render.base import TrainableKind

TRAINABLES: dict[str, TrainableKind] = {"gaussian": gaussian.TRAINABLE, "nerf": nerf.TRAINABLE}


def trainable_kind(name: str) -> TrainableKind:
    """The kind of a name. Raises: UserError that lists the names."""
    if name not in TRAINABLES:
        raise UserError(f"renderer '{name}' is unknown; choose one of {', '.join(TRAINABLES)}")
    return TRAINABLES[name]
