"""Signals that end a command in order: what was begun is removed, or kept where it resumes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(one for one in signal.Signals if one.name in ("SIGINT", "SIGTERM", "SIGHUP"))  # Windows has no SIGHUP
CODES = tuple(128 + one for one in SIGNALS)  # exit codes, as shells have them


@contextmanager
def ending_in_order() -> Iterator[None]:
    """End by the first of SIGNALS as by an exception; what comes after it disturbs nothing until the process is gone.

    A signal that is ignored, as SIGHUP is under nohup, stays so.
    """
    before: dict[signal.Signals, Any] = {one: signal.getsignal(one) for one in SIGNALS}
    handled = [one for one, handler in before.items() if handler is not signal.SIG_IGN]

    def end(number: int, frame: FrameType | None) -> None:
        for one in handled:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    for one in handled:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in handled:
            if signal.getsignal(one) is end:  # else a signal ends the process, which ignores more of them to its end
                signal.signal(one, before[one])
