"""What an engine is: it takes tasks as long as it has room, and reports how they ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from avatar.batch.attempt import Outcome
from avatar.batch.jobs import Job


@dataclass(frozen=True)
class Running:
    """A job that runs just now."""

    job: Job
    worker: str
    since: float  # time.monotonic()


class Engine(Protocol):
    """Where jobs run. An engine enforces time limits; it neither orders nor repeats jobs."""

    name: str

    def check(self, jobs: list[Job]) -> None:
        """Raise UserError when there is a job that can never run here."""

    def loaded_models(self) -> list[str]:
        """Models (`Job.model`) that idle workers have loaded."""

    def room_for(self, job: Job) -> bool:
        """Whether a job can start at once."""

    def start(self, job: Job, *, replaces: bool, repeated: bool) -> None:
        """Start a job that there is room for; replaces, repeated: as in `Task`."""

    def wait(self, seconds: float) -> list[tuple[Job, str, Outcome]]:
        """Jobs that have ended, on which worker and how; waits for one, but not longer than that."""

    def running(self) -> list[Running]:
        """What runs now."""

    def stop(self, job: Job) -> None:
        """End a running job at once; `wait` does not return it."""

    def close(self) -> None:
        """End everything at once."""
