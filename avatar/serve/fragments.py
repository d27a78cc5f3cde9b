"""A session as fragmented MP4, H.264 and AAC, for players that know Media Source Extensions alone."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from avatar.motion.driver import FPS
from avatar.serve.encoders import VideoEncoder, import_av

SOUND_BITS = 96_000  # a second: AAC of one voice that nobody tells from its source
_FLAGS = {
    "movflags": "empty_moov+default_base_moof",
    "frag_duration": str(round(1e6 / FPS)),  # microseconds: a frame
    "flush_packets": "1",
}


class _Pieces:
    """A file that keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        data, self._written = bytes(self._written), bytearray()
        return data


class FragmentedMp4:
    """Codes one session's frames, each with its sound. Calls must not overlap."""

    def __init__(self, height: int, width: int, rate: int) -> None:
        """rate: Hz of the sound. Raises: UserError when PyAV is not installed."""
        self._av, self._pieces = import_av(), _Pieces()
        self._container = self._av.open(self._pieces, "w", format="mp4", options=_FLAGS)
        self._video = VideoEncoder("h264", height, width, self._container)
        self._sound: Any = self._container.add_stream("aac", rate=rate, layout="mono")
        self._sound.bit_rate = SOUND_BITS

    def request_key(self) -> None:
        """Make the next picture one that needs no other."""
        self._video.request_key()

    def encode(self, picture: np.ndarray | None, sound: np.ndarray, index: int) -> bytes:
        """What a frame adds to the file: none or some fragments, before the first of them the file's head.

        picture [3 H / 2, W] uint8, NV12, or None where none was drawn; sound [rate / 25] int16; index: frames since
        the session's first.
        """
        packets = [] if picture is None else self._video.packets(picture, index)
        samples = np.ascontiguousarray(sound[None], np.int16).astype(np.float32) / 32768
        frame = self._av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = self._sound.rate
        frame.pts, frame.time_base = index * len(sound), Fraction(1, self._sound.rate)
        spoken = [packet for packet in self._sound.encode(frame) if packet.pts >= 0]  # before: what AAC warms up with
        self._container.mux([*packets, *spoken])
        return self._pieces.take()
