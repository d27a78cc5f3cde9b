"""A batch from start to end on any engine: what is done is skipped, what fails is noted, what crashes is repeated."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from avatar.batch.address import Digests, address, unchanged
from avatar.batch.attempt import Outcome, explain, is_full
from avatar.batch.engine import Engine, Running
from avatar.batch.jobs import Job, is_url
from avatar.batch.journal import BAD, CUT_SHORT, Journal, Record, State, is_passing, log_path, sole_runner
from avatar.batch.machine import free_bytes
from avatar.batch.plan import Plan
from avatar.batch.scheduler import Scheduler
from avatar.core.files import UserError, remove_leftovers

MAX_CRASHES = 3  # of a job's worker, after which the job is quarantined: once may be chance, or another job's doing
MIN_FREE = 200_000_000  # bytes: below, nothing is started; several films of a minute, or one Take of two
RETRY_SECONDS = 10.0  # until a full disk is looked at again
JOURNAL_SECONDS = 1.0  # between two tries to use a journal that another process holds, beside what SQLite waits
SHOW_SECONDS, CANCEL_SECONDS = 0.25, 1.0  # between two updates of the table, two looks for cancelled jobs


@dataclass(frozen=True)
class Snapshot:
    """How far a run is."""

    total: int
    counts: dict[str, int]  # of jobs by state; `unchanged`: those of `done` that this run did not have to make
    running: list[Running]
    seconds: float  # since the run began
    worked: float  # seconds of work done in this run
    note: str  # why nothing is started; empty when something is

    @property
    def bad(self) -> int:
        """Jobs that were not done."""
        return sum(self.counts.get(state, 0) for state in BAD)


Show = Callable[[Snapshot], None]


@dataclass(frozen=True)
class RunOptions:
    """Options of a run."""

    force: bool = False  # make everything anew
    retry_failed: bool = False  # try again what failed before, though nothing has changed
    min_free: int = MIN_FREE  # bytes on each disk, below which nothing is started
    retry_seconds: float = RETRY_SECONDS  # until a full disk is looked at again


def run_batch(
    plan: Plan, engine: Engine, folder: Path, *, options: RunOptions | None = None, show: Show | None = None
) -> Snapshot:
    """Run a batch, or go on with it; folder: of its journal and logs.

    Raises: UserError when it cannot be begun; KeyboardInterrupt after what was running has been stopped and noted.
    """
    options, show = options or RunOptions(), show or (lambda snapshot: None)

    def wait(error: Exception) -> None:
        if is_full(error):
            raise error
        show(Snapshot(len(plan.jobs), {"unchanged": 0}, [], 0.0, 0.0, _paused(error)))
        time.sleep(JOURNAL_SECONDS)

    engine.check(list(plan.jobs.values()))
    with sole_runner(folder), closing(_persist(wait, Journal, folder)) as journal, closing(engine):
        try:
            number = _persist(wait, journal.begin, plan.jobs.values(), plan.path, engine.name)
        except Exception as error:
            raise UserError(f"{folder}: the journal cannot be written ({explain(error)})") from error
        run = _Run(plan, engine, folder, journal, options, show)
        try:
            run.run()
        finally:
            run.stop_all()
            run.end(number)
        return run.snapshot()


def _persist(wait: Callable[[Exception], None], use: Callable[..., Any], *arguments: Any) -> Any:
    """Use the journal or the disk; again and again, after a wait, as long as what hinders it may pass."""
    while True:
        try:
            return use(*arguments)
        except Exception as error:
            if not is_full(error) and not is_passing(error):
                raise
            wait(error)


def _paused(error: Exception) -> str:
    return f"paused, the journal cannot be used now; as soon as it can, it goes on ({error})"


class _Run:
    """The state of a run, and what changes it."""

    def __init__(
        self, plan: Plan, engine: Engine, folder: Path, journal: Journal, options: RunOptions, show: Show
    ) -> None:
        self._plan, self._engine, self._folder, self._journal, self._options = plan, engine, folder, journal, options
        self._scheduler = Scheduler(plan)
        self._digests = Digests(partial(self._retry, journal.digest), partial(self._retry, journal.keep_digest))
        self._show_to, self._last_shown, self._last_cancels = show, 0.0, 0.0
        self._start, self._worked, self._unchanged = time.monotonic(), 0.0, 0
        self._note, self._hindered, self._paused_until = "", "", 0.0  # why nothing starts, why nothing goes on
        self._cancelled: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._records = {record.id: record for record in self._retry(lambda: list(journal.read()))}
        self._counts.update(record.state for record in self._records.values())

    def run(self) -> None:
        """Run until nothing is left that can be done."""
        while True:
            self._start_what_fits()
            if not self._engine.running() and not self._scheduler.has_ready:
                break
            if "*" in self._cancelled:
                break
            for job, worker, outcome in self._engine.wait(SHOW_SECONDS):
                self._end(job, worker, outcome)
            self._apply_cancels()
            self._show()
        self.stop_all()
        for job, obstacle in list(self._scheduler.pending()):
            state, reason = ("cancelled", "cancelled") if "*" in self._cancelled else ("blocked", obstacle)
            self._set(replace(self._records[job.id], state=state, reason=reason))
        self._show(at_once=True)

    def stop_all(self) -> None:
        """Stop what is running, and note that it was cut short."""
        for running in self._engine.running():
            self._stop(running.job)
            self._set(replace(self._records[running.job.id], state="waiting", reason=CUT_SHORT))

    def snapshot(self) -> Snapshot:
        counts: dict[str, int] = {str(state): count for state, count in self._counts.items()}
        counts["unchanged"] = self._unchanged
        seconds = time.monotonic() - self._start
        note = self._hindered or self._note
        return Snapshot(len(self._plan.jobs), counts, self._engine.running(), seconds, self._worked, note)

    def _start_what_fits(self) -> None:
        if time.monotonic() < self._paused_until:
            return
        while not (self._note and self._engine.running()):  # after a full disk one by one, until one is done
            job = self._scheduler.next(self._engine)
            if job is None:
                return
            if reason := self._full_disk(job):
                self._scheduler.requeue(job)
                return self._pause(reason)
            self._start_or_skip(job)
            self._show()

    def _full_disk(self, job: Job) -> str:
        """Which disk of a job is full; empty for none."""
        places = [Path(place) for place in job.outputs.values() if not is_url(place)]
        for folder in {*(place.parent for place in places), self._folder}:
            if (free := free_bytes(folder)) < self._options.min_free:
                return f"{folder}: {free / 1e6:.0f} MB left, {self._options.min_free / 1e6:.0f} MB are needed"
        return ""

    def _pause(self, reason: str) -> None:
        self._paused_until = time.monotonic() + self._options.retry_seconds
        self._note = f"paused, the disk is full; make room and it goes on ({reason})"
        self._show(at_once=True)

    def _start_or_skip(self, job: Job) -> None:
        """Start a job, unless it is done and unchanged, cancelled, or failed before and unchanged."""
        record, options = self._records[job.id], self._options
        if {job.id, job.entry} & self._cancelled:
            return self._give_up(job, "cancelled", "cancelled")
        try:
            where = address(job, self._digests)
        except (UserError, OSError) as error:
            return self._give_up(job, "failed", explain(error))
        same = record.address == where
        if same and not options.force:
            if record.state == "done" and unchanged(record.outputs, job.outputs):
                self._unchanged += 1
                return self._scheduler.done(job)
            if record.state in ("failed", "quarantined") and not options.retry_failed:
                return self._scheduler.failed(job, record.state)
        before = record.outputs
        made = {place: before.get(place, ["", ""]) for place in job.outputs.values() if _is_ours(place, before)}
        replaces = all(place in before or is_url(place) for place in job.outputs.values())
        self._engine.start(job, replaces=replaces, repeated=record.state != "done" and bool(record.reason))
        tries = record.tries if same and record.state == "waiting" else 0
        cost = {} if record.state == "waiting" else {"cpu_seconds": 0.0, "gpu_seconds": 0.0}
        started: dict[str, Any] = {"state": "running", "address": where, "reason": "", "tries": tries, **cost}
        self._set(replace(record, **started, made=json.dumps(made)))

    def _end(self, job: Job, worker: str, outcome: Outcome) -> None:
        record = self._records[job.id]
        self._worked += outcome.seconds
        record = replace(
            record,
            worker=worker,
            finished=time.time(),
            seconds=outcome.seconds,
            cpu_seconds=record.cpu_seconds + outcome.cpu_seconds,
            gpu_seconds=record.gpu_seconds + outcome.gpu_seconds,
            reason=outcome.reason,
        )
        if outcome.end in ("crashed", "late", "lost"):
            _remove_parts(job)
        if outcome.log:
            self._retry(_write_log, log_path(self._folder, job.id), outcome.log)
        if outcome.end == "done":
            self._note = ""
            for place, (fingerprint, digest) in outcome.made.items():
                self._digests.written(place, fingerprint, digest)
            done: dict[str, Any] = {"state": "done", "media_seconds": outcome.media_seconds, "bytes": outcome.bytes}
            self._set(replace(record, **done, made=json.dumps(outcome.made)))
            return self._scheduler.done(job)
        if outcome.end == "crashed":
            record = replace(record, tries=record.tries + 1)
            if record.tries >= MAX_CRASHES:
                reason = f"quarantined: {outcome.reason}, {record.tries} times"
                self._records[job.id] = record
                return self._give_up(job, "quarantined", reason)
        elif outcome.end not in ("lost", "full"):
            self._records[job.id] = record
            return self._give_up(job, "failed", outcome.reason)
        self._set(replace(record, state="waiting"))
        self._scheduler.requeue(job)
        if outcome.end == "full":
            self._pause(outcome.reason)

    def _give_up(self, job: Job, state: State, reason: str) -> None:
        """Note that a job will not be done."""
        self._set(replace(self._records[job.id], state=state, reason=reason))
        self._scheduler.failed(job, "was cancelled" if state == "cancelled" else state)

    def _apply_cancels(self) -> None:
        now = time.monotonic()
        if now - self._last_cancels < CANCEL_SECONDS:
            return
        self._last_cancels = now
        if not (names := self._retry(self._journal.take_cancels)):
            return
        self._cancelled |= names
        for running in self._engine.running():
            if {running.job.id, running.job.entry} & names and "*" not in names:
                self._stop(running.job)
                self._give_up(running.job, "cancelled", "cancelled")

    def _stop(self, job: Job) -> None:
        self._engine.stop(job)
        _remove_parts(job)

    def _set(self, record: Record) -> None:
        self._counts[self._records[record.id].state] -= 1
        self._counts[record.state] += 1
        self._records[record.id] = record
        self._retry(self._journal.write, [record])

    def end(self, number: int) -> None:
        """Note that the run is over."""
        self._retry(self._journal.end, number)

    def _retry(self, use: Callable[..., Any], *arguments: Any) -> Any:
        """Use the journal or the disk; while it is full, or the journal is held by others, wait."""

        def wait(error: Exception) -> None:
            if is_full(error):
                self._pause(explain(error))
                return time.sleep(self._options.retry_seconds)
            self._hindered = _paused(error)
            self._show(at_once=True)
            time.sleep(JOURNAL_SECONDS)

        result = _persist(wait, use, *arguments)
        self._hindered = ""
        return result

    def _show(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._last_shown >= SHOW_SECONDS:
            self._last_shown = now
            self._show_to(self.snapshot())


def _is_ours(place: str, before: dict[str, list[str]]) -> bool:
    """Whether what stands at a place was made by this batch, or will have been."""
    return place in before or is_url(place) or not os.path.lexists(place)


def _remove_parts(job: Job) -> None:
    """Remove what a killed worker left of the job's outputs."""
    for place in job.outputs.values():
        if not is_url(place):
            remove_leftovers(Path(place))


def _write_log(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
