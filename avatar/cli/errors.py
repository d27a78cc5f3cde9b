"""What a person reads of errors and warnings: one line each."""

from __future__ import annotations

import sys


def print_error(error: Exception) -> None:
    """Print a mendable error on stderr."""
    text = f"{error.filename or ''}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
    print(f"error: {' '.join(text.split())}", file=sys.stderr)


def print_note(text: str) -> None:
    """Print what is worth knowing, though nothing is wrong, on stderr."""
    from avatar.cli.bars import write_line  # here, since most commands show no bars

    write_line(f"note: {text}")
