"""Live sessions at once on one GPU: sound in, H.264 out, in real time. A part of `bench.bench_drawing`.

Features of sound, and behaviour (head, blinks, limits), are made in several processes; this one makes the mouth motion
of all sessions that are due together, and draws their frames together; each session has a video encoder of its own.
Sound comes in pieces of 40 ms, at four phases. A frame is late when its coded picture comes out more
than LATE after the sound that completes it came in.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import queue
import selectors
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import torch

from avatar.core.encode import encoder_works
from avatar.core.media import ffmpeg_binary
from avatar.core.motion_space import Motion
from avatar.motion.batched_speech import BatchedSpeech, SpeechStream
from avatar.motion.driver import FPS
from avatar.motion.live_encoder import Hop
from avatar.play.batched_drawing import BatchedDrawing
from avatar.play.frame_graphs import Batch
from bench.live_process import LAST_WAIT, End, Hops, Motions, Mouths, Order, serve

LATE = 2 / FPS  # s: a player that buffers one frame does not stall
WARM = 1.0  # s at the beginning that are not counted: encoders and streams start
PIPE_BYTES = 1 << 20  # of an encoder's pipe: a frame is handed over in one call
ACCESS_UNIT = b"\x00\x00\x00\x01\x09"  # begins each coded picture
START_AFTER = 1.5  # s in which processes open their sessions


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
    coded: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))


class Encoder:
    """An H.264 encoder of one session; frames in by a pipe, coded pictures out by another."""

    def __init__(self, size: int) -> None:
        options = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-x264-params", "aud=1"]
        if encoder_works("h264_nvenc"):
            options = ["-c:v", "h264_nvenc", "-preset", "p1", "-tune", "ull", "-aud", "1"]
        given = ["-f", "rawvideo", "-pix_fmt", "nv12", "-s", f"{size}x{size}", "-r", f"{FPS:g}", "-probesize", "32"]
        command = [ffmpeg_binary(), "-v", "error", *given, "-i", "pipe:0", "-an", "-threads", "1", *options]
        command += ["-fps_mode", "passthrough", "-flush_packets", "1", "-f", "h264", "pipe:1"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self.process.stdin
        with suppress(OSError):  # a user's pipes are limited; smaller ones take more calls
            fcntl.fcntl(self.process.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._seen = b""

    def write(self, picture: np.ndarray) -> None:
        assert self.process.stdin
        rest = memoryview(picture).cast("B")
        while len(rest):
            rest = rest[os.write(self.process.stdin.fileno(), rest) :]

    def read(self) -> int:
        """Coded pictures that begin in what has come; -1 at the end."""
        assert self.process.stdout
        found = os.read(self.process.stdout.fileno(), 1 << 20)
        together = self._seen + found
        self._seen = together[-len(ACCESS_UNIT) + 1 :]
        return together.count(ACCESS_UNIT) if found else -1


class Encoders:
    """The encoders of all sessions, with threads that feed and read them."""

    def __init__(self, load: Load, log: Log, writers: int) -> None:
        self._encoders = [Encoder(load.size) for _ in range(load.sessions)]
        self._queues: list[queue.Queue[tuple[int, np.ndarray] | None]] = [queue.Queue() for _ in range(writers)]
        self._log = log
        self._threads = [threading.Thread(target=self._feed, args=(one,)) for one in self._queues]
        self._threads.append(threading.Thread(target=self._read))
        for thread in self._threads:
            thread.start()

    def put(self, session: int, picture: np.ndarray) -> None:
        self._queues[session % len(self._queues)].put((session, picture))

    def _feed(self, frames: queue.Queue[tuple[int, np.ndarray] | None]) -> None:
        while (item := frames.get()) is not None:
            session, picture = item
            self._encoders[session].write(picture)

    def _read(self) -> None:
        selector = selectors.DefaultSelector()
        for session, encoder in enumerate(self._encoders):
            assert encoder.process.stdout
            selector.register(encoder.process.stdout, selectors.EVENT_READ, session)
        while selector.get_map():
            for key, _ in selector.select():
                count = self._encoders[key.data].read()
                if count < 0:
                    selector.unregister(key.fileobj)
                self._log.coded[key.data] += [time.time()] * max(0, count)

    def close(self) -> None:
        for one in self._queues:
            one.put(None)
        for thread in self._threads[:-1]:
            thread.join()
        for encoder in self._encoders:
            assert encoder.process.stdin
            encoder.process.stdin.close()
        self._threads[-1].join()
        for encoder in self._encoders:
            encoder.process.wait()


class Processes:
    """Processes that hold all sessions."""

    def __init__(self, paths: Sequence[Path], count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.channels: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, list(paths)), daemon=True)
            process.start()
            self.channels.append(ours)
            self._processes.append(process)
        for channel in self.channels:
            assert channel.recv() == End(0.0)

    def begin(self, load: Load, start: float) -> None:
        """Ask for sessions."""
        for index, channel in enumerate(self.channels):
            sessions = list(range(index, load.sessions, len(self.channels)))
            channel.send(Order(sessions, start, load.seconds))

    def close(self) -> None:
        for channel in self.channels:
            channel.send(None)
        for process in self._processes:
            process.join()


@dataclass(frozen=True)
class Server:
    """What all sessions share."""

    speech: BatchedSpeech
    drawing: BatchedDrawing
    avatars: int
    processes: Processes
    writers: int  # threads that feed encoders


Begun = queue.Queue[tuple[Batch, list[int]] | None]


def run(load: Load, server: Server) -> dict[str, float]:
    """Run sessions for a while: figures of how long frames took, and how many were late."""
    log = Log()
    encoders = Encoders(load, log, server.writers)
    begun: Begun = queue.Queue(2)

    def collect() -> None:
        while (item := begun.get()) is not None:
            for session, picture in zip(item[1], item[0].pictures(), strict=True):
                log.drawn[session].append(time.time())
                encoders.put(session, picture)

    collector = threading.Thread(target=collect)
    collector.start()
    start = time.time() + START_AFTER
    server.processes.begin(load, start)
    taken = _serve(load, server, log, begun, start)
    begun.put(None)
    collector.join()
    encoders.close()
    return _figures(load, log, start) | taken


def _serve(load: Load, server: Server, log: Log, begun: Begun, start: float) -> dict[str, float]:
    """Make what is due until all sessions have ended: what it took."""
    ended: list[float] = []
    drawn: list[int] = []
    waited = 0.0
    streams = {session: server.speech.open(session % server.avatars) for session in range(load.sessions)}
    channels = server.processes.channels
    while len(ended) < len(channels) and time.time() < start + load.seconds + 2 * LAST_WAIT:
        idle = time.time()
        hops: list[tuple[Connection, Hops]] = []
        motions: list[Motions] = []
        for channel in wait(channels, timeout=0.01):
            assert isinstance(channel, Connection)
            message = channel.recv()
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
            for batch in server.drawing.begin(motion, [session % server.avatars for session in sessions]):
                begun.put((batch, sessions[: server.drawing.at_once]))
                del sessions[: server.drawing.at_once]
            drawn.append(len(motion))
    spent = max(time.time() - start, 1e-3)
    return {"cores of sessions": sum(ended), "frames at once": float(np.mean(drawn or [0])), "waiting": waited / spent}


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
    frames = missing = 0
    for session, came in log.sound.items():
        passed = log.spoken[session], log.moved[session], log.drawn[session], log.coded[session]
        stages = dict(zip(spent, passed, strict=True))
        for k, when in enumerate(came):
            if when < start + WARM:
                continue
            frames += 1
            missing += k >= len(log.coded[session])
            for name, times in stages.items():
                spent[name] += [times[k] - when] if k < len(times) else []
    late = sum(value > LATE for value in spent["coded"]) + missing
    figures = {"sessions": float(load.sessions), "frames": float(frames), "late": float(late)}
    for name, values in spent.items():
        for share in (50, 99, 100):
            figures[f"{name}_p{share}_ms"] = 1e3 * float(np.percentile(values or [np.nan], share))
    return figures
