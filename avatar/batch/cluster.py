"""The same jobs on a Ray cluster. Its nodes need this package, and see the same files or the same object store."""

from __future__ import annotations

import logging
import math
import os
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
CPUS: dict[Kind, int] = {
    "preprocess": 2,
    "build": 4,
    "speak": 1,
    "render": 1,
    "motion": 1,
    "evaluate": 2,
    "dub": 2,
    "say": 2,
    "present": 2,
}
"""CPUs of a job that does not name a number, where nodes have as many."""
JOBS_PER_CPU = 2  # submitted at a time: enough that no node waits for this process
POLL_SECONDS = 1.0  # between two looks at the cluster's nodes
CONNECT_SECONDS = 5.0
START_SECONDS, START_TRIES = 60.0, 5  # of the actor that notes starts


@dataclass
class _Submitted:
    job: Job
    reference: Any  # ray.ObjectRef
    since: float  # time.monotonic() when it was submitted; later, when it began
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
        self._starts = self._start_log_actor()
        self._submitted: dict[Any, _Submitted] = {}
        self._polled, self._room = 0.0, 0
        self._largest: dict[str, float] = {}
        self._poll_nodes()

    def _connect(self, address: str) -> None:
        place = address if address == "auto" or ":" in address else f"{address}:{PORT}"
        try:
            if address != "auto":
                _check_connection(place)
            quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
            self._ray.init(address=place, ignore_reinit_error=True, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--address {address}: no Ray cluster answers ({error}); start one with `ray start --head`"
            ) from error

    def _start_log_actor(self) -> Any:
        """A `_StartLog` that answers. Before any job: where jobs fill a node and crash, Ray may never start it."""
        here = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        strategy = here(self._ray.get_runtime_context().get_node_id(), soft=True)
        reason = ""
        for _ in range(START_TRIES):
            actor = self._ray.remote(_StartLog).options(num_cpus=0, scheduling_strategy=strategy).remote()
            try:
                self._ray.get(actor.take.remote(), timeout=START_SECONDS)
                return actor
            except self._ray.exceptions.RayActorError as error:  # as happens where a node has just been lost
                reason = _first_line(error)
            except self._ray.exceptions.GetTimeoutError:
                reason = f"none within {START_SECONDS:g} s"
        self._ray.shutdown()
        raise UserError(f"the Ray cluster starts no worker ({reason}); see its logs")

    def _poll_nodes(self) -> None:
        """Update what the cluster has: nodes come and go."""
        self._polled = time.monotonic()
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._largest = {
            name: max((node.get(name, 0) for node in alive), default=0) for name in ("CPU", "GPU", "memory")
        }
        total = sum(node.get("CPU", 0) for node in alive)
        self._room = self._most or max(1, math.ceil(JOBS_PER_CPU * total))

    def check(self, jobs: list[Job]) -> None:
        has = self._largest
        for job in jobs:
            need = job.need
            if (need.cpus or 1) > has["CPU"] or need.gpus > has["GPU"] or need.memory * 1e9 > has["memory"]:
                raise UserError(
                    f"{job.id}: wants {need.cpus or 1} CPUs, {need.gpus} GPUs, {need.memory:g} GB, and the largest "
                    f"node has {has['CPU']:g}, {has['GPU']:g}, {has['memory'] / 1e9:.1f} GB"
                )

    def loaded_models(self) -> list[str]:
        return []  # Ray chooses the worker; jobs of one avatar are started one after the other anyway

    def room_for(self, job: Job) -> bool:
        return len(self._submitted) < self._room

    def start(self, job: Job, *, replaces: bool, repeated: bool) -> None:
        cpus = int(job.need.cpus or max(1, min(CPUS[job.kind], self._largest["CPU"])))
        options = {"num_cpus": cpus, "num_gpus": job.need.gpus, "memory": int(job.need.memory * 1e9)}
        task = Task(job, cpus, replaces, repeated).to_json()
        reference = self._task.options(**options, name=job.id).remote(task, self._run, self._starts)
        self._submitted[reference] = _Submitted(job, reference, time.monotonic())

    def wait(self, seconds: float) -> list[tuple[Job, str, Outcome]]:
        waiting = list(self._submitted)
        if not waiting:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        ended = [self._collect(self._submitted.pop(reference)) for reference in ready]
        if time.monotonic() - self._polled > POLL_SECONDS:
            self._poll_nodes()
            self._see_started()
            ended += self._stop_late()
        return ended

    def _see_started(self) -> None:
        try:
            started = self._ray.get(self._starts.take.remote(), timeout=POLL_SECONDS)
        except self._ray.exceptions.RayError:
            return  # the next poll reads it
        by_task = {one.reference.task_id().hex(): one for one in self._submitted.values()}
        for task, node in started:
            if task in by_task:  # else an attempt that has ended; the job may be waiting for its next one
                by_task[task].node, by_task[task].since = node, time.monotonic()

    def _stop_late(self) -> list[tuple[Job, str, Outcome]]:
        ended = []
        for one in list(self._submitted.values()):
            took = time.monotonic() - one.since
            if one.node and took > one.job.limit:
                self.stop(one.job)
                reason = f"ran into its time limit of {one.job.limit:g} s and was stopped; raise `limit`"
                ended.append((one.job, one.node, Outcome("late", reason, took)))
        return ended

    def _collect(self, one: _Submitted) -> tuple[Job, str, Outcome]:
        errors = self._ray.exceptions
        took = time.monotonic() - one.since
        try:
            answer = self._ray.get(one.reference)
            return one.job, answer.pop("node"), Outcome(**answer)
        except (errors.NodeDiedError, errors.ObjectLostError, errors.RaySystemError) as error:
            outcome = Outcome("lost", f"its node was lost ({_first_line(error)})", took)
        except errors.WorkerCrashedError:
            outcome = Outcome("crashed", "its worker died", took)
        except errors.OutOfMemoryError:
            outcome = Outcome("crashed", "its worker was killed, as memory ran out on its node", took)
        except errors.RayError as error:  # such as: the package is missing on a node
            outcome = Outcome("failed", _first_line(error), took, log=str(error))
        return one.job, one.node, outcome

    def running(self) -> list[Running]:
        return [Running(one.job, one.node or "no node yet", one.since) for one in self._submitted.values()]

    def stop(self, job: Job) -> None:
        for one in [one for one in self._submitted.values() if one.job is job]:
            self._ray.cancel(one.reference, force=True)
            del self._submitted[one.reference]

    def close(self) -> None:
        for one in list(self._submitted.values()):
            self.stop(one.job)
        self._ray.shutdown()


class _StartLog:
    """An actor that notes which tasks have begun: Ray itself reports only which have ended."""

    def __init__(self) -> None:
        self._started: list[tuple[str, str]] = []

    def started(self, task: str, node: str) -> None:
        self._started.append((task, node))

    def take(self) -> list[tuple[str, str]]:
        """Ids of the tasks that have begun since the last call, and their nodes."""
        started, self._started = self._started, []
        return started


def _do(values: dict[str, Any], run: Runner, starts: Any) -> dict[str, Any]:
    """A task, on some node."""
    ray = _import_ray()
    task, context = task_from_json(values), ray.get_runtime_context()
    node = f"node {context.get_node_id()[:8]}"
    starts.started.remote(context.get_task_id(), node)
    if not task.job.need.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # `auto` takes no GPU that Ray did not assign
    with _log_file() as log:
        with printing_to(log):
            outcome = attempt(task, run)
        return outcome.to_json() | {"log": read_end(log), "node": node}


def _check_connection(place: str) -> None:
    """Raise OSError unless something answers at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = place.removeprefix("ray://").rpartition(":")
    socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


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
