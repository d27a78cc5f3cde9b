"""Foreman: which job is next. Knows what waits for what, and nothing of workers but whether they have room."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from graphlib import TopologicalSorter

from avatar.batch.engine import Engine
from avatar.batch.jobs import Job, Need
from avatar.batch.plan import ENTRY, Plan

PATIENCE = 60.0  # seconds for which a job that needs much may be overtaken by jobs that need little

Group = tuple[str, str, Need]
"""Jobs alike: of one kind, with one model and one need."""


class Scheduler:
    """Hands out jobs whose turn has come: those of an avatar that a worker has loaded first, else the oldest."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sorter: TopologicalSorter[str] = TopologicalSorter(plan.waits)
        self._sorter.prepare()
        self._order = {name: place for place, name in enumerate(plan.jobs)}
        self._ready: dict[Group, deque[Job]] = {}
        self._overtaken: dict[Group, float] = {}  # since when
        self._left = dict.fromkeys(plan.jobs)  # neither done nor failed
        self._bad: dict[str, str] = {}  # how they ended
        self._admit()

    def _admit(self) -> None:
        while nodes := self._sorter.get_ready():
            for name in sorted(nodes, key=lambda name: self._order.get(name, -1)):
                if name in self._order:
                    job = self._plan.jobs[name]
                    self._ready.setdefault(_group(job), deque()).append(job)
                else:
                    self._sorter.done(name)

    @property
    def has_ready(self) -> bool:
        """Whether a job's turn has come."""
        return bool(self._ready)

    def next(self, engine: Engine) -> Job | None:
        """Take the next job that the engine has room for."""
        room: dict[tuple[str, Need], bool] = {}

        def fits(group: Group) -> bool:
            kind = (group[0], group[2])
            if kind not in room:
                room[kind] = engine.room_for(self._ready[group][0])
            return room[kind]

        liked = set(engine.favourites())
        first = next(iter(self._ready), None)
        waited = time.monotonic() - self._overtaken.get(first, time.monotonic()) if first else 0.0
        if waited < PATIENCE:
            for group in (group for group in self._ready if group[1] in liked):
                if fits(group):
                    return self._pop(group)
        for group in self._ready:
            if fits(group):
                return self._pop(group)
            if waited >= PATIENCE:
                break
        return None

    def _pop(self, group: Group) -> Job:
        first = next(iter(self._ready))
        self._overtaken.pop(group, None)
        if group is not first and group[2] != first[2]:
            self._overtaken.setdefault(first, time.monotonic())
        queue = self._ready[group]
        job = queue.popleft()
        if not queue:
            del self._ready[group]
        return job

    def back(self, job: Job) -> None:
        """A job that was taken has to be tried again."""
        self._ready.setdefault(_group(job), deque()).append(job)

    def done(self, job: Job) -> None:
        """A job is done: others may have waited for it."""
        self._left.pop(job.id)
        self._sorter.done(job.id)
        self._admit()

    def failed(self, job: Job, how: str) -> None:
        """A job will not be done: those that wait for it never become ready."""
        self._left.pop(job.id)
        self._bad[job.id] = how

    def left(self) -> Iterator[tuple[Job, str]]:
        """Jobs that are neither done nor failed, and what stands in their way."""
        for name in self._left:
            yield self._plan.jobs[name], self._obstacle(name)

    def _obstacle(self, name: str) -> str:
        for before in sorted(self._plan.waits[name]):
            members = self._plan.waits[before] if before.startswith(ENTRY) and before not in self._order else {before}
            for one in sorted(members):
                if one in self._bad:
                    return f"waits for {one}, which {self._bad[one]}"
        return "waits for a job that could not be run"


def _group(job: Job) -> Group:
    return (job.kind, job.model, job.need)
