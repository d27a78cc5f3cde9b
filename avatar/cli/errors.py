"""What a person reads of errors and warnings: one line each."""

from __future__ import annotations

import sys

LONGEST = 1000  # characters of a line: a damaged file may bring names and values without an end


def describe_error(error: Exception) -> str:
    """A mendable error as a line."""
    text = f"{error.filename or ''}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def print_error(error: Exception) -> None:
    """Print a mendable error on stderr."""
    print(f"error: {describe_error(error)}", file=sys.stderr)


def print_note(text: str) -> None:
    """Print what is worth knowing, though nothing is wrong, on stderr."""
    from avatar.cli.bars import write_line  # here, since most commands show no bars

    write_line(f"note: {text}")
