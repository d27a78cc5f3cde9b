"""Live sessions in a browser: from sound in to picture shown, first frame, sound against picture.

`python -m bench.bench_live latency NAME.avatar SPEECH.wav` starts `avatar serve` and a headless Chromium, which sends
speech in pieces of 20 ms as a microphone would, and notes when each piece was sent and when each frame was shown.
The latency of a frame is from when the middle of its sound was sent until it is drawn on the page.

`python -m bench.bench_live sessions NAME.avatar SPEECH.wav --count 4` opens so many sessions at once, all speaking, and
reads from the server's metrics how long frames took; with `--transport motion` sessions that their clients draw.
`connects` opens and leaves sessions, and counts what stays.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np

from avatar.core.media import read_speech
from bench.chromium import open_page
from bench.network import Network, relay

RATE = 16000
PIECE = RATE // 50  # samples: 20 ms
START_SECONDS = 120.0
REPEATED_SECONDS = 40.0  # of speech that a page is given, which it says again and again
MINUTE = 60 * 25  # frames
# `avatar`, with RTP timestamps that begin near zero, by which the page knows which frame a picture is
PROGRAM = "import aiortc.rtcrtpsender as s, itertools; s.random32 = itertools.count(1).__next__; "
PROGRAM += "from avatar.cli import main; main()"

SPEAK = Path(__file__).parent / "live_speak.js"


@contextlib.contextmanager
def serving(names: list[Path], *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server in a process of its own, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", PROGRAM, "serve", *map(str, names), "--port", str(port), *options]
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).close()
                break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def metrics(port: int) -> dict[str, float]:
    """A server's metrics by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        rows = [line.split() for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in rows}


def samples(speech: Path, seconds: float) -> np.ndarray:
    """Speech [n] int16 at 16 kHz."""
    pcm = np.concatenate([np.asarray(part) for part in read_speech(speech)])
    pcm = np.resize(pcm, round(seconds * RATE))
    return (32767 * np.clip(pcm, -1, 1)).astype("<i2")


async def latency(arguments: argparse.Namespace) -> None:
    """Latency in a browser, of one transport."""
    speech = samples(arguments.speech, min(arguments.seconds, REPEATED_SECONDS))
    pcm = base64.b64encode(speech.tobytes()).decode()
    values = {"transport": arguments.transport, "codec": arguments.codec, "pcm": pcm, "rate": RATE, "piece": PIECE}
    values["seconds"] = arguments.seconds
    network = Network(arguments.jitter, arguments.loss)
    script = f"({SPEAK.read_text()})({json.dumps(values)})"
    with serving([arguments.avatar], "--sessions", "8", "--size", str(arguments.size)) as (port, _):
        async with relay(port, network) as nearer, open_page(f"http://127.0.0.1:{nearer}/") as page:
            found = await page.run(script, arguments.seconds + 30)
        server = metrics(port)
    rows = np.array(found["shown"])
    rows = rows[len(rows) // 5 :]  # the first frames come while everything warms up
    print(
        f"{arguments.transport}: {len(rows)} frames, ready {found['ready']:.0f} ms, first frame {found['first']:.0f} ms"
    )
    print("latency ms: median {:.0f}, p95 {:.0f}, largest {:.0f}".format(*np.quantile(rows[:, 1], [0.5, 0.95, 1])))
    for name, part in (("", rows), (", first minute", rows[:MINUTE]), (", last minute", rows[-MINUTE:])):
        low, middle, high = np.quantile(part[:, 2], [0.05, 0.5, 0.95])
        print(f"sound against picture ms{name}: p5 {low:.0f}, median {middle:.0f}, p95 {high:.0f}")
    print("the page's sound: " + json.dumps({k: round(v, 3) for k, v in found["clock"].items()}))
    print(f"gaps in the sound {found['gaps']}; server: " + json.dumps({k: round(v, 4) for k, v in server.items()}))


@contextlib.asynccontextmanager
async def caller(port: int, **start: object) -> AsyncIterator[object]:
    from websockets.asyncio.client import connect

    async with connect(f"ws://127.0.0.1:{port}/v1/live", max_size=None) as link:
        await link.send(json.dumps({"type": "start", "rate": RATE} | start))
        yield link


async def _speak(port: int, pcm: np.ndarray, **start: object) -> int:
    """One client that speaks in real time; how many pictures, or frames of motion, it got."""
    pictures = 0
    async with caller(port, live=True, **start) as link:

        async def send() -> None:
            start = time.monotonic()
            for at in range(0, len(pcm), 2 * PIECE):
                await asyncio.sleep(max(0.0, start + at / RATE - time.monotonic()))
                await link.send(pcm[at : at + 2 * PIECE].tobytes())  # type: ignore[attr-defined]
            await link.close()  # type: ignore[attr-defined]

        task = asyncio.create_task(send())
        async for message in link:  # type: ignore[attr-defined]
            pictures += isinstance(message, bytes) and message[0] in (1, 3)
        await task
    return pictures


async def sessions(arguments: argparse.Namespace) -> None:
    """So many sessions at once, all speaking."""
    pcm = samples(arguments.speech, arguments.seconds)
    start = {"codec": arguments.codec, "transport": arguments.transport}
    options = ["--sessions", str(arguments.count), "--size", str(arguments.size), "--allow-download"]
    with serving([arguments.avatar], *options) as (port, _):
        await _speak(port, pcm[: 3 * RATE], **start)  # warm
        before = metrics(port)
        work = [_speak(port, np.roll(pcm, 9000 * index), **start) for index in range(arguments.count)]
        pictures = await asyncio.gather(*work)
        after = metrics(port)
    counted = {name: after[name] - before[name] for name in after if name.endswith("_total")}
    asked = f"{25 * arguments.seconds:.0f}"
    print(f"{arguments.count} sessions, {arguments.transport}, {arguments.codec}: pictures {pictures} of {asked}")
    print(
        json.dumps(counted), json.dumps({name: round(value, 4) for name, value in after.items() if "total" not in name})
    )


async def connects(arguments: argparse.Namespace) -> None:
    """Sessions that open and leave, a tenth of them without a word; what of the server's process grows."""
    with serving([arguments.avatar], "--sessions", "8", "--size", "128") as (port, process):
        for number in range(arguments.count + 1):
            if number % max(1, arguments.count // 10) == 0:
                print(number, _resources(process.pid), json.dumps(metrics(port)["avatar_sessions"]))
            async with caller(port) as link:
                for _ in range(4):
                    await link.recv()  # type: ignore[attr-defined]
                if number % 10 == 0:
                    link.transport.abort()  # type: ignore[attr-defined]
        await asyncio.sleep(2)
        print("after", _resources(process.pid), json.dumps(metrics(port)["avatar_sessions"]))


def _resources(pid: int) -> dict[str, int]:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "rss_kb": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["latency", "sessions", "connects"])
    parser.add_argument("avatar", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--transport", choices=["media", "webrtc", "motion"], default="media")
    parser.add_argument("--codec", choices=["vp8", "h264"], default="vp8")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--jitter", type=float, default=0.0, help="s that packets are delayed by at most")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets that TCP sends again")
    parser.add_argument("--count", type=int, default=4)
    arguments = parser.parse_args()
    asyncio.run({"latency": latency, "sessions": sessions, "connects": connects}[arguments.what](arguments))


if __name__ == "__main__":
    main()
