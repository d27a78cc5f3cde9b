"""What a person reads of errors and warnings: one line each."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

PACKAGE = Path(__file__).parent.parent


def print_error(error: Exception) -> None:
    """Print a mendable error on stderr."""
    text = f"{error.filename or ''}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
    print(f"error: {' '.join(text.split())}", file=sys.stderr)


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print the package's own warnings as notes on stderr; those of other packages as they always are."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> Any:
            if Path(filename).is_relative_to(PACKAGE):
                print(f"note: {' '.join(str(message).split())}", file=sys.stderr)
            else:
                usual(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
