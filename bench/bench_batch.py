"""The figures of `avatar batch`: python -m bench.bench_batch speed|overhead|kill|ray [--avatar A].

speed     40 speeches of 5 s by one avatar, two workers against one: one that has a core as each of the two has, and one
          that has the whole machine. From start to end of the command.
overhead  1000 jobs that cost nothing, on the local engine and on Ray; and the same run again, everything unchanged.
kill      `kill -9` at 50 random moments, of the command or a worker; then a run to the end. Films are compared byte by
          byte with those of an undisturbed run.
ray       40 films on two Ray nodes on this machine, one of which is killed in the middle.

Without --avatar one of the synthetic actor is built first (a minute). Results are kept in bench/results/batch.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from avatar.batch.engine import Engine
from avatar.batch.journal import Journal, Record
from avatar.batch.local import LocalEngine
from avatar.batch.machine import this_machine
from avatar.batch.plan import make_plan
from avatar.batch.run import Snapshot, run_batch
from avatar.batch.work import run_one
from avatar.core.media import SAMPLE_RATE, probe, read_speech, write_wav
from avatar.core.recipe import Recipe
from avatar.pipelines.build import build
from bench.idle_worker import touch
from preprocess.actor import film_actor

RESULTS = Path("bench/results/batch.json")
SPEECHES, SECONDS = 40, 5
KILLS = 50


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    name: str
    value: float
    unit: str


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "avatar.cli", "batch", *map(str, arguments)]


def make_studio(folder: Path, avatar: Path | None) -> Path:
    """A folder with an avatar and 40 speeches, each another five seconds of the package's recording."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "actor.avatar"
    if avatar:
        shutil.copyfile(avatar, made)
    elif not made.exists():
        film_actor(folder / "actor.mp4", seconds=12.0)
        build(folder / "actor.mp4", made, recipe=Recipe(budget_seconds=40, holdout=0.1))
    speech = torch.cat(list(read_speech(Path(str(files("avatar") / "assets" / "actor_speech.flac")))))
    for index in range(SPEECHES):
        write_wav(folder / f"speech{index:02d}.wav", speech.roll(-index * SAMPLE_RATE // 3)[: SECONDS * SAMPLE_RATE])
    return folder


def write_jobs(folder: Path, name: str, **values: object) -> Path:
    """A job file with a film for each speech."""
    job = {"kind": "speak", "avatar": "actor.avatar", "speech": "speech*.wav", "output": f"{name}/{{speech}}.mp4"}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"jobs": [job | values]}))
    for old in (path.with_suffix(".batch"), folder / name):
        shutil.rmtree(old, ignore_errors=True)
    return path


def measure_speed(folder: Path) -> list[Figure]:
    spent = {}
    subprocess.run(
        command(write_jobs(folder, "warm", speech="speech00.wav")), check=True
    )  # reads packages into the page cache
    for name, workers, values in (("one_core", 1, {"cpus": 1}), ("two", 2, {}), ("one_machine", 1, {})):
        jobs = write_jobs(folder, name, **values)
        start = time.perf_counter()
        subprocess.run(command(jobs, "--jobs", workers), check=True, stdout=subprocess.DEVNULL)
        spent[name] = time.perf_counter() - start
    return [
        Figure("40 speeches of 5 s, one worker with one core", spent["one_core"], "s"),
        Figure("40 speeches of 5 s, one worker with the whole machine", spent["one_machine"], "s"),
        Figure("40 speeches of 5 s, two workers", spent["two"], "s"),
        Figure("two workers against one with one core", spent["one_core"] / spent["two"], "x"),
        Figure("two workers against one with the whole machine", spent["one_machine"] / spent["two"], "x"),
        Figure("two workers, times real time", SPEECHES * SECONDS / spent["two"], "x"),
    ]


def measure_overhead(folder: Path, count: int = 1000) -> list[Figure]:
    lines = [
        {"kind": "speak", "avatar": "actor.avatar", "speech": "speech00.wav", "output": f"idle/{i}.mp4"}
        for i in range(count)
    ]
    jobs = folder / "idle.jsonl"
    jobs.write_text("\n".join(map(json.dumps, lines)))

    def run(engine: Engine) -> float:
        start = time.perf_counter()
        plan, problems = make_plan(jobs)
        assert not problems
        end = run_batch(plan, engine, jobs.with_suffix(".batch"))
        assert end.counts["done"] == count
        return 1e3 * (time.perf_counter() - start) / count

    def fresh() -> Path:
        for old in (jobs.with_suffix(".batch"), folder / "idle"):
            shutil.rmtree(old, ignore_errors=True)
        return jobs.with_suffix(".batch")

    idle = (sys.executable, "-m", "bench.idle_worker")
    local = run(LocalEngine(this_machine(), fresh(), workers=2, command=idle))
    start = time.perf_counter()
    subprocess.run(command(jobs), check=True, stdout=subprocess.DEVNULL)
    again = 1e3 * (time.perf_counter() - start) / count
    fresh()
    with ray_nodes(1) as cluster:
        from avatar.batch.cluster import RayEngine

        ray = run(RayEngine(cluster.address, run=touch))
    return [
        Figure("overhead a job, 1000 idle jobs, two local workers, start and plan included", local, "ms"),
        Figure("the same command again, everything unchanged, start of Python included", again, "ms"),
        Figure("overhead a job, 1000 idle jobs, Ray on this machine", ray, "ms"),
    ]


def measure_kills(folder: Path, seed: int) -> list[Figure]:
    settings = {"size": 128, "quality": "draft"}
    reference = write_jobs(folder, "undisturbed", **settings)
    subprocess.run(command(reference), check=True, stdout=subprocess.DEVNULL)
    truth = {path.name: digest(path) for path in (folder / "undisturbed").iterdir()}
    draw, killed, wrong, redone, rounds = random.Random(seed), {"command": 0, "worker": 0}, 0, 0, 0
    while sum(killed.values()) < KILLS:
        jobs = write_jobs(folder, "disturbed", **settings)
        rounds, finished = rounds + 1, {}
        while not complete(jobs):
            process = subprocess.Popen(command(jobs, "--retry-failed"), stdout=subprocess.DEVNULL)
            while process.poll() is None and sum(killed.values()) < KILLS:
                if victim := kill_one(process, jobs.with_suffix(".batch"), draw):
                    killed[victim] += 1
            process.wait()
            wait_until_gone(jobs.with_suffix(".batch"))
            now = {one.id: one.finished for one in records(jobs) if one.state == "done"}
            redone += sum(now.get(name) != when for name, when in finished.items())
            finished = now
        found = {path.name: digest(path) for path in (folder / "disturbed").iterdir()}
        wrong += sum(found.get(name) != value for name, value in truth.items()) + len(found.keys() - truth.keys())
    return [
        Figure("kills of the command", killed["command"], ""),
        Figure("kills of workers", killed["worker"], ""),
        Figure("batches run to their end", rounds, ""),
        Figure("lost or corrupt films, or files left over", wrong, ""),
        Figure("finished jobs that were done again", redone, ""),
    ]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def records(jobs: Path) -> list[Record]:
    if not (jobs.with_suffix(".batch") / "journal.sqlite").exists():
        return []
    with closing(Journal(jobs.with_suffix(".batch"), make=False)) as journal:
        return list(journal.read())


def complete(jobs: Path) -> bool:
    found = records(jobs)
    return len(found) == SPEECHES and all(record.state == "done" for record in found)


def workers_of(state: Path) -> list[int]:
    """Processes whose scratch folder lies in the batch's folder: workers and their encoders."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={state}".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def kill_one(process: subprocess.Popen[bytes], state: Path, draw: random.Random) -> str:
    """Kill the command, or one of its workers or encoders, at some moment; which, or nothing if it was too late."""
    victim = draw.choice(["command", "worker"])
    while victim == "worker" and process.poll() is None and not workers_of(state):
        time.sleep(0.05)
    time.sleep(draw.uniform(0.0, 8.0 if victim == "command" else 2.0))
    workers = workers_of(state)
    if process.poll() is not None or (victim == "worker" and not workers):
        return ""
    try:
        os.kill(process.pid if victim == "command" else draw.choice(workers), signal.SIGKILL)
    except ProcessLookupError:
        return ""
    if victim == "command":
        process.wait()
    return victim


def wait_until_gone(state: Path) -> None:
    until = time.monotonic() + 20
    while workers_of(state):
        if time.monotonic() > until:
            raise SystemExit("a worker outlived its command")
        time.sleep(0.05)


@contextmanager
def ray_nodes(count: int) -> Iterator[Any]:
    """A Ray cluster on this machine, of nodes with a core each (one with two, if it is the only one)."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2 // count, "object_store_memory": 80_000_000, "memory": 8_000_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    cluster.others = [cluster.add_node(**node) for _ in range(count - 1)]
    cluster.wait_for_nodes()
    try:
        yield cluster
    finally:
        cluster.shutdown()


def measure_ray(folder: Path) -> list[Figure]:
    from avatar.batch.cluster import RayEngine

    jobs, killed_at = write_jobs(folder, "ray", size=128, quality="draft"), []
    with ray_nodes(2) as cluster:

        def kill_in_the_middle(snapshot: Snapshot) -> None:
            if not killed_at and snapshot.counts.get("done", 0) >= SPEECHES // 3:
                killed_at.append(snapshot.counts["done"])
                cluster.remove_node(cluster.others[0], allow_graceful=False)

        plan, _ = make_plan(jobs)
        end = run_batch(
            plan, RayEngine(cluster.address, run=run_one), jobs.with_suffix(".batch"), show=kill_in_the_middle
        )
    lengths = {round(probe(path).seconds, 1) for path in (folder / "ray").iterdir()}
    return [
        Figure("films done when the second of two nodes was killed", killed_at[0], ""),
        Figure("films done at the end, of 40", end.counts["done"], ""),
        Figure("their lengths, all the same", lengths.pop() if len(lengths) == 1 else float("nan"), "s"),
        Figure("start to end", end.seconds, "s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "overhead", "kill", "ray"])
    parser.add_argument("--avatar", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("bench/out/batch"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = make_studio(options.folder.absolute(), options.avatar)
    if options.what == "kill":
        figures = measure_kills(folder, options.seed)
    else:
        figures = {"speed": measure_speed, "overhead": measure_overhead, "ray": measure_ray}[options.what](folder)
    for figure in figures:
        sys.stdout.write(f"{figure.name:<78} {figure.value:9.3f} {figure.unit}\n")
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cores": len(this_machine().cores)}
    RESULTS.write_text(json.dumps(kept | {options.what: [asdict(figure) for figure in figures]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
