"""Scheduler: which job is next. Knows what waits for what, and of the engine what it has room for and has loaded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from graphlib import TopologicalSorter

from avatar.batch.engine import Engine
from avatar.batch.jobs import Job, Need
from avatar.batch.plan import ENTRY, Plan

MAX_OVERTAKEN = 60.0
"""Seconds for which jobs that need less may overtake the oldest, which then gets the next room: it must not starve.
About the length of a film's job, so that a large job waits for the running ones and not for all that are ready."""

Group = tuple[str, str, Need]
"""Jobs alike: of one kind, with one model and one need."""


class Scheduler:
    """Hands out ready jobs: those whose model a worker has loaded first, else the oldest."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sorter: TopologicalSorter[str] = TopologicalSorter(plan.waits)
        self._sorter.prepare()
        self._order = {name: place for place, name in enumerate(plan.jobs)}
        self._ready: dict[Group, deque[Job]] = {}
        self._overtaken_since: dict[Group, float] = {}
        self._pending = dict.fromkeys(plan.jobs)  # neither done nor failed
        self._failures: dict[str, str] = {}  # job -> how it ended
        self._admit()

    def _admit(self) -> None:
        """Make those jobs ready that wait for nothing any more."""
        while nodes := self._sorter.get_ready():
            for name in sorted(nodes, key=lambda name: self._order.get(name, -1)):
                if name in self._order:
                    job = self._plan.jobs[name]
                    self._ready.setdefault(_group(job), deque()).append(job)
                else:
                    self._sorter.done(name)

    @property
    def has_ready(self) -> bool:
        """Whether there is a job that waits for nothing."""
        return bool(self._ready)

    def next(self, engine: Engine) -> Job | None:
        """Take the next job that the engine has room for."""
        room: dict[tuple[str, Need], bool] = {}

        def fits(group: Group) -> bool:
            kind = (group[0], group[2])
            if kind not in room:
                room[kind] = engine.room_for(self._ready[group][0])
            return room[kind]

        loaded = set(engine.loaded_models())
        first = next(iter(self._ready), None)
        overtaken = time.monotonic() - self._overtaken_since.get(first, time.monotonic()) if first else 0.0
        if overtaken < MAX_OVERTAKEN:
            for group in (group for group in self._ready if group[1] in loaded):
                if fits(group):
                    return self._pop(group)
        for group in self._ready:
            if fits(group):
                return self._pop(group)
            if overtaken >= MAX_OVERTAKEN:
                break
        return None

    def _pop(self, group: Group) -> Job:
        first = next(iter(self._ready))
        self._overtaken_since.pop(group, None)
        if group is not first and group[2] != first[2]:
            self._overtaken_since.setdefault(first, time.monotonic())
        queue = self._ready[group]
        job = queue.popleft()
        if not queue:
            del self._ready[group]
        return job

    def requeue(self, job: Job) -> None:
        """A job that was taken has to be tried again."""
        self._ready.setdefault(_group(job), deque()).append(job)

    def done(self, job: Job) -> None:
        """A job is done: those that wait for nothing else become ready."""
        self._pending.pop(job.id)
        self._sorter.done(job.id)
        self._admit()

    def failed(self, job: Job, how: str) -> None:
        """A job will not be done: those that wait for it never become ready."""
        self._pending.pop(job.id)
        self._failures[job.id] = how

    def pending(self) -> Iterator[tuple[Job, str]]:
        """Jobs that are neither done nor failed, and what they wait for."""
        for name in self._pending:
            yield self._plan.jobs[name], self._obstacle(name)

    def _obstacle(self, name: str) -> str:
        for before in sorted(self._plan.waits[name]):
            members = self._plan.waits[before] if before.startswith(ENTRY) and before not in self._order else {before}
            for one in sorted(members):
                if one in self._failures:
                    return f"waits for {one}, which {self._failures[one]}"
        return "waits for a job that could not be run"


def _group(job: Job) -> Group:
    return (job.kind, job.model, job.need)
