"""Live speech: sound goes in as it is heard, motion and pictures come out a fifth of a second later."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from avatar.core.bundle import Avatar
from avatar.core.controls import Controls
from avatar.core.motion_space import Motion
from avatar.motion.drive import Pace
from avatar.motion.encoder import CONTEXT
from avatar.pipelines.draw import draw
from avatar.pipelines.driver import own_controls, start_driver
from avatar.render.device import DeviceName

PACE = Pace(chunk=1, before=2 * CONTEXT, ahead=4)  # 160 ms of sound beyond a frame


class Session:
    """One avatar that listens. Sound at 16 kHz, motion at 25 frames/s, 40 ms at a time."""

    def __init__(self, avatar: Avatar, *, controls: Controls | None = None, gain: float = 1.0) -> None:
        """gain: brings the voice to -23 dB of full scale (`avatar.core.loudness`), as files are brought to.

        Raises: UserError when the avatar was built with another MotionSpace, or a style or pose is not a Take.
        """
        self._avatar, self._gain = avatar, gain
        self._driver = start_driver(avatar, controls or own_controls(avatar), pace=PACE)

    def push(self, pcm: Tensor) -> Motion:
        """The frames (perhaps none) that more sound [n] float32 -1..1 completes. The size of what is pushed is free."""
        return self._driver.push(self._gain * pcm)

    def finish(self) -> Motion:
        """The last frames, when no more sound will come."""
        return self._driver.finish()

    def draw(self, motion: Motion, device: DeviceName = "cpu") -> Iterator[np.ndarray]:
        """Pictures [S, S, 3] uint8 of frames of motion."""
        return draw(self._avatar, [motion], device=device)
