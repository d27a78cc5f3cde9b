"""batch.html: what ran, how long, how fast, what it cost, what failed and why, and thumbnails of films."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from avatar.batch.jobs import is_url
from avatar.batch.journal import BAD, STATES, Journal, Record, RunRecord, log_path
from avatar.core.files import UserError
from avatar.core.media import probe, read_small
from avatar.core.page import Link, to_list, to_picture, to_table, write_page

MOST_ROWS = 2000  # of a table; every job is in `avatar batch status --json`
MOST_PICTURES, PICTURE_WIDTH, ROW_OF_PICTURES = 12, 160, 6
GREEN, RED, GREY = "#2a9d5c", "#d9482b", "#8a8a8a"


def write_report(folder: Path, out: Path | None = None) -> Path | None:
    """Write the report of the batch whose journal is in a folder; None when there is no journal yet."""
    if not (folder / "journal.sqlite").is_file():
        return None
    page = out or folder / "batch.html"
    with closing(Journal(folder, make=False)) as journal:
        records, run = list(journal.read()), journal.last_run()
    bad = [record for record in records if record.state in BAD]
    done = [record for record in records if record.state == "done"]
    sections = [("Result", _verdict(records)), ("By kind", to_table(_kind_rows(records)))]
    if bad:
        sections.append((f"Not done: {len(bad)}", to_table(_bad_rows(bad[:MOST_ROWS], folder, page))))
    if pictures := _thumbnails(done):
        sections.append(("Thumbnails", pictures))
    slowest = sorted(done, key=lambda record: -record.seconds)[:MOST_ROWS]
    if slowest:
        sections.append(("Done, slowest first", to_table(_done_rows(slowest, folder, page))))
    write_page(page, "Batch", _lead(records, run), sections)
    return page


def _lead(records: Sequence[Record], run: RunRecord | None) -> str:
    if run is None:
        return "Nothing was run yet"
    took = "not finished" if run.finished is None else f"{_clock(run.finished - run.started)} from start to end"
    cpu, gpu = sum(one.cpu_seconds for one in records), sum(one.gpu_seconds for one in records)
    begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
    return (
        f"{Path(run.job_file).name}: {len(records)} jobs on the {run.engine} engine; last run {begun}, {took}. "
        f"Cost of all that is in the journal: {cpu:.0f} CPU-seconds, {gpu:.0f} GPU-seconds"
    )


def _verdict(records: Sequence[Record]) -> str:
    counts = {state: sum(record.state == state for record in records) for state in STATES}
    lines = [f"{count} {state}" for state, count in counts.items() if count]
    bad = sum(counts[state] for state in BAD)
    if bad:
        return to_list(f"{bad} of {len(records)} jobs are not done", lines, RED)
    if counts["done"] == len(records):
        return to_list("Everything is done", lines, GREEN)
    return to_list("Not finished", lines, GREY)


def _kind_rows(records: Sequence[Record]) -> list[list[str]]:
    rows = [["kind", "jobs", "done", "worked", "of picture or sound", "times real time", "CPU-s", "GPU-s", "written"]]
    for kind in dict.fromkeys(record.kind for record in records):
        ours = [record for record in records if record.kind == kind]
        seconds, media = sum(one.seconds for one in ours), sum(one.media_seconds for one in ours)
        rows.append(
            [
                kind,
                str(len(ours)),
                str(sum(one.state == "done" for one in ours)),
                _clock(seconds),
                _clock(media) if media else "",
                f"{media / seconds:.2f}" if media and seconds else "",
                f"{sum(one.cpu_seconds for one in ours):.1f}",
                f"{sum(one.gpu_seconds for one in ours):.1f}",
                _size(sum(one.bytes for one in ours)),
            ]
        )
    return rows


def _bad_rows(records: Sequence[Record], folder: Path, page: Path) -> list[list[str | Link]]:
    rows: list[list[str | Link]] = [["job", "state", "reason", "log"]]
    return rows + [[one.id, one.state, one.reason, _log_link(one, folder, page)] for one in records]


def _done_rows(records: Sequence[Record], folder: Path, page: Path) -> list[list[str | Link]]:
    rows: list[list[str | Link]] = [["job", "took", "times real time", "CPU-s", "written", "worker", "note", "log"]]
    for one in records:
        speed = f"{one.media_seconds / one.seconds:.2f}" if one.media_seconds and one.seconds else ""
        name = one.id if is_url(one.output) else Link(one.id, os.path.relpath(one.output, page.parent))
        figures = [f"{one.seconds:.2f} s", speed, f"{one.cpu_seconds:.1f}", _size(one.bytes), one.worker, one.reason]
        rows.append([name, *figures, _log_link(one, folder, page)])
    return rows


def _log_link(record: Record, folder: Path, page: Path) -> str | Link:
    log = log_path(folder, record.id)
    return Link("log", os.path.relpath(log, page.parent)) if log.is_file() else ""


def _thumbnails(done: Sequence[Record]) -> str:
    """A frame from the middle of films, evenly chosen."""
    films = [
        record
        for record in done
        if record.kind in ("speak", "render", "dub", "say", "present") and not is_url(record.output)
    ]
    chosen = [films[index] for index in np.linspace(0, len(films) - 1, min(len(films), MOST_PICTURES)).astype(int)]
    pictures = [(record.id, picture) for record in chosen if (picture := _middle(Path(record.output))) is not None]
    parts = []
    for start in range(0, len(pictures), ROW_OF_PICTURES):
        row = pictures[start : start + ROW_OF_PICTURES]
        height = max(picture.shape[0] for _, picture in row)
        padded = [np.pad(one, ((0, height - len(one)), (0, 8), (0, 0)), constant_values=255) for _, one in row]
        parts.append(to_picture(np.concatenate(padded, 1), ", ".join(name for name, _ in row)))
    return "".join(parts)


def _middle(film: Path) -> np.ndarray | None:
    """A small frame [H, W, 3] uint8; None where there is none to see."""
    if film.is_dir():
        names = sorted(film.glob("*.png"))
        return _shrink(names[len(names) // 2]) if names else None
    try:
        info = probe(film)
        height = max(2, round(info.height * PICTURE_WIDTH / max(1, info.width)))
        frames = read_small(film, width=PICTURE_WIDTH, height=height, fps=max(0.1, 2 / max(0.1, info.seconds)))
        return list(frames)[-1]
    except UserError:
        return None


def _shrink(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        height = max(2, round(image.height * PICTURE_WIDTH / image.width))
        return np.array(image.convert("RGB").resize((PICTURE_WIDTH, height)))


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.2f} h"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"
