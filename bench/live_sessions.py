"""Live sessions at once on one GPU: sound in, H.264 out, in real time. A part of `bench.bench_drawing`.

Every session has a motion stream of its own, in one of several processes, and a video encoder of its own; this process
draws the frames that are due together. Sound comes in pieces of 40 ms, each session's at its own phase. A frame is late
when its coded picture comes out more than LATE after the sound that completes it came in.
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

from avatar.core.avatar_file import load_avatar
from avatar.core.controls import resolve_controls
from avatar.core.encode import encoder_works
from avatar.core.media import SAMPLE_RATE, ffmpeg_binary
from avatar.core.motion_space import MOTION_NAMES, Motion
from avatar.motion.driver import FPS, LIVE_WINDOW, SAMPLES_PER_FRAME
from avatar.motion.speech_to_motion import open_speech_model
from avatar.play.batched_drawing import BatchedDrawing, Due
from avatar.play.frame_graphs import Batch
from avatar.play.player import start_driver

LATE = 2 / FPS  # s: a player that buffers one frame does not stall
WARM = 1.0  # s at the beginning that are not counted: encoders and streams start
PIPE_BYTES = 1 << 20  # of an encoder's pipe: a frame is handed over in one call
ACCESS_UNIT = b"\x00\x00\x00\x01\x09"  # begins each coded picture
LAST_WAIT = 2.0  # s for frames that are still on their way at the end

Row = np.ndarray  # session, time its sound came, then the values of one frame's motion


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
    moved: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    drawn: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    coded: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))


def voice(seed: int, seconds: float) -> torch.Tensor:
    """A voice-like sound [n] at 16 kHz: harmonics of a wandering pitch, in syllables."""
    g = torch.Generator().manual_seed(seed)
    time_ = torch.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 110 + 60 * float(torch.rand(1, generator=g)) + 15 * torch.sin(2 * torch.pi * 0.4 * time_)
    phase = 2 * torch.pi * torch.cumsum(pitch, 0) / SAMPLE_RATE
    tone = sum(torch.sin(n * phase) / n for n in range(1, 12))
    return 0.1 * tone * torch.sin(2 * torch.pi * 2.1 * time_).clamp_min(0) + 0.002 * torch.randn(
        len(time_), generator=g
    )


def make_motion(channel: Connection, paths: Sequence[Path]) -> None:
    """A process: motion of the sessions that it is asked for, rows of it as they come."""
    torch.set_num_threads(1)
    avatars = [load_avatar(path) for path in paths]
    speech = [open_speech_model(avatar.speech) for avatar in avatars]
    channel.send_bytes(b"ready")
    while (order := channel.recv()) is not None:
        sessions, start, seconds, phases = order
        drivers, sounds = {}, {}
        for session in sessions:
            who = session % len(avatars)
            drivers[session] = start_driver(avatars[who], speech[who], resolve_controls(avatars[who]), LIVE_WINDOW)
            sounds[session] = voice(session, seconds).split(SAMPLES_PER_FRAME)
        due = [(start + k / FPS + phases[s], s, k) for s in sessions for k in range(len(sounds[s]))]
        busy = 0.0
        for when, session, k in sorted(due):
            time.sleep(max(0.0, when - time.time()))
            begun = time.process_time()
            motion = drivers[session].push(sounds[session][k])
            rows = torch.cat([getattr(motion, name).flatten(1) for name in MOTION_NAMES], 1).double()
            for row in rows:
                channel.send_bytes(np.concatenate([[session, when], row.numpy()]).tobytes())
            busy += time.process_time() - begun
        channel.send_bytes(np.array([-1.0, busy / seconds]).tobytes())


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


class MotionProcesses:
    """Processes that make the motion of all sessions."""

    def __init__(self, paths: Sequence[Path], count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.channels: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=make_motion, args=(theirs, list(paths)), daemon=True)
            process.start()
            self.channels.append(ours)
            self._processes.append(process)
        for channel in self.channels:
            assert channel.recv_bytes() == b"ready"

    def begin(self, load: Load, start: float) -> None:
        """Ask for sessions; their phases are spread over a frame's time."""
        phases = {session: session / load.sessions / FPS for session in range(load.sessions)}
        for index, channel in enumerate(self.channels):
            sessions = list(range(index, load.sessions, len(self.channels)))
            channel.send((sessions, start, load.seconds, phases))

    def close(self) -> None:
        for channel in self.channels:
            channel.send(None)
        for process in self._processes:
            process.join()


def run(load: Load, drawing: BatchedDrawing, avatars: int, motion: MotionProcesses, writers: int) -> dict[str, float]:
    """Run sessions for a while: figures of how long frames took, and how many were late."""
    log = Log()
    encoders = Encoders(load, log, writers)
    begun: queue.Queue[tuple[Batch, list[int]] | None] = queue.Queue(2)

    def collect() -> None:
        while (item := begun.get()) is not None:
            for session, picture in zip(item[1], item[0].pictures(), strict=True):
                log.drawn[session].append(time.time())
                encoders.put(session, picture)

    collector = threading.Thread(target=collect)
    collector.start()
    start = time.time() + 0.5
    motion.begin(load, start)
    busy, batches = _draw_all(load, drawing, avatars, motion, log, begun, start)
    begun.put(None)
    collector.join()
    encoders.close()
    return _figures(load, log, start) | {"motion_busy": busy, "frames_a_batch": float(np.mean(batches or [0]))}


def _draw_all(
    load: Load, drawing: BatchedDrawing, avatars: int, motion: MotionProcesses, log: Log,
    begun: queue.Queue[tuple[Batch, list[int]] | None], start: float,
) -> tuple[float, list[int]]:  # fmt: skip
    """Draw what is due until all motion was made: the share of a core that motion took, and frames of each batch."""
    busy: list[float] = []
    batches: list[int] = []
    while len(busy) < len(motion.channels) and time.time() < start + load.seconds + LAST_WAIT:
        rows: list[Row] = []
        for channel in wait(motion.channels, timeout=0.01):
            assert isinstance(channel, Connection)
            while channel.poll() and len(rows) < drawing.at_once:
                row = np.frombuffer(channel.recv_bytes())
                busy += [float(row[1])] if row[0] < 0 else []
                rows += [row] if row[0] >= 0 else []
        if not rows:
            continue
        sessions = [int(row[0]) for row in rows]
        for session, row in zip(sessions, rows, strict=True):
            log.sound[session].append(float(row[1]))
            log.moved[session].append(time.time())
        (batch,) = drawing.begin([Due(s % avatars, _motion(row[2:])) for s, row in zip(sessions, rows, strict=True)])
        begun.put((batch, sessions))
        batches.append(len(rows))
    return sum(busy), batches


def _motion(values: np.ndarray) -> Motion:
    row = torch.from_numpy(values).float()[None]
    modes = row.shape[1] - 4 - 9 - 3 - 4
    expression, eyes, rotation, translation, torso = row.split([modes, 4, 9, 3, 4], 1)
    return Motion(expression, eyes, rotation.view(1, 3, 3), translation, torso, FPS)


def _figures(load: Load, log: Log, start: float) -> dict[str, float]:
    """Milliseconds from sound to each stage, and frames that were late or never came."""
    spent: dict[str, list[float]] = {"motion": [], "drawn": [], "coded": []}
    frames = missing = 0
    for session, came in log.sound.items():
        stages = {"motion": log.moved[session], "drawn": log.drawn[session], "coded": log.coded[session]}
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
