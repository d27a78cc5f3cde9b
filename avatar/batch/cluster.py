"""The same jobs on a Ray cluster. Its nodes need this package, and see the same files or the same object store."""

from __future__ import annotations

import logging
import math
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar.batch.attempt import Outcome, attempt, printing_to, read_end
from avatar.batch.engine import Running
from avatar.batch.jobs import Job, Kind
from avatar.batch.work import Runner, Task, run_one, task_from_json
from avatar.core.files import UserError

PORT = 6379
CPUS: dict[Kind, int] = {"preprocess": 2, "build": 4, "speak": 1, "evaluate": 2}
"""What a job gets unless it says otherwise, where nodes have as many."""
WINDOW = 2  # jobs under way for each CPU of the cluster: enough that no node waits for us
LOOK_EVERY = 1.0  # seconds
KNOCK_SECONDS = 5.0
START_SECONDS, TRIES = 60.0, 5  # of the board


@dataclass
class _Flight:
    job: Job
    reference: Any  # ray.ObjectRef
    since: float  # time.monotonic(), when it was handed over or, later, when it began
    node: str = ""  # where it runs; empty until it does


class RayEngine:
    """Jobs as Ray tasks, each with the CPUs, memory and GPUs of its kind; Ray chooses the node."""

    name = "ray"

    def __init__(self, address: str = "auto", *, most: int | None = None, run: Runner = run_one) -> None:
        """address: `auto`, HOST, HOST:PORT or ray://HOST:PORT; most: jobs under way. Raises: UserError."""
        self._ray = _import_ray()
        self._connect(address)
        self._run, self._most = run, most
        self._task = self._ray.remote(max_retries=0)(_do)
        self._board = self._start_board()
        self._flights: dict[Any, _Flight] = {}
        self._looked, self._room = 0.0, 0
        self._largest: dict[str, float] = {}
        self._look()

    def _connect(self, address: str) -> None:
        place = address if address == "auto" or ":" in address else f"{address}:{PORT}"
        try:
            if address != "auto":
                _knock(place)
            quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
            self._ray.init(address=place, ignore_reinit_error=True, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--address {address}: no Ray cluster answers ({error}); start one with `ray start --head`"
            ) from error

    def _start_board(self) -> Any:
        """A board that answers; before any job, since where jobs fill a node and crash Ray may never start it."""
        here = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        strategy = here(self._ray.get_runtime_context().get_node_id(), soft=True)
        reason = ""
        for _ in range(TRIES):
            board = self._ray.remote(_Board).options(num_cpus=0, scheduling_strategy=strategy).remote()
            try:
                self._ray.get(board.take.remote(), timeout=START_SECONDS)
                return board
            except self._ray.exceptions.RayActorError as error:  # as happens where a node has just been lost
                reason = _first_line(error)
            except self._ray.exceptions.GetTimeoutError:
                reason = f"none within {START_SECONDS:g} s"
        self._ray.shutdown()
        raise UserError(f"the Ray cluster starts no worker ({reason}); see its logs")

    def _look(self) -> None:
        """See what the cluster has now: nodes come and go."""
        self._looked = time.monotonic()
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._largest = {
            name: max((node.get(name, 0) for node in alive), default=0) for name in ("CPU", "GPU", "memory")
        }
        total = sum(node.get("CPU", 0) for node in alive)
        self._room = self._most or max(1, math.ceil(WINDOW * total))

    def check(self, jobs: list[Job]) -> None:
        has = self._largest
        for job in jobs:
            need = job.need
            if (need.cpus or 1) > has["CPU"] or need.gpus > has["GPU"] or need.memory * 1e9 > has["memory"]:
                raise UserError(
                    f"{job.id}: wants {need.cpus or 1} CPUs, {need.gpus} GPUs, {need.memory:g} GB, and the largest "
                    f"node has {has['CPU']:g}, {has['GPU']:g}, {has['memory'] / 1e9:.1f} GB"
                )

    def favourites(self) -> list[str]:
        return []  # Ray chooses the worker; jobs of one avatar come one after the other anyway

    def room_for(self, job: Job) -> bool:
        return len(self._flights) < self._room

    def start(self, job: Job, *, ours: bool, again: bool) -> None:
        cpus = int(job.need.cpus or max(1, min(CPUS[job.kind], self._largest["CPU"])))
        options = {"num_cpus": cpus, "num_gpus": job.need.gpus, "memory": int(job.need.memory * 1e9)}
        task = Task(job, cpus, ours, again).to_json()
        reference = self._task.options(**options, name=job.id).remote(task, self._run, self._board)
        self._flights[reference] = _Flight(job, reference, time.monotonic())

    def wait(self, seconds: float) -> list[tuple[Job, str, Outcome]]:
        waiting = list(self._flights)
        if not waiting:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        ended = [self._land(self._flights.pop(reference)) for reference in ready]
        if time.monotonic() - self._looked > LOOK_EVERY:
            self._look()
            self._see_started()
            ended += self._stop_late()
        return ended

    def _see_started(self) -> None:
        try:
            started = self._ray.get(self._board.take.remote(), timeout=LOOK_EVERY)
        except self._ray.exceptions.RayError:
            return  # it is asked again
        by_job = {flight.job.id: flight for flight in self._flights.values()}
        for job, node in started:
            if job in by_job:
                by_job[job].node, by_job[job].since = node, time.monotonic()

    def _stop_late(self) -> list[tuple[Job, str, Outcome]]:
        ended = []
        for flight in list(self._flights.values()):
            took = time.monotonic() - flight.since
            if flight.node and took > flight.job.limit:
                self.stop(flight.job)
                reason = f"ran into its time limit of {flight.job.limit:g} s and was stopped; raise `limit`"
                ended.append((flight.job, flight.node, Outcome("late", reason, took)))
        return ended

    def _land(self, flight: _Flight) -> tuple[Job, str, Outcome]:
        errors = self._ray.exceptions
        took = time.monotonic() - flight.since
        try:
            answer = self._ray.get(flight.reference)
            return flight.job, answer.pop("node"), Outcome(**answer)
        except (errors.NodeDiedError, errors.ObjectLostError, errors.RaySystemError) as error:
            outcome = Outcome("lost", f"its node was lost ({_first_line(error)})", took)
        except errors.WorkerCrashedError:
            outcome = Outcome("crashed", "its worker died", took)
        except errors.OutOfMemoryError:
            outcome = Outcome("crashed", "its worker was killed, as memory ran out on its node", took)
        except errors.RayError as error:  # such as: the package is missing on a node
            outcome = Outcome("failed", _first_line(error), took, log=str(error))
        return flight.job, flight.node, outcome

    def running(self) -> list[Running]:
        return [Running(one.job, one.node or "no node yet", one.since) for one in self._flights.values()]

    def stop(self, job: Job) -> None:
        for flight in [flight for flight in self._flights.values() if flight.job is job]:
            self._ray.cancel(flight.reference, force=True)
            del self._flights[flight.reference]

    def close(self) -> None:
        for flight in list(self._flights.values()):
            self.stop(flight.job)
        self._ray.shutdown()


class _Board:
    """Where tasks say that they have begun: Ray itself tells only when they have ended."""

    def __init__(self) -> None:
        self._started: list[tuple[str, str]] = []

    def started(self, job: str, node: str) -> None:
        self._started.append((job, node))

    def take(self) -> list[tuple[str, str]]:
        """What was said since the last time."""
        started, self._started = self._started, []
        return started


def _do(values: dict[str, Any], run: Runner, board: Any) -> dict[str, Any]:
    """A task, on some node."""
    ray = _import_ray()
    task = task_from_json(values)
    node = f"node {ray.get_runtime_context().get_node_id()[:8]}"
    board.started.remote(task.job.id, node)
    with _log_file() as log:
        with printing_to(log):
            outcome = attempt(task, run)
        return outcome.to_json() | {"log": read_end(log), "node": node}


def _knock(place: str) -> None:
    """Raise OSError unless somebody listens at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = place.removeprefix("ray://").rpartition(":")
    socket.create_connection((host, int(port)), KNOCK_SECONDS).close()


@contextmanager
def _log_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="avatar-batch-") as folder:
        yield Path(folder) / "log"


def _import_ray() -> Any:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UserError("--engine ray: needs Ray; pip install 'avatar-builder[ray]'") from error
    return ray


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
