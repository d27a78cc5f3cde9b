"""Warnings of the package as notes: lines for whoever runs it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

PACKAGE = Path(__file__).parent.parent


@contextmanager
def warnings_as_notes(take: Callable[[str], object]) -> Iterator[None]:
    """Call `take` with the package's own warnings, each one line; those of other packages are shown as they always are.

    Python keeps its filters and how warnings are shown in one place for all threads.
    """
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
                take(" ".join(str(message).split()))
            else:
                usual(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
