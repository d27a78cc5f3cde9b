"""What can be trained to become a renderer. To add one, write its file and name it here."""

from __future__ import annotations

from avatar.core.files import UserError
from avatar.render.base import TrainableKind
from avatar.render.gaussian.trainable import TRAINABLE as GAUSSIAN
from avatar.render.nerf.trainable import TRAINABLE as NERF

TRAINABLES: dict[str, TrainableKind] = {"gaussian": GAUSSIAN, "nerf": NERF}


def trainable_kind(name: str) -> TrainableKind:
    """The kind of a name. Raises: UserError that lists the names."""
    if name not in TRAINABLES:
        raise UserError(f"renderer '{name}' is unknown; choose one of {', '.join(TRAINABLES)}")
    return TRAINABLES[name]
