"""A process of `bench.live_sessions`: features of its sessions' sound, and their behaviour, in real time."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from avatar.core.avatar_file import Avatar, load_avatar
from avatar.core.controls import resolve_controls
from avatar.core.media import SAMPLE_RATE
from avatar.core.motion_space import MOTION_NAMES
from avatar.motion.batched_speech import mouth_motion
from avatar.motion.driver import FPS, LIVE_WINDOW, SAMPLES_PER_FRAME
from avatar.motion.encoder import STRIDE
from avatar.motion.live_encoder import Hop, first_frame
from avatar.motion.speech_to_motion import SpeechToMotion, open_speech_model
from avatar.play.player import start_driver

TICKS = 4  # phases of sessions: those of one tick, 10 ms, come together
LAST_WAIT = 2.0  # s for mouths that are still on their way at the end


class Order(NamedTuple):
    """Sessions that a process is to open."""

    sessions: list[int]
    seconds: float


class Start(NamedTuple):
    """When the sessions that are open begin."""

    when: float


class Ready(NamedTuple):
    """The process is there, or has opened the sessions of an order."""


class Hops(NamedTuple):
    """Windows [n, t, D] of sessions' features, a frame of each, and when the sound that completes it came."""

    sessions: list[int]
    came: list[float]
    frame: int
    windows: np.ndarray


class Mouths(NamedTuple):
    """Rows [n, K + 1] of `BatchedSpeech` for hops, in their order."""

    sessions: list[int]
    rows: np.ndarray


class Motions(NamedTuple):
    """Values [n, V] of frames' motion."""

    sessions: list[int]
    rows: np.ndarray


class End(NamedTuple):
    """All is made; cores: the share of one that it took."""

    cores: float


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


Inbox = queue.Queue[Order | Start | Mouths | None]


class Sessions:
    """The sessions of one process."""

    def __init__(
        self, inbox: Inbox, channel: Connection, people: Sequence[tuple[Avatar, SpeechToMotion]], order: Order
    ) -> None:
        self._inbox, self._channel, self._seconds = inbox, channel, order.seconds
        self._drivers, self._sounds = {}, {}
        # s from the start: sessions and their pieces of sound
        self._ticks: dict[float, list[tuple[int, int]]] = defaultdict(list)
        for number, session in enumerate(order.sessions):
            avatar, model = people[session % len(people)]
            self._drivers[session] = start_driver(avatar, model, resolve_controls(avatar), LIVE_WINDOW)
            self._sounds[session] = voice(session, order.seconds).split(SAMPLES_PER_FRAME)
            for k in range(len(self._sounds[session])):
                self._ticks[(k + number % TICKS / TICKS) / FPS].append((session, k))
        self._hops: dict[int, deque[Hop]] = {session: deque() for session in order.sessions}

    def run(self, start: float) -> None:
        """In real time; hops go out as sound comes in, motion as their mouths come back. Another order ends it."""
        begun = time.process_time()
        for tick, pieces in sorted(self._ticks.items()):
            if not self._behave_until(start + tick):
                return
            self._take_sound(start + tick, pieces)
        end = time.time() + LAST_WAIT
        while any(self._hops.values()) and time.time() < end:
            if not self._behave_until(time.time() + 0.1):
                return
        self._channel.send(End((time.process_time() - begun) / self._seconds))

    def _behave_until(self, when: float) -> bool:
        """The motion of mouths that are here, however late it is, and of those that come until then.

        False when something else came, which is left there.
        """
        with suppress(queue.Empty):
            while isinstance(message := self._inbox.get(timeout=max(0.0, when - time.time())), Mouths):
                self._behave(message)
            self._inbox.put(message)
            return False
        return True

    def _take_sound(self, when: float, pieces: list[tuple[int, int]]) -> None:
        """Features of sound that came; hops whose windows are alike go together."""
        alike: dict[tuple[int, int], list[tuple[int, Hop]]] = defaultdict(list)
        for session, k in pieces:
            for hop in self._drivers[session].hops(self._sounds[session][k]):
                self._hops[session].append(hop)
                alike[len(hop.window), hop.frames.start].append((session, hop))
        for found in alike.values():
            frames = found[0][1].frames
            first = first_frame(frames)
            windows = torch.stack([hop.window[first * STRIDE :] for _, hop in found]).numpy()
            sessions = [session for session, _ in found]
            self._channel.send(Hops(sessions, [when] * len(sessions), frames.start - first, windows))

    def _behave(self, mouths: Mouths) -> None:
        rows = []
        for session, row in zip(mouths.sessions, torch.from_numpy(mouths.rows), strict=True):
            motion = self._drivers[session].behave(mouth_motion(self._hops[session].popleft(), row))
            rows.append(torch.cat([getattr(motion, name).flatten() for name in MOTION_NAMES]))
        self._channel.send(Motions(mouths.sessions, torch.stack(rows).numpy()))


def receive(channel: Connection) -> Inbox:
    """All that comes, as it comes; None at the end.

    A thread reads, whatever the process does: were both sides to send before they read, both would wait for ever as
    soon as the pipes between them are full, which happens when either falls behind.
    """
    inbox: Inbox = queue.Queue()

    def read() -> None:
        with suppress(EOFError, OSError):
            while True:
                inbox.put(channel.recv())
        inbox.put(None)

    threading.Thread(target=read, daemon=True).start()
    return inbox


def serve(channel: Connection, paths: Sequence[Path]) -> None:
    """The process: opens sessions, and runs them, each time some are asked for, until the other side is gone."""
    torch.set_num_threads(1)
    inbox = receive(channel)
    avatars = [load_avatar(path) for path in paths]
    people = [(avatar, open_speech_model(avatar.speech)) for avatar in avatars]
    channel.send(Ready())
    sessions: Sessions | None = None
    while (message := inbox.get()) is not None:  # mouths that came too late for their sessions are left out
        if isinstance(message, Order):
            sessions = Sessions(inbox, channel, people, message)
            channel.send(Ready())
        elif isinstance(message, Start) and sessions:
            sessions.run(message.when)
