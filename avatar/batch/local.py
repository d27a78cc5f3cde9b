"""The local engine: worker processes of this machine, each with its share of the cores, memory and GPUs."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avatar.batch.attempt import Outcome
from avatar.batch.engine import Running
from avatar.batch.jobs import Job, Kind
from avatar.batch.journal import log_path
from avatar.batch.machine import Machine
from avatar.batch.work import Task
from avatar.batch.worker import READY
from avatar.core.files import UserError

READY_LINE = f"{READY}\n".encode()
START_SECONDS = 120.0  # for a worker to start: importing from a cold disk takes many
WORKER = (sys.executable, "-m", "avatar.batch.worker")
ALL_CORES: tuple[Kind, ...] = ("build",)
"""Its training budget is time, so it gets as many cores as when it is run by hand."""


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    gpu: str  # which it sees; empty for none
    job: Job | None = None
    since: float = 0.0
    cores: list[int] = field(default_factory=list)
    model: str = ""  # that its last job has loaded
    answer: bytes = b""
    ready: bool = False  # its first line has come

    @property
    def deadline(self) -> float:
        """time.monotonic() after which its job has run too long."""
        limit = self.job.limit if self.job else math.inf
        return self.since + limit + (0.0 if self.ready else START_SECONDS)

    @property
    def name(self) -> str:
        return f"worker {self.number + 1}"


class LocalEngine:
    """Processes of this machine. A worker starts with its first job and lives until the end, or a job kills it."""

    name = "local"

    def __init__(
        self, machine: Machine, folder: Path, *, workers: int | None = None, command: Sequence[str] = WORKER
    ) -> None:
        """folder: of the batch; workers: default: one a core; command: what starts a worker."""
        self._machine, self._folder, self._command = machine, folder, command
        self._count = workers or max(len(machine.cores), len(machine.gpus))
        self._slots = max(self._count, len(machine.cores))  # cores, counted more than once where workers are more
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._scratch = folder / "scratch"

    def check(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.need.gpus > len(self._machine.gpus):
                raise UserError(f"{job.id}: wants an NVIDIA GPU, and this machine has none; leave `device: cuda` out")
            if job.need.memory > self._machine.memory:
                raise UserError(
                    f"{job.id}: wants {job.need.memory:g} GB, and jobs can have {self._machine.memory:.1f} GB here"
                )

    def loaded_models(self) -> list[str]:
        return [worker.model for worker in self._workers.values() if worker.job is None and worker.model]

    def room_for(self, job: Job) -> bool:
        busy = [worker for worker in self._workers.values() if worker.job]
        memory = sum(worker.job.need.memory for worker in busy if worker.job)
        cores = sum(len(worker.cores) for worker in busy)
        fits = memory + job.need.memory <= self._machine.memory and cores + self._cores_for(job) <= self._slots
        return fits and self._worker_for(job) is not None

    def _cores_for(self, job: Job) -> int:
        """How many cores a job gets: as many as it needs, or the machine's divided by the number of workers."""
        share = len(self._machine.cores) if job.kind in ALL_CORES else self._slots // self._count
        return min(job.need.cpus or share, len(self._machine.cores))

    def _worker_for(self, job: Job) -> int | None:
        """The number of an idle worker, best one that has the job's model loaded; GPUs belong to the first workers."""
        able = range(len(self._machine.gpus) if job.need.gpus else self._count)
        idle = [number for number in able if number not in self._workers or self._workers[number].job is None]
        if not job.need.gpus:  # workers with a GPU are kept for jobs that can use one, as long as there are others
            idle.sort(key=lambda number: (number < len(self._machine.gpus)) != job.takes_gpu)
        models = {number: self._workers[number].model if number in self._workers else "" for number in idle}
        return min(idle, key=lambda number: (models[number] != job.model, bool(models[number])), default=None)

    def start(self, job: Job, *, replaces: bool, repeated: bool) -> None:
        number = self._worker_for(job)
        assert number is not None, "no room"
        worker = self._workers.get(number) or self._start_worker(number)
        load = Counter(core for other in self._workers.values() if other.job for core in other.cores)
        cores = sorted(self._machine.cores, key=lambda core: load[core])[: self._cores_for(job)]
        worker.job, worker.since, worker.cores, worker.model = job, time.monotonic(), cores, job.model
        task = Task(job, len(cores), replaces, repeated).to_json()
        message = {"task": task, "cores": cores, "log": str(log_path(self._folder, job.id))}
        assert worker.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has just died, which `wait` will see
            worker.process.stdin.write(json.dumps(message).encode() + b"\n")
            worker.process.stdin.flush()

    def _start_worker(self, number: int) -> _Worker:
        gpu = self._machine.gpus[number] if number < len(self._machine.gpus) else ""
        scratch = self._scratch / str(number)
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed worker left
        scratch.mkdir(parents=True, exist_ok=True)
        quiet = {"GLOG_minloglevel": "3", "TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_MININTERVAL": "10", "TMPDIR": str(scratch)}
        log = log_path(self._folder, f"worker-{number + 1}")  # of what it prints while it has no job
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | quiet | {"OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": gpu},
                start_new_session=True,  # Ctrl-C does not reach it, and its encoders can be killed with it
            )
        worker = self._workers[number] = _Worker(number, process, gpu)
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        return worker

    def wait(self, seconds: float) -> list[tuple[Job, str, Outcome]]:
        ended = []
        now = time.monotonic()
        left = [worker.deadline - now for worker in self._workers.values()]
        for key, _ in self._selector.select(max(0.0, min([seconds, *left]))):
            worker = key.data
            if (outcome := self._read_answer(worker)) and worker.job:
                ended.append((worker.job, worker.name, outcome))
                worker.job = None
        for worker in list(self._workers.values()):
            if worker.job and time.monotonic() >= worker.deadline:
                late = f"ran into its time limit of {worker.job.limit:g} s and was stopped; raise `limit`"
                ended.append((worker.job, worker.name, Outcome("late", late, time.monotonic() - worker.since)))
                self._end_worker(worker)
        return ended

    def _read_answer(self, worker: _Worker) -> Outcome | None:
        """The answer of a worker, when it is complete; of one that has died, how."""
        assert worker.process.stdout
        data = os.read(worker.process.stdout.fileno(), 1 << 20)
        if data:
            worker.answer += data
            if not worker.ready and worker.answer.startswith(READY_LINE):
                worker.answer = worker.answer.removeprefix(READY_LINE)
                worker.ready, worker.since = True, time.monotonic()
            if not worker.answer.endswith(b"\n"):
                return None
            answer, worker.answer = json.loads(worker.answer), b""
            return Outcome(**answer)
        self._end_worker(worker)
        return Outcome("crashed", _why_dead(worker.process.returncode), time.monotonic() - worker.since)

    def _end_worker(self, worker: _Worker) -> None:
        """End a worker, with its encoders."""
        assert worker.process.stdout
        assert worker.process.stdin
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        self._selector.unregister(worker.process.stdout)
        worker.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.close()
        del self._workers[worker.number]

    def running(self) -> list[Running]:
        busy = [worker for worker in self._workers.values() if worker.job]
        return [Running(worker.job, worker.name, worker.since) for worker in busy if worker.job]

    def stop(self, job: Job) -> None:
        for worker in [worker for worker in self._workers.values() if worker.job is job]:
            self._end_worker(worker)

    def close(self) -> None:
        for worker in list(self._workers.values()):
            self._end_worker(worker)
        shutil.rmtree(self._scratch, ignore_errors=True)


def _why_dead(code: int) -> str:
    if code >= 0:
        return f"its worker ended by itself with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
    return f"its worker was killed by {name}{hint}"
