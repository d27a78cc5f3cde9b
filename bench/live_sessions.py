"""Live sessions at once on one GPU: sound in, H.264 out, in real time. A part of `bench.bench_drawing`.

Features of sound, and behaviour (head, blinks, limits), are made in several processes; this one makes the mouth motion
of all sessions that are due together, and draws their frames together; each session has a video encoder of its own.
Sound comes in pieces of 40 ms, at four phases, as soon as every session and encoder is open. A frame is late when its
coded picture comes out more than LATE after the sound that completes it came in. Whatever is waited for has a limit:
what was not made by then is late; should the GPU never answer, the stacks of all threads are printed, and that is all.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import torch

from avatar.core.motion_space import Motion
from avatar.motion.batched_speech import BatchedSpeech, SpeechStream
from avatar.motion.driver import FPS
from avatar.motion.live_encoder import Hop
from avatar.play.batched_drawing import BatchedDrawing
from avatar.play.frame_graphs import Batch
from bench.live_encoders import Encoders
from bench.live_process import LAST_WAIT, End, Hops, Motions, Mouths, Order, Ready, Start, serve

LATE = 2 / FPS  # s: a player that buffers one frame does not stall
WARM = 1.0  # s at the beginning that are not counted: the first of each size of batch takes longer
OPEN_SECONDS = 30.0  # that processes, sessions and encoders each have to open
MOST_MESSAGES = 16  # of a process at a time: a pipe holds no more, and one that never falls silent must not be alone
STUCK_SECONDS = 20.0  # beyond a load's own, after which nothing can come any more


@dataclass(frozen=True)
class Load:
    """Sessions that are asked for."""

    sessions: int
    seconds: float
    size: int


@dataclass
class Log:
    """When each session's frames passed each stage, s."""

    sound: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    spoken: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    moved: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    drawn: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    coded: Sequence[list[float]] = ()


class Processes:
    """Processes that hold all sessions."""

    def __init__(self, paths: Sequence[Path], count: int) -> None:
        """Raises: TimeoutError."""
        context = multiprocessing.get_context("spawn")
        self.channels: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, list(paths)), daemon=True)
            process.start()
            theirs.close()  # so that the end of the process is the end of the channel
            self.channels.append(ours)
            self._processes.append(process)
        self._wait_ready()

    def open(self, load: Load) -> None:
        """Have sessions opened. Raises: TimeoutError."""
        for index, channel in enumerate(self.channels):
            channel.send(Order(list(range(index, load.sessions, len(self.channels))), load.seconds))
        self._wait_ready()

    def start(self, when: float) -> None:
        """Begin the sessions that are open at a time."""
        for channel in self.channels:
            channel.send(Start(when))

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def _wait_ready(self) -> None:
        """What is left of sessions before these is dropped."""
        end = time.time() + OPEN_SECONDS
        for index, channel in enumerate(self.channels):
            ready = False
            while not ready:
                if not channel.poll(max(0.0, end - time.time())):
                    count = len(self.channels)
                    raise TimeoutError(f"process {index} of {count} is not ready after {OPEN_SECONDS:.0f} s")
                ready = isinstance(channel.recv(), Ready)


@dataclass(frozen=True)
class Server:
    """What all sessions share."""

    speech: BatchedSpeech
    drawing: BatchedDrawing
    avatars: int
    processes: Processes
    writers: int  # threads that feed encoders


Begun = queue.Queue[tuple[Batch, list[int]] | None]


def run(load: Load, server: Server, report: Callable[[str], None]) -> dict[str, float]:
    """Run sessions for a while: figures of how long frames took, and how many were late. report: gets each stage.

    Raises: TimeoutError when sessions or encoders do not open. Ends the process when the GPU does not answer.
    """
    report(f"{load.sessions} sessions open")
    server.processes.open(load)
    report(f"{load.sessions} encoders open")
    encoders = Encoders(load.sessions, load.size, server.writers)
    try:
        encoders.warm(OPEN_SECONDS)
        log = Log(coded=encoders.coded)
        report(f"{load.sessions} sessions speak for {load.seconds:g} s")
        faulthandler.dump_traceback_later(load.seconds + STUCK_SECONDS, exit=True)
        start, taken = _live(load, server, log, encoders)
        report(f"{load.sessions} encoders end")
    finally:
        encoders.close(LAST_WAIT)
        faulthandler.cancel_dump_traceback_later()
    return _figures(load, log, start) | taken


def _live(load: Load, server: Server, log: Log, encoders: Encoders) -> tuple[float, dict[str, float]]:
    """All sessions from their beginning to their end: when they began, and what they took."""
    begun: Begun = queue.Queue(2)

    def collect() -> None:
        while (item := begun.get()) is not None:
            for session, picture in zip(item[1], item[0].pictures(), strict=True):
                log.drawn[session].append(time.time())
                encoders.put(session, picture)

    collector = threading.Thread(target=collect, daemon=True)
    collector.start()
    start = time.time() + LATE
    server.processes.start(start)
    taken = _serve(load, server, log, begun, start)
    begun.put(None)
    collector.join()
    return start, taken


def _serve(load: Load, server: Server, log: Log, begun: Begun, start: float) -> dict[str, float]:
    """Make what is due until all sessions have ended, or should have: what it took."""
    ended: list[float] = []
    drawn: list[int] = []
    waited = 0.0
    streams = {session: server.speech.open(session % server.avatars) for session in range(load.sessions)}
    channels, end = server.processes.channels, start + load.seconds + 2 * LAST_WAIT
    while len(ended) < len(channels) and time.time() < end:
        idle = time.time()
        hops: list[tuple[Connection, Hops]] = []
        motions: list[Motions] = []
        for channel, message in _receive(channels):
            hops += [(channel, message)] if isinstance(message, Hops) else []
            motions += [message] if isinstance(message, Motions) else []
            ended += [message.cores] if isinstance(message, End) else []
        waited += time.time() - idle
        if hops:
            _speak(server.speech, streams, hops, log)
        if motions:
            sessions = [session for one in motions for session in one.sessions]
            for session in sessions:
                log.moved[session].append(time.time())
            motion = _motion(np.concatenate([one.rows for one in motions]))
            drawn.append(_draw(server, motion, sessions, begun, end))
    spent = max(time.time() - start, 1e-3)
    figures = {"cores of sessions": sum(ended), "processes that did not end": float(len(channels) - len(ended))}
    return figures | {"frames at once": float(np.mean(drawn or [0])), "waiting": waited / spent}


def _draw(server: Server, motion: Motion, sessions: list[int], begun: Begun, end: float) -> int:
    """Begin to draw the frames of sessions, batch after batch, unless all should have ended: how many were begun."""
    at_once = server.drawing.at_once
    for first in range(0, len(sessions), at_once):
        if time.time() > end:
            return first
        part = sessions[first : first + at_once]
        frames = motion[slice(first, first + at_once)]
        (batch,) = server.drawing.begin(frames, [session % server.avatars for session in part])
        begun.put((batch, part))
    return len(sessions)


def _receive(channels: Sequence[Connection]) -> list[tuple[Connection, Hops | Motions | End]]:
    """All that has come, so that what waited while the last was made is made together; waits a moment for the first."""
    found = []
    for channel in wait(channels, timeout=0.01):
        assert isinstance(channel, Connection)
        for _ in range(MOST_MESSAGES):
            found.append((channel, channel.recv()))
            if not channel.poll():
                break
    return found


def _speak(
    speech: BatchedSpeech, streams: dict[int, SpeechStream], hops: list[tuple[Connection, Hops]], log: Log
) -> None:
    """Make mouths, and send them back to the processes of their sessions."""
    due = [
        (streams[session], Hop(window, slice(message.frame, message.frame + 1)))
        for _, message in hops
        for session, window in zip(message.sessions, torch.from_numpy(message.windows), strict=True)
    ]
    rows = iter(speech.push(due))
    for channel, message in hops:
        mouths = torch.stack([next(rows) for _ in message.sessions]).numpy()
        channel.send(Mouths(message.sessions, mouths))
        for session, came in zip(message.sessions, message.came, strict=True):
            log.sound[session].append(came)
            log.spoken[session].append(time.time())


def _motion(values: np.ndarray) -> Motion:
    rows = torch.from_numpy(values).float()
    modes = rows.shape[1] - 4 - 9 - 3 - 4
    expression, eyes, rotation, translation, torso = rows.split([modes, 4, 9, 3, 4], 1)
    return Motion(expression, eyes, rotation.unflatten(1, (3, 3)), translation, torso, FPS)


def _figures(load: Load, log: Log, start: float) -> dict[str, float]:
    """Milliseconds from sound to each stage, and frames that were late or never came."""
    spent: dict[str, list[float]] = {"mouth": [], "motion": [], "drawn": [], "coded": []}
    for session, came in log.sound.items():
        passed = log.spoken[session], log.moved[session], log.drawn[session], log.coded[session]
        for name, times in zip(spent, passed, strict=True):
            spent[name] += [end - when for when, end in zip(came, times, strict=False) if when >= start + WARM]
    frames = load.sessions * round(max(0.0, load.seconds - WARM) * FPS)
    in_time = sum(value <= LATE for value in spent["coded"])
    figures = {"sessions": float(load.sessions), "frames": float(frames), "late": float(frames - in_time)}
    for name, values in spent.items():
        for share in (50, 99, 100) if values else ():
            figures[f"{name}_p{share}_ms"] = 1e3 * float(np.percentile(values, share))
    return figures
