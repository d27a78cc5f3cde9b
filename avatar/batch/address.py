"""Content addresses: the same inputs, settings and version give the same address, and need not be made again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from avatar.batch import storage
from avatar.batch.jobs import Job, is_url
from avatar.core.files import digest_file

Remembered = Callable[[str, str], str]  # place, fingerprint -> digest or nothing
Keep = Callable[[str, str, str], None]  # place, fingerprint, digest

RULES = 1
"""Goes up when the same job of the same version makes something else."""


def fingerprint(place: str) -> str:
    """How a file or folder looks from outside: cheap, and another after every change; empty where nothing is."""
    if is_url(place):
        return storage.tag(place)
    try:
        if not os.path.isdir(place):
            return _look(os.stat(place))
        looks = "\n".join(f"{name} {_look(os.stat(path))}" for name, path in _files(place))
    except FileNotFoundError:
        return ""
    return hashlib.sha256(looks.encode()).hexdigest()


def _look(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _files(folder: str) -> Iterator[tuple[str, str]]:
    found = []
    for where, _, names in os.walk(folder):
        found += [os.path.join(where, name) for name in names]
    for path in sorted(found):
        yield os.path.relpath(path, folder), path


def digest(place: str) -> str:
    """SHA-256 of the content of a file, or of the names and contents of a folder; of a URL, its store's own tag."""
    if is_url(place):
        return storage.tag(place)
    if not os.path.isdir(place):
        return digest_file(Path(place))
    total = hashlib.sha256()
    for name, path in _files(place):
        total.update(f"{name} {digest_file(Path(path))}\n".encode())
    return total.hexdigest()


class Digests:
    """Digests of files, each taken once for as long as the file looks the same."""

    def __init__(self, remembered: Remembered, keep: Keep) -> None:
        self._remembered, self._keep = remembered, keep
        self._this_run: dict[str, str] = {}

    def of(self, place: str) -> str:
        """The digest of a file that no job of this run is writing; empty where nothing is."""
        if place not in self._this_run:
            self._this_run[place] = self._take(place)
        return self._this_run[place]

    def _take(self, place: str) -> str:
        look = fingerprint(place)
        if not look or is_url(place):
            return look
        known = self._remembered(place, look)
        if not known:
            known = digest(place)
            self._keep(place, look, known)
        return known

    def made(self, place: str, look: str, known: str) -> None:
        """A job has written a file."""
        self._this_run[place] = known
        self._keep(place, look, known)


def address(job: Job, digests: Digests) -> str:
    """The address of a job: of the contents of what it reads (not the names), its settings, and this version.

    How many cores it runs on and how long it may take do not count.
    """
    read = {name: digests.of(place) for name, place in job.inputs.items()}
    read |= {place: digests.of(place) for place in job.sources() if place not in job.inputs.values()}
    content = {
        "rules": RULES,
        "version": version("avatar-builder"),
        "kind": job.kind,
        "options": job.options,
        "outputs": sorted([name, os.path.splitext(place)[1]] for name, place in job.outputs.items()),
        "read": read,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def unchanged(made: dict[str, list[str]], outputs: dict[str, str]) -> bool:
    """Whether all outputs are there, and as they were when they were made: name -> fingerprint and digest."""
    for place in outputs.values():
        look, known = made.get(place, ["", ""])
        now = fingerprint(place)
        if not look or not now:
            return False
        if now != look and (is_url(place) or digest(place) != known):
            return False
    return True
