"""How far a batch scales, from measured job times: python recipes/scale_out.py JOBS.batch [--figures FILE].

A simulation, not a measurement. It takes the seconds and bytes of the films in the journal of a batch that was run,
draws 100 000 jobs from them, and plays them on 1 to 256 workers (and on, until the knee is found). In it

* one process hands out the jobs one after the other, each costing what `bench.bench_batch overhead` measured;
* a worker comes up once, and loads an avatar when its job is of another one than the last;
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

    hand_out: float  # s of the one process, for each job
    start: float  # s until a worker is up
    load: float  # s to open an avatar
    store: float  # bytes/s of the shared store
    avatar: float = 12e6  # bytes
    speech: float = 160e3  # bytes


@dataclass(frozen=True)
class Played:
    """What came of a simulated batch."""

    workers: int
    seconds: float
    work: float  # s of the jobs themselves
    handing_out: float  # share of the time that the one process is busy
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


def play(jobs: list[tuple[float, float]], avatars: list[int], workers: int, costs: Costs) -> Played:
    """Hand jobs, sorted by avatar, to whoever is free first."""
    free = [(costs.start, worker) for worker in range(workers)]
    heapq.heapify(free)
    loaded = [-1] * workers
    handed = stored = storing = 0.0
    for (seconds, size), avatar in zip(jobs, avatars, strict=True):
        now, worker = heapq.heappop(free)
        handed = max(handed, now) + costs.hand_out
        moved = size + costs.speech
        if loaded[worker] != avatar:
            loaded[worker], moved, seconds = avatar, moved + costs.avatar, seconds + costs.load
        took = moved / costs.store
        stored, storing = max(stored, handed) + took, storing + took
        heapq.heappush(free, (max(handed + seconds, stored), worker))
    end = max(free)[0]
    return Played(workers, end, sum(one for one, _ in jobs), len(jobs) * costs.hand_out / end, storing / end)


def find_knee(played: list[Played]) -> Played:
    """The last one before doubling the workers brings too little."""
    for before, after in itertools.pairwise(played):
        gained = (after.speed_up - before.speed_up) / (after.workers - before.workers)
        if gained < LEAST_GAIN * played[0].speed_up:
            return before
    return played[-1]


def play_all(jobs: list[tuple[float, float]], avatars: list[int], most: int, costs: Costs) -> list[Played]:
    """1, 2, 4, ... workers up to `most`, and on until the knee has shown."""
    played: list[Played] = []
    workers = 1
    while workers <= most or (find_knee(played) is played[-1] and workers <= MOST_WORKERS):
        played.append(play(jobs, avatars, workers, costs))
        workers *= 2
    return played


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="JOBS.batch")
    parser.add_argument("--figures", type=Path, default=Path("bench/results/batch.json"), help="of bench.bench_batch")
    parser.add_argument("--engine", choices=["local", "ray"], default="ray", help="whose cost of handing out")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=500, help="avatars")
    parser.add_argument("--workers", type=int, default=256, help="most of them")
    parser.add_argument("--store", type=float, default=1.25e9, help="bytes/s; 10 Gbit/s unless said")
    parser.add_argument("--start", type=float, default=5.0, help="seconds until a worker is up")
    parser.add_argument("--load", type=float, default=0.3, help="seconds to open an avatar")
    parser.add_argument("--json", type=Path, help="write the table")
    options = parser.parse_args()
    name = {"local": "two local workers", "ray": "Ray"}[options.engine]
    overhead = json.loads(options.figures.read_text())["overhead"]
    hand_out = next(one["value"] for one in overhead if name in one["name"]) / 1e3
    costs = Costs(hand_out, options.start, options.load, options.store)
    draw = random.Random(0)
    measured = measured_jobs(options.folder)
    jobs = draw.choices(measured, k=options.jobs)
    avatars = sorted(draw.randrange(options.people) for _ in jobs)
    played = play_all(jobs, avatars, options.workers, costs)
    sys.stdout.write(f"{len(jobs)} films, {len(measured)} measured, {1e3 * hand_out:.2f} ms to hand one out\n")
    sys.stdout.write("workers     hours  speed-up  efficiency  handing out  store\n")
    for one in played:
        shares = f"{one.speed_up / one.workers:10.1%}  {one.handing_out:10.1%}  {one.storing:5.1%}"
        sys.stdout.write(f"{one.workers:7d}  {one.seconds / 3600:8.2f}  {one.speed_up:8.1f}  {shares}\n")
    knee = find_knee(played)
    full = max(
        ("the one process that hands out", played[-1].handing_out),
        ("the store", played[-1].storing),
        key=lambda x: x[1],
    )
    sys.stdout.write(f"knee: {knee.workers} workers; beyond, {full[0]} is the bottleneck\n")
    if options.json:
        rows = [{"workers": one.workers, "hours": one.seconds / 3600, "speed_up": one.speed_up} for one in played]
        options.json.write_text(
            json.dumps({"knee": knee.workers, "because_of": full[0], "table": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
