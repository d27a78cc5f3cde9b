"""Progress bars (tqdm); drawn on this floor only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from avatar.core.progress import Progress


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A progress callback that draws one bar a stage."""
    bars: dict[str, tqdm] = {}
    ended = False

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if ended:  # a thread that goes on for a moment draws no bar below an error
            return
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = tqdm(total=total or None, desc=f"{stage:<12}", unit="it", leave=True, mininterval=0.3)
        bar = bars[stage]
        bar.total = total or None
        if note:
            bar.set_postfix_str(note, refresh=False)
        bar.update(done - bar.n)

    try:
        yield progress
    finally:
        ended = True
        for bar in bars.values():
            bar.close()


def write_line(text: str) -> None:
    """A line on stderr, above any bar that is shown."""
    tqdm.write(text, file=sys.stderr)
