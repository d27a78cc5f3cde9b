"""Formats are read forward: version N of a file format reads files of N-1 and N-2, converting them on load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar.core.files import UserError

Convert = Callable[[Any], Any]
"""Content of one version -> content of the next."""


@dataclass(frozen=True)
class Format:
    """A file format of this version of the package."""

    name: str  # as people call it: avatar, take, motion
    version: int  # written, and read
    since: str  # the first version of the package that reads it
    way_out: str  # what to do with a file that cannot be converted
    converts: Mapping[int, Convert]  # version -> to the one after it

    @property
    def tag(self) -> str:
        """As files name it."""
        return f"{self.name}/{self.version}"

    @property
    def oldest(self) -> int:
        """The oldest version that is read."""
        version = self.version
        while version - 1 in self.converts:
            version -= 1
        return version


def parse_tag(format: Format, tag: str | None) -> int | None:
    """The version in a tag such as `avatar/9`; None when it is no tag of this format."""
    name, _, number = (tag or "").partition("/")
    return int(number) if name == format.name and number.isdigit() else None


def check_version(format: Format, version: int, path: Path, *, reader: str = "") -> None:
    """Raise UserError for a version that is newer, or too old to be converted.

    reader: the version of the package that the file says it needs.
    """
    if version > format.version:
        needed = f"avatar-builder {reader} and later read it" if reader else "a newer avatar-builder reads it"
        raise UserError(
            f"{path}: is of format {format.name}/{version}, this version reads up to {format.tag}; "
            f"{needed}: pip install --upgrade avatar-builder"
        )
    if any(old not in format.converts for old in range(version, format.version)):
        raise UserError(
            f"{path}: is of format {format.name}/{version}, which cannot be converted to {format.tag}; {format.way_out}"
        )


def convert(format: Format, version: int, content: Any) -> Any:
    """Content of a file of a version that `check_version` lets pass, as the present version has it."""
    for old in range(version, format.version):
        content = format.converts[old](content)
    return content
