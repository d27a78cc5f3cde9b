"""Stages: commands with a time limit and a log each, some at the same time, each able to fail alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SKIPPED = 77  # exit status of a command that cannot run here, as in automake's test suites; its last line says why
NOT_THERE = 127  # exit status of a command that is not there, as in a shell
GRACE_SECONDS = 5.0  # between the signals that end a stage and kill it
SAMPLES_MS = 250  # between two readings of the GPU's memory


@dataclass(frozen=True)
class Stage:
    """Commands that are run one after the other. `{folder}` in them is the stage's own, `{output}` its JSON file."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    limit: float  # seconds, all commands together
    after: tuple[str, ...] = ()  # stages that must have succeeded, where they are run at all
    timed: bool = False  # measures times, so nothing runs beside it
    missing: str = ""  # why it cannot run here
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """How a stage ended."""

    name: str
    state: str  # ok, failed, skipped
    seconds: float = 0.0
    reason: str = ""  # a line, unless ok
    peak_mib: int | None = None  # of the GPU's memory in use; of timed stages
    figures: Mapping[str, Any] = field(default_factory=dict)  # what it wrote to {output}


def run_stages(stages: Sequence[Stage], folder: Path, limit: float) -> Iterator[Result]:
    """Run stages and yield their results as they end: first all that are not timed, together, then each timed one.

    folder: gets a log and a folder of each stage. limit: seconds for all; what does not fit is cut short or skipped.
    """
    deadline = time.monotonic() + limit
    results: dict[str, Result] = {}

    def run(stage: Stage, before: Sequence[Result]) -> Result:
        for one in before:
            if one.state != "ok":
                return Result(stage.name, "skipped", reason=f"{one.name} {one.state}: {one.reason}")
        return run_stage(stage, folder, deadline)

    together = [stage for stage in stages if not stage.timed]
    with ThreadPoolExecutor(max(1, len(together))) as pool:
        futures: dict[str, Future[Result]] = {}

        def run_after(stage: Stage, before: Sequence[Future[Result]]) -> Result:
            return run(stage, [one.result() for one in before])

        for stage in together:  # each comes after those that it waits for
            before = [futures[name] for name in stage.after if name in futures]
            futures[stage.name] = pool.submit(run_after, stage, before)
        for ended in as_completed(futures.values()):
            yield results.setdefault(ended.result().name, ended.result())
    for stage in stages:
        if stage.timed:
            before = [results[name] for name in stage.after if name in results]
            yield results.setdefault(stage.name, run(stage, before))


def run_stage(stage: Stage, folder: Path, deadline: float) -> Result:
    """Run one stage, until its limit or a time of time.monotonic()."""
    if stage.missing:
        return Result(stage.name, "skipped", reason=stage.missing)
    start = time.monotonic()
    end = min(start + stage.limit, deadline)
    if end <= start:
        return Result(stage.name, "skipped", reason="no time was left")
    own, log = folder / stage.name, folder / f"{stage.name}.log"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    output = own / "figures.json"
    with log.open("w") as written, memory_readings(own, stage.timed) as peak:
        state, reason = "ok", ""
        for command in stage.commands:
            filled = [part.replace("{folder}", str(own)).replace("{output}", str(output)) for part in command]
            code = run_command(filled, written, dict(os.environ) | dict(stage.environment), end - time.monotonic())
            if code is None:
                state, reason = "failed", f"stopped after {time.monotonic() - start:.0f} s"
            elif code:
                state = "skipped" if code == SKIPPED else "failed"
                reason = last_line(log) or f"exit status {code}"
            if state != "ok":
                break
    seconds = time.monotonic() - start
    return Result(stage.name, state, seconds, reason, peak(), read_figures(output))


def run_command(command: list[str], log: Any, environment: dict[str, str], seconds: float) -> int | None:
    """Exit status of a command; None if it was stopped because its time was over. What it started ends with it."""
    print("$", *command, file=log, flush=True)
    streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
    try:
        process = subprocess.Popen(command, **streams, env=environment, start_new_session=True)
    except OSError as error:
        print(error, file=log, flush=True)
        return NOT_THERE
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None
    finally:
        stop(process)


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process and all of its session, which is its own."""
    for sent, grace in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            return
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def memory_readings(folder: Path, wanted: bool) -> Iterator[Any]:
    """While it lasts, read the memory in use of the first GPU; gives a function for the most of it, MiB."""
    path, smi = folder / "memory.txt", shutil.which("nvidia-smi")
    if not wanted or smi is None:
        yield lambda: None
        return
    query = [smi, "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits", f"--loop-ms={SAMPLES_MS}"]
    with path.open("w") as readings:
        process = subprocess.Popen(query, stdout=readings, stderr=subprocess.DEVNULL)
        try:
            yield lambda: max((int(line) for line in path.read_text().split() if line.isdigit()), default=None)
        finally:
            process.kill()
            process.wait()


def read_figures(path: Path) -> dict[str, Any]:
    """The JSON object that a stage wrote; empty if it wrote none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip(" =-\t")]
    return lines[-1][:200] if lines and not lines[-1].startswith("$") else ""


def plain_figures(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each figure of a JSON object with its name; what says where it was measured is left out."""
    for key, value in content.items():
        name = f"{prefix} {key}".strip()
        if key == "machine" or isinstance(value, bool):
            continue
        if isinstance(value, Mapping):
            yield from plain_figures(value, name)
        elif isinstance(value, (int, float)):
            yield name, f"{value:.4g}"
        elif key == "rows":
            for row in value:
                beside = f"  {row['against_ms'] / row['min_ms']:.2f}x {row['against']}" if row.get("against_ms") else ""
                yield f"{prefix} {row['name']}".strip(), f"{row['min_ms']:.3f} ms{beside}"


def write(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
