"""A live session: sound goes in as it comes, frames come out about a fifth of a second later."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from avatar.core.files import UserError
from avatar.core.motion_space import Motion
from avatar.motion.driver import Driver
from avatar.play.draw import Drawing
from avatar.play.sound import SoundReader


class Session:
    """One conversation of a Player. Frames are 40 ms each; a frame needs 160 ms of sound beyond it.

    Use it from one thread at a time; sessions of one Player may run in threads of their own.
    """

    def __init__(self, driver: Driver, drawing: Drawing, reader: Callable[[], SoundReader]) -> None:
        """Made by `Player.session`."""
        self._driver, self._drawing, self._new_reader = driver, drawing, reader
        self._reader = reader()
        self._closed = False

    def push(self, pcm: np.ndarray | torch.Tensor) -> list[np.ndarray]:
        """The frames (perhaps none) that more sound completes; pieces of any size."""
        self._check_open()
        return self._draw(self._driver.push(self._reader.push(pcm)))

    def idle(self, count: int) -> list[np.ndarray]:
        """Frames [count] without sound: the end of what was said, then rest, blinks, breathing, small head motion.

        Raises: UserError when count is below 1.
        """
        self._check_open()
        if count < 1:
            raise UserError(f"idle: {count} frames are asked for; ask for 1 or more")
        self._reader = self._new_reader()
        return self._draw(self._driver.idle(count))

    def interrupt(self) -> None:
        """Drop all sound that was pushed and is not in a frame yet; the mouth closes within 200 ms."""
        self._check_open()
        self._reader = self._new_reader()
        self._driver.interrupt()

    def finish(self) -> list[np.ndarray]:
        """The last frames, when no more sound will come; closes the session."""
        self._check_open()
        self._closed = True
        frames = self._draw(self._driver.push(self._reader.finish()))
        frames += self._draw(self._driver.finish()) if self._driver.pending else []
        return frames + list(self._drawing.finish())

    def close(self) -> None:
        """Close the session; what was not asked for yet is dropped. A closed session stays closed."""
        self._closed = True

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _draw(self, motion: Motion) -> list[np.ndarray]:
        return list(self._drawing.draw(motion)) if len(motion) else []

    def _check_open(self) -> None:
        if self._closed:
            raise UserError("the session is closed; open another with `player.session()`")
