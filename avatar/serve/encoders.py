"""Video for browsers: NV12 frames to VP8 or H.264 chunks, each decodable as soon as it is there."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from avatar.core.files import UserError
from avatar.motion.driver import FPS

Codec = Literal["vp8", "h264"]

KEY_FRAMES = round(10 * FPS)  # frames from one that needs no other to the next: what a viewer who joins waits at most
BITS_PER_PIXEL = 0.23  # of a frame: 1.5 Mb/s at 512 px and 25 frames/s

_SETTINGS: dict[Codec, tuple[str, dict[str, str]]] = {
    # a talking head at a steady rate: `cpu-used` -6 takes 2 ms at 512 px, and one thread is faster than two
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "-6", "lag-in-frames": "0", "static-thresh": "1"}),
    "h264": (
        "libx264",
        {"preset": "superfast", "tune": "zerolatency", "profile": "baseline"},
    ),
}


@dataclass(frozen=True)
class Chunk:
    """One coded frame."""

    data: bytes
    key: bool  # needs no frame before it


def webcodecs_name(codec: Codec, side: int) -> str:
    """The name of a codec for WebCodecs' `VideoDecoder`."""
    if codec == "vp8":
        return "vp8"
    return "avc1.42E01F" if side <= 720 else "avc1.42E028"  # constrained baseline, level 3.1 or 4


def media_source_name(side: int) -> str:
    """The type of fragmented MP4 for Media Source Extensions' `addSourceBuffer`."""
    return f'video/mp4; codecs="{webcodecs_name("h264", side)}, mp4a.40.2"'


class VideoEncoder:
    """Codes one session's frames. Calls must not overlap."""

    def __init__(self, codec: Codec, height: int, width: int, container: Any = None) -> None:
        """container: of PyAV, in which the frames become a stream. Raises: UserError when PyAV is not installed."""
        self._av = import_av()
        name, options = _SETTINGS[codec]
        self._stream = container and container.add_stream(name, rate=round(FPS))
        self._context = self._stream.codec_context if self._stream else self._av.CodecContext.create(name, "w")
        self._context.height, self._context.width = height, width
        self._context.pix_fmt = "yuv420p" if codec == "vp8" else "nv12"
        self._context.time_base, self._context.framerate = Fraction(1, round(FPS)), Fraction(round(FPS))
        self._context.bit_rate = round(BITS_PER_PIXEL * height * width * FPS)
        self._context.gop_size, self._context.max_b_frames = KEY_FRAMES, 0
        self._context.thread_count = 1
        self._context.options = options
        self._wants_key = False

    def request_key(self) -> None:
        """Make the next frame one that needs no other."""
        self._wants_key = True

    def encode(self, picture: np.ndarray, index: int) -> Chunk:
        """The chunk of a frame [3 H / 2, W] uint8, NV12, which is shown index / 25 s after the first."""
        packets = self.packets(picture, index)
        return Chunk(b"".join(map(bytes, packets)), any(packet.is_keyframe for packet in packets))

    def packets(self, picture: np.ndarray, index: int) -> list[Any]:
        """As `encode`, packets of PyAV, which belong to the container's stream where there is one."""
        planar = self._context.pix_fmt == "yuv420p"
        frame = self._av.VideoFrame.from_ndarray(
            to_planar(picture) if planar else picture, format=self._context.pix_fmt
        )
        frame.pts, frame.time_base = index, self._context.time_base
        if self._wants_key:
            frame.pict_type, self._wants_key = self._av.video.frame.PictureType.I, False
        packets = list((self._stream or self._context).encode(frame))
        for packet in packets:
            packet.duration = 1  # of the time base; what is not said is guessed by players
        return packets


def to_planar(picture: np.ndarray) -> np.ndarray:
    """YUV 4:2:0 in planes, of NV12; both [3 H / 2, W] uint8. FFmpeg's own conversion shares it among threads."""
    height, width = len(picture) * 2 // 3, picture.shape[1]
    chroma = picture[height:].reshape(-1, 2)
    return np.concatenate([picture[:height], chroma.T.reshape(-1, width)])


def import_av() -> Any:
    """PyAV. Raises: UserError when it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UserError("serve needs its extra; pip install 'avatar-builder[serve]'") from error
    return av
