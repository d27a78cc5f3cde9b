"""What a plan will take: counts, time, disk; as this batch has measured it, else by figures of two plain cores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from avatar.batch.address import Digests, address, unchanged
from avatar.batch.jobs import Job, Kind, budget_of, is_url
from avatar.batch.journal import Journal, Record
from avatar.batch.machine import free_bytes
from avatar.batch.plan import Plan
from avatar.core.files import UserError
from avatar.core.media import probe

PROBED = 40  # files of an ending whose length is looked up, at 50 ms each; those of others follow from their sizes


@dataclass(frozen=True)
class Rate:
    """What a second of picture or sound costs on one core."""

    seconds: float  # of work
    bytes: float
    fixed: float = 0.0  # seconds, whatever the length


GUESSES: dict[Kind, Rate] = {
    "preprocess": Rate(1.0, 2_500_000, 5.0),
    "build": Rate(0.0, 0, 15.0),  # beside its budget
    "speak": Rate(0.5, 350_000, 0.3),
    "render": Rate(0.5, 350_000, 0.3),
    "motion": Rate(0.1, 20_000, 0.3),
    "evaluate": Rate(3.0, 20_000, 5.0),
    "dub": Rate(3.0, 1_000_000, 8.0),
    "say": Rate(0.8, 350_000, 2.0),
    "present": Rate(1.0, 100_000, 5.0),
}
"""Roughly, of two plain cores, as long as a batch has measured nothing."""
SECONDS_A_LETTER = 1 / 15  # of a text: 150 words of six letters a minute
AVATAR_BYTES, EVALUATION_BYTES = 12_000_000, 4_000_000


def estimate(plan: Plan, folder: Path, workers: int) -> list[str]:
    """The plan as lines of text."""
    records: dict[str, Record] = {}
    fresh = plan.jobs
    if (folder / "journal.sqlite").is_file():
        with closing(Journal(folder, make=False)) as journal:
            records = {record.id: record for record in journal.read()}
            fresh = {job.id: job for job in plan.jobs.values() if not _is_done(job, records, journal)}
    rates = {kind: _measured(records.values(), kind) for kind in GUESSES}
    lengths = _Lengths()
    lines, total, space = [], 0.0, 0.0
    for kind, guess in GUESSES.items():
        jobs = [job for job in fresh.values() if job.kind == kind]
        all_of_kind = sum(job.kind == kind for job in plan.jobs.values())
        rate = rates[kind] or guess
        work = sum(_seconds(job, rate, lengths) for job in jobs)
        room = sum(_bytes(job, rate, lengths) for job in jobs)
        by = "as measured in this batch" if rates[kind] else "a guess"
        if all_of_kind:
            lines.append(
                f"{kind:<10} {all_of_kind:7d} jobs, {all_of_kind - len(jobs)} unchanged; "
                f"{work / 3600:.2f} h of work, {room / 1e9:.2f} GB ({by})"
            )
        total, space = total + (work * workers if kind == "build" else work), space + room
    free = min((free_bytes(place) for place in _folders(fresh.values())), default=free_bytes(folder))
    lines.append(f"about {total / workers / 3600:.2f} h with {workers} workers, {space / 1e9:.2f} GB of disk")
    short = "" if space < free else "; THAT IS NOT ENOUGH"
    return [*lines, f"free now: {free / 1e9:.1f} GB{short}"]


def _is_done(job: Job, records: dict[str, Record], journal: Journal) -> bool:
    record = records.get(job.id)
    if record is None or record.state != "done" or not unchanged(record.outputs, job.outputs):
        return False
    return address(job, Digests(journal.digest, lambda *_: None)) == record.address


def _measured(records: Iterable[Record], kind: Kind) -> Rate | None:
    done = [record for record in records if record.kind == kind and record.state == "done" and record.seconds]
    media = sum(record.media_seconds for record in done)
    if not media:
        return None
    return Rate(sum(one.seconds for one in done) / media, sum(one.bytes for one in done) / media)


class _Lengths:
    """Seconds of files: some looked up, others by their size and ending; of those that do not exist yet, the mean."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._per_byte: dict[str, list[float]] = {}
        self._probed: Counter[str] = Counter()

    def of(self, place: str) -> float:
        if place not in self._known:
            self._known[place] = self._look(place)
        return self._known[place]

    def _look(self, place: str) -> float:
        path = Path(place)
        if is_url(place) or not path.is_file():
            return sum(self._known.values()) / len(self._known) if self._known else 60.0
        rates, size = self._per_byte.setdefault(path.suffix, []), path.stat().st_size
        if len(rates) >= PROBED:
            return size * sum(rates) / len(rates)
        try:
            seconds = path.stat().st_size * SECONDS_A_LETTER if path.suffix == ".txt" else probe(path).seconds
        except UserError:
            return 0.0
        rates.append(seconds / max(1, size))
        return seconds


def _seconds(job: Job, rate: Rate, lengths: _Lengths) -> float:
    if job.kind == "build":
        return rate.fixed + budget_of(job.options)
    return rate.fixed + rate.seconds * lengths.of(_timed_by(job))


def _bytes(job: Job, rate: Rate, lengths: _Lengths) -> float:
    if job.kind == "build":
        return AVATAR_BYTES
    return rate.bytes * lengths.of(_timed_by(job)) + (EVALUATION_BYTES if "page" in job.outputs else 0)


def _timed_by(job: Job) -> str:
    """The file whose length a job takes its time from."""
    if "take" in job.inputs and Path(job.inputs["take"]).suffix not in (".csv", ".motion"):
        return str(Path(job.inputs["take"]) / "audio.wav")
    return job.inputs[
        {"preprocess": "video", "say": "text", "present": "deck", "render": "take"}.get(job.kind, "speech")
    ]


def _folders(jobs: Iterable[Job]) -> set[Path]:
    return {Path(place).parent for job in jobs for place in job.outputs.values() if not is_url(place)}
