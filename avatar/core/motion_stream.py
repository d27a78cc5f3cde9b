"""Motion stream: a binary message a frame, its motion and its sound together, so that the two cannot part.

A viewer that has an avatar's drawing file draws from it. docs/formats.md has the layout.
"""

from __future__ import annotations

import struct

import numpy as np
import torch

from avatar.core.motion_space import Motion

MOTION = 3  # the kind of message
HEAD = struct.Struct("<BBHIQ")  # kind, version, samples, index of the frame, microseconds after the first frame
VERSION = 1


def motion_rows(motion: Motion) -> np.ndarray:
    """[T, K + 20] float32: expression, eyes, rotation row by row, translation, torso."""
    parts = motion.expression, motion.eyes, motion.rotation.flatten(1), motion.translation, motion.torso
    return torch.cat(parts, 1).numpy().astype("<f4")


def frame_message(motion: Motion, sound: np.ndarray, index: int, light: np.ndarray | None = None) -> bytes:
    """The message of one frame [1] of motion and the sound [n] int16 that is played while it is shown.

    light: [63] in which light the person is drawn (docs/formats.md); None: as filmed.
    With 32 modes and 640 samples (16 kHz) it has 1504 bytes, 38 kB/s; a light adds 252.
    """
    when = round(1e6 * index / motion.fps)
    return (
        HEAD.pack(MOTION, VERSION, len(sound), index, when)
        + motion_rows(motion).tobytes()
        + (b"" if light is None else np.asarray(light, "<f4").tobytes())
        + np.asarray(sound, "<i2").tobytes()
    )
