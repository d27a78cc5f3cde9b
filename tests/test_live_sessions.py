"""The bench of live sessions ends, whatever falls behind: processes that are late, encoders that stand still."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from avatar.core.avatar_file import Avatar
from avatar.motion.speech_to_motion import open_speech_model
from bench.live_encoders import Encoders
from bench.live_process import End, Hops, Mouths, Order, Sessions, receive

SIZE = 64


def test_sessions_that_are_late_read_what_comes(avatar: Avatar) -> None:
    """Else they and the server each wait until the other reads: the pipes between them hold half of what is sent."""
    ours, theirs = multiprocessing.Pipe()
    sessions = Sessions(receive(theirs), theirs, [(avatar, open_speech_model(avatar.speech))], Order([0, 1, 2, 3], 3.0))
    width, asked, moved = len(avatar.speech.mean) + 1, list[int](), list[int]()

    def answer() -> None:
        """Mouths for all hops, as they come."""
        while not isinstance(message := ours.recv(), End):
            if isinstance(message, Hops):
                ours.send(Mouths(message.sessions, np.zeros((len(message.sessions), width), np.float32)))
            (asked if isinstance(message, Hops) else moved).extend(message.sessions)

    long_ago = time.time() - 60
    threads = [threading.Thread(target=one, daemon=True) for one in (answer, lambda: sessions.run(long_ago))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(asked) > 4 * 60
    assert sorted(moved) == sorted(asked)


@pytest.fixture
def encoders() -> Iterator[Encoders]:
    opened = Encoders(2, SIZE, 1)
    yield opened
    opened.close(0.0)


def test_encoders_code_each_picture_that_they_get(encoders: Encoders) -> None:
    encoders.warm(30.0)
    for level in range(5):
        encoders.put(1, np.full((3 * SIZE // 2, SIZE), level, np.uint8))
    encoders.close(30.0)
    assert [len(times) for times in encoders.coded] == [0, 5]
    assert encoders.coded[1] == sorted(encoders.coded[1])


def test_encoders_that_stand_still_are_ended(encoders: Encoders) -> None:
    encoders.warm(30.0)
    stopped = encoders._encoders[0].process.pid
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(TimeoutError, match="1 of 2 encoders coded no picture in 1 s"):
        encoders.warm(1.0)
    for _ in range(400):  # more than a pipe holds
        encoders.put(0, np.zeros((3 * SIZE // 2, SIZE), np.uint8))
    start = time.monotonic()
    encoders.close(0.2)
    assert time.monotonic() - start < 10
    assert not os.path.exists(f"/proc/{stopped}")
