"""Which number the mark of a film holds."""

from __future__ import annotations

import hashlib

from avatar.core.avatar_file import Avatar
from avatar.core.consent import NOT_STATED, avatar_id


def film_number(avatar: Avatar, *made_with: str) -> int:
    """0 .. 2^32 - 1, of an avatar, its consent and what a film of it is made with; the same for the same film."""
    parts = (avatar_id(avatar), avatar.provenance.get("consent", NOT_STATED), *made_with)
    return int(hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8], 16)
