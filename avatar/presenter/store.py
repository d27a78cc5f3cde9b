"""What is kept between two makings of a film, by its content: a second one makes only what changed."""

from __future__ import annotations

import hashlib
import os
import time
from importlib.metadata import version
from pathlib import Path

from avatar.core.files import remove
from avatar.core.outputs import beside

UNUSED_SECONDS = 14 * 86400.0  # after which what no film asked for goes: drafts and parts of a deck come in between


def content_key(*parts: object) -> str:
    """A name for what is made of some content; parts: bytes, or what has a complete repr."""
    digest = hashlib.sha256(version("avatar-builder").encode())  # another version may make it otherwise
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


class Store:
    """A folder beside a film with what it is made of."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._used = folder, set[str]()
        folder.mkdir(parents=True, exist_ok=True)

    def place(self, kind: str, key: str, ending: str) -> Path:
        """Where something of this key is, or belongs: whole or absent."""
        path = self._folder / f"{kind}-{key}{ending}"
        self._used.add(path.name)
        return path

    def prune(self) -> None:
        """Remove what was not asked for in two weeks."""
        now = time.time()
        for path in self._folder.iterdir():
            if path.name in self._used:
                os.utime(path, (now, now))
            elif path.stat().st_mtime < now - UNUSED_SECONDS:
                remove(path)


def store_folder(out: Path) -> Path:
    """Where what is kept of a film lies."""
    return beside(out, ".scenes")
