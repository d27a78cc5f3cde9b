"""The scheduler: one clock for all sessions. At each tick their motion is made together, then their frames are drawn.

A pipeline of three stages: while the motion of a tick is made, the tick before is drawn, and the one before that is
coded in a pool of threads. What falls behind is seen late, then not drawn; sound and motion are never left out.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from avatar.core.threads import torch_threads
from avatar.motion.batched_speech import BatchedSpeech, SpeechStream, mouth_motion
from avatar.motion.driver import FPS
from avatar.motion.live_encoder import Hop
from avatar.motion.speech_to_motion import SpeechToMotion
from avatar.play.shared_drawing import SharedDrawing, View
from avatar.serve.live_avatar import Due, LiveAvatar, Played
from cuda_ext.limits import core_count

PERIOD = 1 / FPS  # s
LATE = PERIOD  # s from a tick to its encoded frame: beyond, the frame is late
MOST_LAG = 2 * PERIOD  # s behind its tick at which a frame is not drawn any more
CALM = 1.0  # s between two ticks that come before their time
STALL = 0.25  # s behind at which the clock begins anew: what was lost is a pause, not a delay for good
BUSY_WINDOW = 50  # ticks that the load is an average of
TIMES_KEPT = 5000  # frame times that quantiles are taken of
GROUP = 6  # sessions whose motion is made together; while faces of one group move, the speech model works for the next
FULL = 0.85  # of a tick that may be used: more, and a neighbour's work makes frames late


LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """A frame as a session gets it."""

    played: Played
    picture: (
        np.ndarray | None
    )  # [3 S / 2, S] uint8, NV12; None: it was not drawn, the machine being behind, or not asked


@dataclass(eq=False)
class Client:
    """What the engine knows of a session: where its frames come from, how they are drawn, where they go."""

    live: LiveAvatar
    model: int
    drawing: SharedDrawing
    view: View
    deliver: Callable[[Frame], None]  # called in a thread of the pool, one frame at a time; encodes
    drawn: bool = True  # False: whoever looks draws, from the motion
    stream: SpeechStream | None = None
    number: int = -1  # of the stream of sound

    def speech_stream(self, speech: BatchedSpeech, number: int) -> SpeechStream:
        """The speech model's state for a stream of sound."""
        if self.stream is None or number != self.number:
            self.stream, self.number = speech.open(self.model), number
        return self.stream


@dataclass
class Load:
    """How busy the engine is, and how late its frames were."""

    frames: int = 0
    late: int = 0
    undrawn: int = 0
    stalls: int = 0
    encode_seconds: float = 0.0  # of finishing and coding a frame, a running mean
    times: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))  # s from a tick to its encoded frame
    motion: deque[float] = field(default_factory=lambda: deque(maxlen=BUSY_WINDOW))  # s of each tick
    drawing: deque[float] = field(default_factory=lambda: deque(maxlen=BUSY_WINDOW))
    clients: deque[int] = field(default_factory=lambda: deque(maxlen=BUSY_WINDOW))

    def share(self) -> float:
        """Of a tick that its slowest stage takes."""
        stages = [sum(times) / len(times) for times in (self.motion, self.drawing) if times]
        return max(stages, default=0.0) / PERIOD

    def quantile(self, share: float) -> float:
        """Of frame times, s."""
        times = sorted(self.times)
        return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0


class Engine:
    """Runs clients until it is closed. `add` and `remove` may be called from any thread."""

    def __init__(self, models: Sequence[SpeechToMotion], clock: Callable[[], float] = time.monotonic) -> None:
        self.load = Load()
        self._speech = BatchedSpeech(models, torch.device("cpu"))
        self._clock, self._clients, self._lock = clock, list[Client](), threading.Lock()
        self._wake, self._closing, self._hurried = threading.Event(), threading.Event(), threading.Event()
        self._hurried_at = -CALM
        self.failed = False  # a thread ended by an error: no session gets frames any more
        self._drawn: queue.Queue[tuple[float, list[tuple[Client, Played]]] | None] = queue.Queue(2)
        self._pool = ThreadPoolExecutor(core_count(), "encode")
        self._speaking = ThreadPoolExecutor(1, "speech")  # one group at a time
        self._threads = [
            threading.Thread(target=self._guarded, args=(run,), name=name, daemon=True)
            for run, name in ((self._make_motion, "motion"), (self._draw, "draw"))
        ]

    def start(self) -> None:
        """Start the clock."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the clock; clients get no more frames."""
        self._closing.set()
        self._wake.set()
        self._hurried.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._pool.shutdown()
        self._speaking.shutdown()

    def add(self, client: Client) -> None:
        """Give a client frames from the next tick on."""
        with self._lock:
            self._clients.append(client)
        self._wake.set()

    def remove(self, client: Client) -> None:
        """Give a client no more frames, but one that is being drawn."""
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)

    def hurry(self) -> None:
        """Make the next frames now: the sound of a first one is there. Not where another session speaks already."""
        self._hurried.set()

    def fits(self, count: int, cost: float) -> bool:
        """Whether so many sessions fit, each of which takes `cost` seconds of a tick's slowest stage."""
        clients = sum(self.load.clients) / len(self.load.clients) if self._clients and self.load.clients else 0
        measured = self.load.share() * PERIOD / clients if clients else 0.0
        return count * max(cost, measured) <= FULL * PERIOD

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception:
            LOG.exception("a thread of the engine ended; restart the server")
            self.failed = True

    def _make_motion(self) -> None:
        tick = self._clock()
        with torch_threads(1), torch.no_grad():
            while not self._closing.is_set():
                with self._lock:
                    clients = list(self._clients)
                if not clients:
                    self._wake.wait()
                    self._wake.clear()
                    tick = self._clock()
                    continue
                begun = time.perf_counter()
                played = self.step(clients)
                self.load.motion.append(time.perf_counter() - begun)
                self.load.clients.append(len(clients))
                self._drawn.put((tick, list(zip(clients, played, strict=True))))
                tick = self._wait(tick + PERIOD, clients)
        self._drawn.put(None)

    def _wait(self, tick: float, clients: Sequence[Client]) -> float:
        """Wait for a tick; when it was: later where the clock begins anew, earlier where speech begins."""
        now = self._clock()
        if now - tick > STALL:
            self.load.stalls += 1
            return now
        while now < tick and self._hurried.wait(tick - now) and not self._closing.is_set():
            self._hurried.clear()
            now = self._clock()
            if now - self._hurried_at > CALM and not any(client.live.speaking for client in clients):
                self._hurried_at = now
                return now
        return tick

    def step(self, clients: Sequence[Client]) -> list[Played]:
        """The next frame of each client, before it is drawn."""
        groups = [clients[at : at + GROUP] for at in range(0, len(clients), GROUP)]
        begun = [self._begin_motion(group, beside=len(groups) > 1) for group in groups]
        played = []
        for group, (due, pushed) in zip(groups, begun, strict=True):
            rows = iter(pushed())
            for client, one in zip(group, due, strict=True):
                played.append(client.live.next_frame([mouth_motion(hop, next(rows)) for hop in one.hops]))
        return played

    def _begin_motion(
        self, clients: Sequence[Client], *, beside: bool
    ) -> tuple[list[Due], Callable[[], Sequence[torch.Tensor]]]:
        """What clients are due, and what gives the rows that the speech model makes of it.

        beside: it is made in a thread of its own, while this one has others' faces move.
        """
        due = [client.live.next_hops() for client in clients]
        asked = [
            (client.speech_stream(self._speech, one.stream), hop)
            for client, one in zip(clients, due, strict=True)
            for hop in one.hops
        ]
        if beside:
            return due, self._speaking.submit(self._push, asked).result
        return due, lambda: self._speech.push(asked)

    def _push(self, asked: Sequence[tuple[SpeechStream, Hop]]) -> Sequence[torch.Tensor]:
        with torch_threads(1):
            return self._speech.push(asked)

    def time_clients(self, clients: Sequence[Client], frames: int, warm: int) -> float:
        """Seconds that the slowest stage of a tick takes for clients, in the median; before the clock runs."""
        stages = []
        with torch_threads(1), torch.no_grad():
            for _ in range(frames):
                times = [time.perf_counter()]
                shown = list(zip(clients, self.step(clients), strict=True))
                times.append(time.perf_counter())
                pictures = self._pictures(shown)
                times.append(time.perf_counter())
                wait(self._hand_on(shown, pictures))
                times.append(time.perf_counter())
                stages.append([after - before for before, after in pairwise(times)])
        return max(sorted(stage)[len(stage) // 2] for stage in zip(*stages[warm:], strict=True))

    def _draw(self) -> None:
        coding: tuple[float, bool, list[Future[float]]] | None = None  # the tick before: encoders work beside drawing
        while (work := self._drawn.get()) is not None:
            tick, frames = work
            begun = time.perf_counter()
            drawn = self._clock() - tick <= MOST_LAG or self._drawn.empty()
            pictures = self._pictures(frames) if drawn else [None] * len(frames)
            if coding:
                self._count(*coding)
            coding = (tick, drawn, self._hand_on(frames, pictures))
            self.load.drawing.append(time.perf_counter() - begun)

    def _pictures(self, frames: Sequence[tuple[Client, Played]]) -> list[np.ndarray | None]:
        """The frames drawn, those of each avatar together."""
        pictures: list[np.ndarray | None] = [None] * len(frames)
        to_draw = [index for index, (client, _) in enumerate(frames) if client.drawn]
        for drawing in {id(frames[index][0].drawing): frames[index][0].drawing for index in to_draw}.values():
            mine = [index for index in to_draw if frames[index][0].drawing is drawing]
            motions, views = [frames[index][1].motion for index in mine], [frames[index][0].view for index in mine]
            for index, picture in zip(mine, drawing.draw(motions, views), strict=True):
                pictures[index] = picture
        return pictures

    def _hand_on(
        self, frames: Sequence[tuple[Client, Played]], pictures: Sequence[np.ndarray | None]
    ) -> list[Future[float]]:
        """Begin to finish pictures; when each was done. Those of the tick before have to be done."""
        return [self._pool.submit(self._finish, *one) for one in zip(frames, pictures, strict=True)]

    def _finish(self, frame: tuple[Client, Played], picture: np.ndarray | None) -> float:
        """Finish a picture and hand it on; when that was done."""
        client, played = frame
        begun = time.perf_counter()
        try:
            client.deliver(Frame(played, None if picture is None else client.view.finish(picture)))
        except Exception:  # of one session's encoder or transport: the others go on
            LOG.exception("a session ended by an error")
            self.remove(client)
        if picture is not None:
            self.load.encode_seconds += (time.perf_counter() - begun - self.load.encode_seconds) / BUSY_WINDOW
        return self._clock()

    def _count(self, tick: float, drawn: bool, coding: Sequence[Future[float]]) -> None:
        """Count a tick's frames once they are done."""
        times = [one.result() - tick for one in coding]
        self.load.frames += len(times)
        self.load.undrawn += 0 if drawn else len(times)
        self.load.times.extend(times)
        self.load.late += sum(one > LATE for one in times)
