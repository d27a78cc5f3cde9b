"""What is kept between two makings of a film, by its content: a second one makes only what changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from avatar.core.files import remove

VERSION = "1"  # of what is kept: another one's is made anew


def content_key(*parts: object) -> str:
    """A name for what is made of some content; parts: bytes, or what has a complete repr."""
    digest = hashlib.sha256(VERSION.encode())
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
        """Remove what was not asked for since this store was opened."""
        for path in self._folder.iterdir():
            if path.name not in self._used:
                remove(path)


def store_folder(out: Path) -> Path:
    """Where what is kept of a film lies."""
    return out.with_suffix(".scenes")
