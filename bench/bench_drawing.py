"""Drawing on a GPU: kernels, frames to the host, many avatars in a batch, live sessions.

python -m bench.bench_drawing --device cuda --avatar F.avatar [--avatar ...] [--output FILE]: about a minute. Prints a
table and writes one JSON object of named figures; exit status 1 if a part failed. `--device emulated --size 64` runs
the same code on the kernels that are compiled for the CPU, to see that it runs. The live sessions need ffmpeg
(imageio-ffmpeg) and the sound's model; what each of their stages waits for is printed as it begins.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import math
import os
import re
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from avatar.core.avatar_file import Avatar, load_avatar
from avatar.core.motion_space import Motion, concatenate
from avatar.motion.batched_speech import BatchedSpeech
from avatar.motion.speech_to_motion import open_speech_model
from avatar.play import frame_graphs
from avatar.play.batched_drawing import open_batched_drawing
from avatar.play.draw import Drawing, open_canvas
from avatar.play.look import Look
from avatar.render import open_renderer
from avatar.render.device import DeviceName
from avatar.render.gaussian import GaussianRenderer
from bench.stages import write
from cuda_ext import native, ops

BATCHES = (1, 8, 32, 128)
SIZES = (512, 1024)
LAUNCHES = 16  # before a graph is waited for
PEOPLE = 8  # of the batch of many avatars
SESSIONS = (50, 100, 150, 200, 250)
LIVE_SECONDS = 3.0
SPENT = 1.0  # s that a figure is measured for

Figures = dict[str, float]


def rate(action: Callable[[], int], device: torch.device, seconds: float) -> float:
    """Frames a second of an action that returns how many it made, its first run left out; the GPU is waited for."""

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    action()
    finish()
    frames, start = 0, time.perf_counter()
    while frames == 0 or time.perf_counter() - start < seconds:
        frames += action()
    finish()
    return frames / (time.perf_counter() - start)


def motion_of(avatar: Avatar, frames: int) -> Motion:
    """The person's own motion, again and again."""
    own = avatar.style.own
    return own[torch.arange(frames) % len(own)]


def graphs(avatar: Avatar, device: torch.device, size: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Frames of a graph, launch after launch."""
    renderer = open_renderer(avatar, size)
    renderer.to(device)
    assert isinstance(renderer, GaussianRenderer)
    plate = torch.zeros(size, size, 3, dtype=torch.uint8, device=device)
    launches = LAUNCHES if device.type == "cuda" else 1
    for batch in BATCHES[: None if device.type == "cuda" else 2]:
        graph = ops.FrameGraph(renderer.blendshapes, batch, plate)
        pose = renderer.pose(motion_of(avatar, batch))
        graph(pose)

        def launch(graph: ops.FrameGraph = graph, pose: ops.Pose = pose, batch: int = batch) -> int:
            for _ in range(launches):
                graph.launch(pose)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return launches * batch

        yield f"graph of {batch}, {size} px", rate(launch, device, seconds)


def kernel_times(avatar: Avatar, device: torch.device, size: int, batch: int) -> Iterator[tuple[str, float]]:
    """Microseconds a frame that each kernel of a batch takes."""
    renderer = open_renderer(avatar, size)
    renderer.to(device)
    assert isinstance(renderer, GaussianRenderer)
    graph = ops.FrameGraph(renderer.blendshapes, batch, torch.zeros(size, size, 3, dtype=torch.uint8, device=device))
    pose, repeats = renderer.pose(motion_of(avatar, batch)), 5
    graph(pose)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(repeats):
            graph.launch(pose)
        torch.cuda.synchronize(device)
    spent: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        name = re.search(r"\w+_kernel\w*", event.key)
        spent[name.group() if name else event.key[:40]] += event.self_device_time_total / repeats / batch
    for name, microseconds in sorted(spent.items(), key=lambda item: -item[1])[:12]:
        yield f"kernel {name}, us a frame of {batch}", microseconds


def to_host(avatar: Avatar, device: DeviceName, sizes: Sequence[int]) -> Iterator[tuple[str, float]]:
    """Frames of `Drawing` in the host's memory."""
    for size, pixels in itertools.product(sizes, ("nv12", "rgb")):
        motion = motion_of(avatar, 3200 * 512**2 // size**2 if device == "cuda" else 5)
        canvas = open_canvas(avatar, Look(size=size), device)

        def draw(canvas: Any = canvas, pixels: Any = pixels, motion: Motion = motion) -> int:
            return sum(1 for _ in Drawing(canvas, pixels).draw(motion))

        seconds = SPENT if canvas.device.type == "cuda" else 0
        yield f"draw() to {pixels} on the host, {size} px", rate(draw, canvas.device, seconds)


def many(avatars: Sequence[Avatar], options: argparse.Namespace, seconds: float) -> Iterator[tuple[str, float]]:
    """Frames of many avatars in common batches, each frame of another than the one before, to the host."""
    drawing = open_batched_drawing(avatars, options.size, device=options.drawn_on)
    chosen = [index % len(avatars) for index in range(drawing.at_once)]
    motion = concatenate([motion_of(avatars[who], 1) for who in chosen])
    waiting = drawing.begin(motion, chosen)

    def draw() -> int:
        waiting.extend(drawing.begin(motion, chosen))
        waiting.pop(0).pictures()
        return len(chosen)

    yield f"{len(avatars)} avatars in batches, to the host", rate(draw, torch.device(options.drawn_on), seconds)


def live(paths: Sequence[Path], avatars: Sequence[Avatar], options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Live sessions, more and more of them until frames are late."""
    from bench.live_sessions import WARM, Load, Processes, Server, run

    start = time.perf_counter()

    def report(stage: str) -> None:
        write(f"[{time.perf_counter() - start:5.1f} s] live: {stage}")

    report("the drawing opens")
    drawing = open_batched_drawing(avatars, options.size, device=options.drawn_on)
    for count in (1, 8, drawing.at_once) if options.drawn_on == "cuda" else ():  # graphs are made before sessions begin
        drawing.draw(motion_of(avatars[0], count), [0] * count)
    report("the speech models open")
    speech = BatchedSpeech([open_speech_model(avatar.speech) for avatar in avatars], torch.device(options.drawn_on))
    report(f"{options.processes} processes open")
    processes = Processes(paths, options.processes)
    server = Server(speech, drawing, len(avatars), processes, options.writers)
    most = 0.0
    try:
        run(Load(options.processes, WARM, options.size), server, report)  # the first of everything takes longer
        for sessions in options.sessions:
            figures = run(Load(sessions, options.live_seconds, options.size), server, report)
            for name, value in figures.items():
                yield f"live, {sessions} sessions: {name}", value
            if figures["late"]:
                break
            most = sessions
    finally:
        processes.close()
    yield "live sessions at once, none late", most


def measure(options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """All figures."""
    device, avatars = torch.device(options.drawn_on), [load_avatar(path) for path in options.avatar]
    cuda = device.type == "cuda"
    seconds = SPENT if cuda else 0
    parts: dict[str, Callable[[], Iterator[tuple[str, float]]]] = {
        "graphs": lambda: graphs(avatars[0], device, options.size, seconds),
        "kernels": lambda: kernel_times(avatars[0], device, options.size, 32) if cuda else iter(()),
        "host": lambda: to_host(avatars[0], options.drawn_on, SIZES if cuda else (options.size,)),
        "many": lambda: many([avatars[i % len(avatars)] for i in range(PEOPLE if cuda else 2)], options, seconds),
        "live": lambda: live(options.avatar, avatars, options),
    }
    for part in options.parts:
        try:
            yield from parts[part]()
        except Exception:  # the other parts are measured all the same
            traceback.print_exc()
            yield f"FAILED: {part}", math.nan


def emulate() -> None:
    """Take the GPU's kernels as they are compiled for the CPU, as the tests do."""
    vars(native).update(_native=importlib.import_module("cuda_ext._emulated"), stream=lambda _: 0)
    vars(frame_graphs).update(AT_ONCE=(1, 2))  # a frame takes half a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "emulated"), default="cuda")
    parser.add_argument("--avatar", type=Path, action="append", required=True)
    parser.add_argument("--size", type=int, default=512, help="px a side, but for `draw()`")
    parser.add_argument("--parts", nargs="+", default=["graphs", "kernels", "host", "many", "live"])
    parser.add_argument("--sessions", type=int, nargs="+", default=SESSIONS)
    parser.add_argument("--live-seconds", type=float, default=LIVE_SECONDS)
    parser.add_argument(
        "--processes", type=int, default=max(1, (os.cpu_count() or 1) * 3 // 4), help="that make motion"
    )
    parser.add_argument("--writers", type=int, default=4, help="threads that feed the encoders")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.drawn_on = "cpu" if options.device == "emulated" else "cuda"
    if options.device == "emulated":
        emulate()
    figures: Figures = {}
    machine = torch.cuda.get_device_name() if options.drawn_on == "cuda" else "emulated"
    for name, value in measure(options):
        figures[name] = round(value, 3)
        write(f"{name:<72} {value:12.2f}")
        if options.output:  # each time, so that those of a run that is stopped are there
            measured = {name: value for name, value in figures.items() if not math.isnan(value)}
            found = {"device": machine, "cores": os.cpu_count(), "figures": measured}
            options.output.write_text(json.dumps(found, indent=1))
    sys.exit(", ".join(name for name, value in figures.items() if math.isnan(value)) or None)


if __name__ == "__main__":
    main()
