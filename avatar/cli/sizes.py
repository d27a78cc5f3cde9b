"""How large what was written is, as people read it."""

from __future__ import annotations

from pathlib import Path

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size_of(*places: Path) -> str:
    """The size of files, and of folders with all that lies in them, together."""
    files = (file for place in places for file in ([place] if place.is_file() else place.rglob("*")))
    size, unit = float(sum(file.stat().st_size for file in files if file.is_file())), 0
    while size >= 1000:
        size, unit = size / 1000, unit + 1
    return f"{size:.{1 if unit else 0}f} {UNITS[unit]}"
