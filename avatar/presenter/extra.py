"""The extra that reads and draws decks."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from avatar.core.files import UserError

INSTALL = "pip install 'avatar-builder[present]'"


def need(module: str, what: str) -> ModuleType:
    """A module of the extra. Raises: UserError that names the extra."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"{what} needs the extra 'present': {INSTALL}") from error
