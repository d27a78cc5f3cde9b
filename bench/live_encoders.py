"""The video encoders of `bench.live_sessions`: a process of ffmpeg for each session, and threads that feed and read."""

from __future__ import annotations

import fcntl
import os
import queue
import selectors
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from avatar.core.encode import encoder_works
from avatar.core.media import ffmpeg_binary
from avatar.motion.driver import FPS

PIPE_BYTES = 1 << 20  # of an encoder's pipe: a frame is handed over in one call
ACCESS_UNIT = b"\x00\x00\x00\x01\x09"  # begins each coded picture
GRAY = 128  # of the picture that an encoder begins with
LOOK_SECONDS = 0.1  # between two looks at whether what is waited for has come

Frames = queue.Queue[tuple[int, np.ndarray] | None]


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
        """Hand a picture over; waits while the pipe is full. Raises: BrokenPipeError when the encoder has ended."""
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

    def finish(self) -> None:
        """There are no more pictures."""
        assert self.process.stdin
        self.process.stdin.close()

    def close(self) -> None:
        """Give back what it held, once it has ended."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Encoders:
    """The encoders of all sessions. `coded`: when each of a session's pictures came out, s."""

    def __init__(self, sessions: int, size: int, writers: int) -> None:
        """writers: threads that feed the encoders."""
        self.coded: list[list[float]] = [[] for _ in range(sessions)]
        self._encoders = [Encoder(size) for _ in range(sessions)]
        self._queues: list[Frames] = [queue.Queue() for _ in range(writers)]
        self._writers = [threading.Thread(target=self._feed, args=(one,), daemon=True) for one in self._queues]
        self._reader = threading.Thread(target=self._read, daemon=True)
        for thread in (*self._writers, self._reader):
            thread.start()
        self._first = np.full((3 * size // 2, size), GRAY, np.uint8)

    def warm(self, seconds: float) -> None:
        """Have each encoder code a picture, so that none is still starting. Raises: TimeoutError."""
        for session in range(len(self._encoders)):
            self.put(session, self._first)
        end = time.time() + seconds
        while waited_for := sum(not times for times in self.coded):
            if time.time() > end:
                raise TimeoutError(f"{waited_for} of {len(self.coded)} encoders coded no picture in {seconds:.0f} s")
            time.sleep(LOOK_SECONDS)
        for times in self.coded:
            times.clear()

    def put(self, session: int, picture: np.ndarray) -> None:
        """Give a session's encoder a picture [3 S / 2, S] uint8; nothing waits."""
        self._queues[session % len(self._queues)].put((session, picture))

    def _feed(self, frames: Frames) -> None:
        while (item := frames.get()) is not None:
            session, picture = item
            with suppress(BrokenPipeError):  # it was stopped
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
                self.coded[key.data] += [time.time()] * max(0, count)

    def close(self, seconds: float) -> None:
        """Let them code what they were given; what is not coded after so many seconds is dropped."""
        end = time.time() + seconds
        for one in self._queues:
            one.put(None)
        if _ended(self._writers, end):
            for encoder in self._encoders:
                encoder.finish()
            _ended([self._reader], end)
        for encoder in self._encoders:
            encoder.process.kill()
        for thread in (*self._writers, self._reader):  # whose pipes have ended
            thread.join()
        for encoder in self._encoders:
            encoder.close()


def _ended(threads: Sequence[threading.Thread], end: float) -> bool:
    """Whether threads have ended by then, `time.time()`."""
    for thread in threads:
        thread.join(max(0.0, end - time.time()))
    return not any(thread.is_alive() for thread in threads)
