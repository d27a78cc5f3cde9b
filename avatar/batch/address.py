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
from avatar.pipelines.arguments import with_files

FindDigest = Callable[[str, str], str]  # place, fingerprint -> digest or nothing
KeepDigest = Callable[[str, str, str], None]  # place, fingerprint, digest

RULES = 2
"""Goes up when the same job of the same version makes something else."""


def fingerprint(place: str) -> str:
    """Sizes and times of a file or folder: cheap, and another after every change; empty where nothing is."""
    if is_url(place):
        return storage.tag(place)
    try:
        if not os.path.isdir(place):
            return _size_and_time(os.stat(place))
        files = "\n".join(f"{name} {_size_and_time(os.stat(path))}" for name, path in _files(place))
    except FileNotFoundError:
        return ""
    return hashlib.sha256(files.encode()).hexdigest()


def _size_and_time(status: os.stat_result) -> str:
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
    """Digests of files, each computed once for as long as the file's fingerprint stays the same."""

    def __init__(self, find: FindDigest, keep: KeepDigest) -> None:
        """find, keep: where digests of earlier runs are."""
        self._find, self._keep = find, keep
        self._this_run: dict[str, str] = {}

    def of(self, place: str) -> str:
        """The digest of a file that no job of this run is writing; empty where nothing is."""
        if place not in self._this_run:
            self._this_run[place] = self._compute(place)
        return self._this_run[place]

    def _compute(self, place: str) -> str:
        now = fingerprint(place)
        if not now or is_url(place):
            return now
        known = self._find(place, now)
        if not known:
            known = digest(place)
            self._keep(place, now, known)
        return known

    def written(self, place: str, now: str, known: str) -> None:
        """A job has written a file: its fingerprint and digest."""
        self._this_run[place] = known
        self._keep(place, now, known)


def address(job: Job, digests: Digests) -> str:
    """The address of a job: of the contents of all it reads (not the names), its settings, and this version.

    Files that options name count by their content, wherever in the options they stand. How many cores a job runs on and
    how long it may take do not count.
    """
    content = {
        "rules": RULES,
        "version": version("avatar-builder"),
        "kind": job.kind,
        "options": with_files(job.options, job.files, digests.of) if job.files else job.options,
        "outputs": sorted([name, os.path.splitext(place)[1]] for name, place in job.outputs.items()),
        "read": {name: digests.of(place) for name, place in job.inputs.items()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def unchanged(made: dict[str, list[str]], outputs: dict[str, str]) -> bool:
    """Whether all outputs are there, and as they were when they were made: name -> fingerprint and digest."""
    for place in outputs.values():
        before, known = made.get(place, ["", ""])
        now = fingerprint(place)
        if not before or not now:
            return False
        if now != before and (is_url(place) or digest(place) != known):
            return False
    return True
