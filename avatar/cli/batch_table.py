"""How a batch looks in a terminal: one live table, or a line now and then where there is no terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from avatar.batch.journal import Record
    from avatar.batch.run import Snapshot

LINE_SECONDS = 30.0  # between two lines, where there is no terminal
MAX_ROWS = 32  # running jobs shown


@contextmanager
def live_table() -> Iterator[Callable[[Snapshot], None]]:
    """A function that shows how far a run is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _print_lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda snapshot: live.update(draw_table(snapshot))


def _print_lines(console: Console) -> Callable[[Snapshot], None]:
    printed, note = time.monotonic(), ""

    def show(snapshot: Snapshot) -> None:
        nonlocal printed, note
        if snapshot.note != note or time.monotonic() - printed > LINE_SECONDS:
            printed, note = time.monotonic(), snapshot.note
            console.print(_headline(snapshot), highlight=False, soft_wrap=True)

    return show


def draw_table(snapshot: Snapshot) -> Group:
    """How far a run is, and what each worker does."""
    table = Table(box=None, pad_edge=False)
    for name in ("worker", "kind", "job", "for"):
        table.add_column(name, style="" if name == "job" else "dim", no_wrap=True)
    for one in snapshot.running[:MAX_ROWS]:
        table.add_row(one.worker, one.job.kind, one.job.id, format_seconds(time.monotonic() - one.since))
    return Group(Text(_headline(snapshot)), table)


def _headline(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    done = counts.get("done", 0)
    parts = [f"{done + snapshot.bad} of {snapshot.total}"]
    parts += [f"{counts['unchanged']} unchanged"] if counts.get("unchanged") else []
    parts += [f"{snapshot.bad} failed"] if snapshot.bad else []
    made, left = done - counts.get("unchanged", 0), snapshot.total - done - snapshot.bad
    parts += [f"about {format_seconds(left * snapshot.seconds / made)} left"] if made > 0 and left else []
    return ", ".join(parts) + (f"; {snapshot.note}" if snapshot.note else "")


def format_seconds(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def format_snapshot(end: Snapshot) -> list[str]:
    """What came of a run."""
    counts = end.counts
    made = counts.get("done", 0) - counts["unchanged"]
    lines = [f"done      {made} made, {counts['unchanged']} unchanged, in {format_seconds(end.seconds)}"]
    return lines + [f"{state:<9} {counts[state]}" for state in _bad_states() if counts.get(state)]


def _bad_states() -> tuple[str, ...]:
    from avatar.batch.journal import BAD

    return BAD


def format_records(records: list[Record], folder: Path) -> list[str]:
    """The state of a batch, and the reason and log of whatever went wrong."""
    from avatar.batch.journal import is_running, log_path

    counts = Counter(record.state for record in records)
    alive = "is running" if is_running(folder) else "is not running"
    lines = [f"{folder}: {alive}; " + ", ".join(f"{count} {state}" for state, count in counts.most_common())]
    bad = [record for record in records if record.state in _bad_states()]
    for record in bad[:MAX_ROWS]:
        log = log_path(folder, record.id)
        lines.append(f"{record.state:<11} {record.id}: {record.reason}{f'; {log}' if log.is_file() else ''}")
    return lines + ([f"and {len(bad) - MAX_ROWS} more; add --json"] if len(bad) > MAX_ROWS else [])
