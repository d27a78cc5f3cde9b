"""How far a batch scales, from measured job times: python recipes/scale_out.py JOBS.batch [--figures FILE].

A simulation, not a measurement. It takes the seconds and bytes of the films in the journal of a batch that was run,
draws 100 000 jobs from them, and simulates them on 1 to 256 workers (and more, until the knee is found). In it

* one process dispatches the jobs one after the other, each costing what `bench.bench_batch overhead` measured;
* a worker starts once, and loads an avatar when its job is of another one than the last;
* all inputs and outputs pass one shared store of a given bandwidth;
* a job takes as long as in the journal: cores do not slow each other down.

The knee is where one more worker brings less than 80 % of what the first did.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from avatar.batch.journal import Journal

LEAST_GAIN = 0.8
MOST_WORKERS = 1 << 15


@dataclass(frozen=True)
class Costs:
    """What jobs cost beside their own time."""

    dispatch: float  # s of the one process, for each job
    start: float  # s until a worker has started
    load: float  # s to open an avatar
    store: float  # bytes/s of the shared store
    avatar: float = 12e6  # bytes
    speech: float = 160e3  # bytes


@dataclass(frozen=True)
class Simulated:
    """A simulated batch."""

    workers: int
    seconds: float
    work: float  # s of the jobs themselves
    dispatching: float  # share of the time that the one process is busy
    storing: float  # share of the time that the store is busy

    @property
    def speed_up(self) -> float:
        return self.work / self.seconds


def measured_jobs(folder: Path) -> list[tuple[float, float]]:
    """Seconds and bytes written of each film in a journal."""
    with closing(Journal(folder, make=False)) as journal:
        found = [
            (one.seconds, float(one.bytes)) for one in journal.read() if one.kind == "speak" and one.state == "done"
        ]
    if not found:
        raise SystemExit(f"{folder}: no film is done in it")
    return found


def simulate(jobs: list[tuple[float, float]], avatars: list[int], workers: int, costs: Costs) -> Simulated:
    """Give jobs, sorted by avatar, to the worker that is free first."""
    free = [(costs.start, worker) for worker in range(workers)]
    heapq.heapify(free)
    loaded = [-1] * workers
    dispatched = stored = storing = 0.0
    for (seconds, size), avatar in zip(jobs, avatars, strict=True):
        now, worker = heapq.heappop(free)
        dispatched = max(dispatched, now) + costs.dispatch
        moved = size + costs.speech
        if loaded[worker] != avatar:
            loaded[worker], moved, seconds = avatar, moved + costs.avatar, seconds + costs.load
        took = moved / costs.store
        stored, storing = max(stored, dispatched) + took, storing + took
        heapq.heappush(free, (max(dispatched + seconds, stored), worker))
    end = max(free)[0]
    return Simulated(workers, end, sum(one for one, _ in jobs), len(jobs) * costs.dispatch / end, storing / end)


def find_knee(runs: list[Simulated]) -> Simulated:
    """The last one before doubling the workers brings too little."""
    for before, after in itertools.pairwise(runs):
        gained = (after.speed_up - before.speed_up) / (after.workers - before.workers)
        if gained < LEAST_GAIN * runs[0].speed_up:
            return before
    return runs[-1]


def simulate_all(jobs: list[tuple[float, float]], avatars: list[int], most: int, costs: Costs) -> list[Simulated]:
    """1, 2, 4, ... workers up to `most`, and on until the knee has shown."""
    runs: list[Simulated] = []
    workers = 1
    while workers <= most or (find_knee(runs) is runs[-1] and workers <= MOST_WORKERS):
        runs.append(simulate(jobs, avatars, workers, costs))
        workers *= 2
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="JOBS.batch")
    parser.add_argument("--figures", type=Path, default=Path("bench/results/batch.json"), help="of bench.bench_batch")
    parser.add_argument("--engine", choices=["local", "ray"], default="ray", help="whose cost of dispatching")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=500, help="avatars")
    parser.add_argument("--workers", type=int, default=256, help="most of them")
    parser.add_argument("--store", type=float, default=1.25e9, help="bytes/s; default: 10 Gbit/s")
    parser.add_argument("--start", type=float, default=5.0, help="seconds until a worker has started")
    parser.add_argument("--load", type=float, default=0.3, help="seconds to open an avatar")
    parser.add_argument("--json", type=Path, help="write the table")
    options = parser.parse_args()
    name = {"local": "two local workers", "ray": "Ray"}[options.engine]
    overhead = json.loads(options.figures.read_text())["overhead"]
    dispatch = next(one["value"] for one in overhead if name in one["name"]) / 1e3
    costs = Costs(dispatch, options.start, options.load, options.store)
    draw = random.Random(0)
    measured = measured_jobs(options.folder)
    jobs = draw.choices(measured, k=options.jobs)
    avatars = sorted(draw.randrange(options.people) for _ in jobs)
    runs = simulate_all(jobs, avatars, options.workers, costs)
    sys.stdout.write(f"{len(jobs)} films, {len(measured)} measured, {1e3 * dispatch:.2f} ms to dispatch one\n")
    sys.stdout.write("workers     hours  speed-up  efficiency  dispatching  store\n")
    for one in runs:
        shares = f"{one.speed_up / one.workers:10.1%}  {one.dispatching:10.1%}  {one.storing:5.1%}"
        sys.stdout.write(f"{one.workers:7d}  {one.seconds / 3600:8.2f}  {one.speed_up:8.1f}  {shares}\n")
    knee = find_knee(runs)
    full = max(
        ("the one process that dispatches", runs[-1].dispatching),
        ("the store", runs[-1].storing),
        key=lambda x: x[1],
    )
    sys.stdout.write(f"knee: {knee.workers} workers; beyond, {full[0]} is the bottleneck\n")
    if options.json:
        rows = [{"workers": one.workers, "hours": one.seconds / 3600, "speed_up": one.speed_up} for one in runs]
        options.json.write_text(
            json.dumps({"knee": knee.workers, "because_of": full[0], "table": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
