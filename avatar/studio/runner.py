"""What works the queue off: a thread that runs the batch engine on it, again and again, as long as there is something.

Films go before builds, which take minutes and all cores. What is done leaves the queue for a file beside its output.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from avatar.batch.jobs import Job as BatchJob
from avatar.batch.journal import Journal, Record, is_running
from avatar.batch.local import WORKER, LocalEngine
from avatar.batch.machine import this_machine
from avatar.batch.plan import Plan, make_plan
from avatar.batch.run import Snapshot, run_batch
from avatar.core.files import UserError, whole
from avatar.studio.queue import Job, Queue, command_of

LONG = ("preprocess", "build")
PAUSE_SECONDS = 2.0  # until the queue is looked at again without a reason
STUCK = ("failed", "quarantined")


class _StoppedError(Exception):
    """The studio ends."""


@dataclass(frozen=True)
class QueueState:
    """What is known of the jobs of the queue, by id."""

    records: dict[str, Record]
    problems: dict[str, str]  # of jobs that cannot be planned
    note: str  # why nothing is started; empty when something is
    elsewhere: bool  # whether another process works on the queue


class Runner:
    """Works a queue off until it is stopped."""

    def __init__(self, queue: Queue, worker: Sequence[str] = WORKER) -> None:
        """worker: the command of a process that does jobs."""
        self.queue, self._worker = queue, worker
        self._problems: dict[str, str] = {}
        self._note = ""
        self._going: set[str] = set()  # outputs of the run under way
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="queue", daemon=True)

    def start(self) -> None:
        """Begin, or go on where a killed studio ended."""
        self._thread.start()

    def stop(self) -> None:
        """End what runs; it goes on with the next start."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(20)

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    def state(self) -> QueueState:
        """What is known now."""
        records = self._records(self.queue.jobs())
        elsewhere = not self._going and is_running(self.queue.folder)
        return QueueState(records, dict(self._problems), self._note, elsewhere)

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue; one that runs is stopped first."""
        record = self._records([job]).get(job["id"])
        over = record is not None and record.state not in ("waiting", "running")
        if not over and (job["output"] in self._going or self.state().elsewhere):
            with closing(Journal(self.queue.folder, make=False)) as journal:
                journal.request_cancel([job["output"]])
        else:
            self.queue.remove([job["id"]])
        self.wake()

    def retry(self, job: Job, *, force: bool = False) -> None:
        """Try a job that has failed again; force: though the clip is not good enough."""
        self.forget(self.queue.path.parent / job["output"])
        if force:
            self.queue.update(job["id"], force=True)
        self.wake()

    def forget(self, place: Path) -> None:
        """Let the journal forget what was made at a place, or in a folder."""
        if (self.queue.folder / "journal.sqlite").is_file():
            with closing(Journal(self.queue.folder, make=False)) as journal:
                journal.forget(str(place.absolute()))

    def _records(self, jobs: list[Job]) -> dict[str, Record]:
        if not (self.queue.folder / "journal.sqlite").is_file():
            return {}
        try:
            with closing(Journal(self.queue.folder, make=False)) as journal:
                found = {job["id"]: journal.find(job["output"]) for job in jobs}
        except UserError:  # being made just now
            return {}
        return {id: record for id, record in found.items() if record}

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                busy = self._run_once()
            except _StoppedError:
                return
            except (UserError, OSError) as error:  # another process runs the queue, or the disk is full
                self._note, busy = " ".join(str(error).split()), False
            if not busy:
                self._wake.wait(PAUSE_SECONDS)

    def _run_once(self) -> bool:
        """Run what comes next; whether there was something."""
        self._settle()
        jobs = self.queue.jobs()
        if not jobs:
            self._problems, self._note = {}, ""
            return False
        plan = self._next(jobs)
        if plan is None:
            return False
        self._going = set(plan.jobs)
        try:
            # a job at a time, on all cores
            engine = LocalEngine(this_machine(), self.queue.folder, workers=1, command=self._worker)
            run_batch(plan, engine, self.queue.folder, show=self._show)
        finally:
            self._going = set()
        with closing(Journal(self.queue.folder, make=False)) as journal:
            journal.take_cancels()  # that came when their job was over; they would meet a later one of its name
        self._settle()
        return True

    def _next(self, jobs: list[Job]) -> Plan | None:
        """The jobs to run now: all films that can be made, else the first of what takes long."""
        plan, problems = make_plan(self.queue.path)
        wrong = {problem.line: problem.text for problem in reversed(problems)}
        ids = {job["output"]: job["id"] for job in jobs}
        self._problems = {ids[j.id]: wrong[j.line] for j in plan.jobs.values() if j.line in wrong and j.id in ids}
        planned = {job.id for job in plan.jobs.values()}
        self._problems |= {job["id"]: _why(job, problems) for job in jobs if job["output"] not in planned}
        records = self._records(jobs)
        stuck = {record.id for record in records.values() if record.state in STUCK}
        left = [job for job in plan.jobs.values() if job.line not in wrong and job.id not in stuck]
        quick = [job for job in left if job.kind not in LONG and _is_ready(job)]
        chosen = quick or [job for job in left if job.kind in LONG][:1]
        return Plan(plan.path, {job.id: job for job in chosen}, {job.id: set() for job in chosen}) if chosen else None

    def _settle(self) -> None:
        """Move what is done from the queue beside its output, and what was cancelled out of it."""
        jobs, root = self.queue.jobs(), self.queue.path.parent
        records, gone = self._records(jobs), []
        for job in jobs:
            state = records[job["id"]].state if job["id"] in records else "waiting"
            if state == "done" and (root / job["output"]).exists():
                keep_job(root, job, records[job["id"]])
                gone.append(job["id"])
            elif state == "cancelled":
                gone.append(job["id"])
        self.queue.remove(gone)

    def _show(self, snapshot: Snapshot) -> None:
        self._note = snapshot.note
        if self._stop.is_set():
            raise _StoppedError


def job_file(output: Path) -> Path:
    """Where the job is kept that made a file."""
    return output.with_name(f"{output.name}.json")


def keep_job(root: Path, job: Job, record: Record) -> None:
    """Write a job that is done beside its output."""
    kept = {"job": job, "command": command_of(job), "note": record.reason, "seconds": round(record.seconds, 1)}
    with whole(job_file(root / job["output"])) as temporary:
        temporary.write_text(json.dumps(kept | {"made": time.time()}, ensure_ascii=False), encoding="utf-8")


def _is_ready(job: BatchJob) -> bool:
    return all(Path(place).exists() for place in job.sources.values())


def _why(job: Job, problems: list) -> str:
    known = [problem.text for problem in problems]
    return known[0] if known else f"{job['output']} cannot be planned; remove it and try again"
