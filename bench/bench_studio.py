"""The studio's figures: kills at random moments, a slider's first frame, clip to film, clicks.

python -m bench.bench_studio kills --count 20
python -m bench.bench_studio way --video clip.mp4 --quality 'As it needs'      needs Chromium and playwright
python -m bench.bench_studio install --wheel dist/avatar_builder-*.whl         the same, from `pip install` on

Without --video the studio's own synthetic person is filmed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.studio_pages import browser, watched
from tests.studio_process import CONSENT, Served, expected

CLIP = random.Random(1).randbytes(2_000_000)
SPEECH = b"a speech of some length"
PIECE = 20_000
SLIDES = 8


def kill_later(served: Served, seconds: float) -> threading.Thread:
    """Kill a studio in so many seconds."""

    def kill() -> None:
        time.sleep(seconds)
        served.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def send(served: Served, id: str) -> None:
    """Send what is missing of the clip."""
    start = served.json("GET", f"/api/uploads/{id}")["received"]
    while start < len(CLIP):
        start = served.json("PATCH", f"/api/uploads/{id}?offset={start}", CLIP[start : start + PIECE])["received"]


def kill_often(folder: Path, count: int, seed: int) -> None:
    """Kill a studio at random moments of uploads, builds and films in turn; count what is lost or half."""
    chance, served, lost, moments = (
        random.Random(seed),
        Served(folder),
        0,
        dict.fromkeys(("upload", "build", "film"), 0),
    )
    for number in range(count):
        name = f"person-{number}"
        moment = list(moments)[number % len(moments)]
        moments[moment] += 1
        id = served.json("POST", "/api/uploads", {"kind": "clip", "name": "me.mp4", "size": len(CLIP)})["id"]
        if moment == "upload":
            killing = kill_later(served, chance.uniform(0.0, 0.4))
            with contextlib.suppress(OSError, AssertionError):
                send(served, id)
            killing.join()
            served.start()
        send(served, id)
        served.json("POST", f"/api/uploads/{id}/finish", {})
        form = {"upload": id, "name": name, "consent": CONSENT, "build": True, "quality": "quick"}
        served.json("POST", "/api/people", form)
        if moment == "build":
            kill_later(served, chance.uniform(0.0, 2.0)).join()
            served.start()
        avatar = folder / name / f"{name}.avatar"
        served.wait(avatar)
        (folder / name / "speech").mkdir()
        (folder / name / "speech" / "hello.wav").write_bytes(SPEECH)
        served.json("POST", f"/api/people/{name}/films", {"speech": "hello.wav"})
        if moment == "film":
            kill_later(served, chance.uniform(0.0, 2.0)).join()
            served.start()
        film = folder / name / "films" / "hello.mp4"
        served.wait(film)
        whole = (
            (folder / name / "clip.mp4").read_bytes() == CLIP
            and avatar.read_bytes() == expected(CLIP)
            and film.read_bytes() == expected(SPEECH)
            and not [path for path in (folder / name).rglob("*") if ".part" in path.name]
        )
        lost += not whole
        print(
            f"{number + 1:3d} killed in the middle of the {moment}: {'whole' if whole else 'LOST OR HALF'}", flush=True
        )
    served.stop()
    print(f"killed {count} times ({moments}): {lost} lost or half")


class Installed:
    """A studio as a person gets it: of a virtual environment of its own, by its command."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        """Raises: CalledProcessError when it cannot be installed."""
        binaries = folder / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        subprocess.run([str(binaries / "pip"), "install", "--quiet", f"{wheel.absolute()}[studio]"], check=True)
        command = [str(binaries / "avatar"), "studio", str(folder / "avatars"), "--no-open", "--port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        assert self._process.stdout
        found = next(match for line in self._process.stdout if (match := re.search(r"http://127\.0\.0\.1:(\d+)", line)))
        self.port = int(found[1])

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)


def go_the_way(start_studio: Callable[[], Served | Installed], video: Path | None, quality: str) -> None:
    """From a clip to a film in Chromium, with the times of what one waits for, and the clicks it takes."""
    start, clicks = time.monotonic(), itertools.count(1)

    def note(what: str) -> None:
        load = os.getloadavg()[0]
        used = _processor_seconds()
        print(f"{time.monotonic() - start:7.1f} s, processor {used:6.1f} s, load {load:4.1f}  {what}", flush=True)

    def click(place: Any) -> None:
        place.click(force=True)
        print(f"          click {next(clicks)}")

    with contextlib.ExitStack() as ending:
        served = start_studio()
        ending.callback(served.stop)
        note("the studio is there")
        chromium = ending.enter_context(browser())
        page = ending.enter_context(watched(chromium, served, "#/new"))
        page.set_default_timeout(900_000)
        if video:
            page.locator("input[type=file]").first.set_input_files(video)
            print(f"          click {next(clicks)}: the clip is chosen or dropped")
            page.get_by_label("Name").fill("The Actor")
            click(page.get_by_label("It is me"))
        else:
            click(page.get_by_role("button", name="Try it with a synthetic person"))
        click(page.get_by_label(quality))
        page.locator(".grade").wait_for()
        note(f"verdict: {page.locator('.grade').inner_text()}")
        click(page.get_by_role("button", name="Build the avatar"))
        preview = page.locator(".preview[data-first]")
        preview.wait_for()
        note(f"built; first preview after {preview.get_attribute('data-first')} ms")
        firsts = [_slide(page, preview, number) for number in range(SLIDES)]
        note(f"a slider's first frame: median {statistics.median(firsts):.0f} ms, slowest {max(firsts):.0f} ms")
        click(page.get_by_role("button", name="Make the film"))
        page.locator(".film-card video").wait_for()
        note("the film is there")


def _processor_seconds() -> float:
    """Processor time of all processes that descend from this one and live, s."""
    ticks, parents = {}, {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = place.read_text().rpartition(")")[2].split()
            parents[int(place.parent.name)] = int(fields[1])
            ticks[int(place.parent.name)] = sum(map(int, fields[11:15]))  # with that of children that have ended
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(ticks[pid] for pid in mine if pid in ticks) / os.sysconf("SC_CLK_TCK")


def _slide(page: Any, preview: Any, number: int) -> float:
    page.locator("#slider-head").fill(f"{0.3 + 0.2 * number:.1f}")
    page.locator(f".preview[data-changes='{number + 2}']").wait_for()
    return float(preview.get_attribute("data-first"))


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kills", "way", "install"))
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--quality", default="As it needs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "kills":
            kill_often(Path(folder), given.count, given.seed)
        elif given.what == "way":
            go_the_way(lambda: Served(Path(folder), real=True), given.video, given.quality)
        else:
            go_the_way(lambda: Installed(Path(folder), given.wheel), given.video, given.quality)


if __name__ == "__main__":
    main()
