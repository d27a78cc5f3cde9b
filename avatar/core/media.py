"""Video and sound, in and out, through the ffmpeg binary. Argument lists only, never a shell."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import wave
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.files import UserError, check_readable

SAMPLE_RATE = 16000
STILL_FPS = 25.0
CHUNK = SAMPLE_RATE  # samples read at a time: one second


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of itself, rotation applied."""

    width: int
    height: int
    fps: float
    seconds: float
    has_video: bool
    has_audio: bool
    interlaced: bool = False
    high_dynamic_range: bool = False


@dataclass(frozen=True)
class Stretch:
    """The part of a file to read, in seconds from its beginning."""

    start: float = 0.0
    stop: float | None = None  # None: to the end

    def within(self, info: VideoInfo, name: str) -> VideoInfo:
        """What a file says of itself, shortened to this part. Raises: UserError when nothing of it is left."""
        stop = info.seconds if self.stop is None else min(self.stop, info.seconds)
        if not 0 <= self.start < stop:
            end = "its end" if self.stop is None else f"{self.stop:g} s"
            raise UserError(f"{name}: is {info.seconds:.1f} s long; nothing lies between {self.start:g} s and {end}")
        return replace(info, seconds=stop - self.start)

    def options(self) -> list[str]:
        """Input options of ffmpeg."""
        seek = ["-ss", f"{self.start:.3f}"] if self.start > 0 else []
        return seek + (["-to", f"{self.stop:.3f}"] if self.stop is not None else [])


WHOLE = Stretch()


def ffmpeg_binary() -> str:
    """The system's ffmpeg when there is one, else the one of imageio-ffmpeg."""
    if system := shutil.which("ffmpeg"):
        return system
    import imageio_ffmpeg  # here, so that what reads no media file runs without it

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def probe(path: Path) -> VideoInfo:
    """Size, frame rate, length and tracks of a media file. Raises: UserError when it is none."""
    check_readable(path, "media file")
    # imageio-ffmpeg ships no ffprobe; what `ffmpeg -i` prints has all we need
    command = [ffmpeg_binary(), "-hide_banner", "-i", f"file:{path}"]
    text = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stderr.decode("utf-8", "replace")
    # of other files' bytes ffmpeg makes a film by chance, and says that it is hardly sure
    if "Stream #" not in text or "misdetection possible" in text:
        raise UserError(f"{path}: is not a video or sound file that ffmpeg can read, or it is cut short")
    video = next((line for line in text.splitlines() if "Video:" in line and "attached pic" not in line), None)
    width = height = 0
    fps = 0.0
    if video and (size := re.search(r"[ ,](\d{2,5})x(\d{2,5})[ ,\n\[]", video + " ")):
        width, height = int(size[1]), int(size[2])
        rate = re.search(r"([\d.]+)k? (?:fps|tbr)", video)
        fps = float(rate[1]) if rate else 25.0
        ratio = re.search(r"SAR (\d+):(\d+)", video)
        if ratio and int(ratio[1]) and int(ratio[2]):
            width = round(width * int(ratio[1]) / int(ratio[2]))
        turn = re.search(r"rotation of (-?[\d.]+) degrees", text)
        if turn and round(float(turn[1])) % 180 == 90:
            width, height = height, width
    length = re.search(r"Duration: (\d+):(\d\d):([\d.]+)", text)
    seconds = int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3]) if length else 0.0
    interlaced = bool(video and re.search(r"top (first|coded)|bottom (first|coded)|interlaced", video))
    bright = bool(video and re.search(r"smpte2084|arib-std-b67", video))
    return VideoInfo(width, height, fps, seconds, width > 0, "Audio:" in text, interlaced, bright)


def read_video(
    path: Path,
    *,
    size: int,
    crop: tuple[float, float, float] | None = None,
    fps: float = 25.0,
    stretch: Stretch = WHOLE,
) -> Iterator[np.ndarray]:
    """Frames [S, S, 3] uint8 RGB of a square crop (left, top, side in source px), resampled in time and size.

    A crop that reaches over the border is filled by repeating the border.
    """
    info = probe(path)
    if not info.has_video:
        raise UserError(f"{path}: has no picture; give a video")
    left, top, side = crop or (0.0, 0.0, float(min(info.width, info.height)))
    scale = size / side
    width, height = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    x, y = round(left * scale), round(top * scale)
    filters = _first_filters(info) + f"scale={width}:{height}:flags=bicubic,setsar=1"
    borders = (max(0, -x), max(0, x + size - width), max(0, -y), max(0, y + size - height))
    if any(borders):
        filters += (
            f",pad={width + borders[0] + borders[1]}:{height + borders[2] + borders[3]}:{borders[0]}:{borders[2]}"
        )
        filters += f",fillborders={borders[0]}:{borders[1]}:{borders[2]}:{borders[3]}:smear"
    filters += f",crop={size}:{size}:{x + borders[0]}:{y + borders[2]},fps={fps:g},format=rgb24"
    yield from _read_raw(path, filters, size, size, stretch)


def _first_filters(info: VideoInfo) -> str:
    """Filters that make any picture progressive and of the usual brightness (BT.2390-like, by ffmpeg's tonemap)."""
    filters = "bwdif=mode=send_frame:deint=interlaced," if info.interlaced else ""
    if info.high_dynamic_range:
        filters += "zscale=transfer=linear:npl=203,format=gbrpf32le,tonemap=tonemap=hable:desat=0,"
        filters += "zscale=primaries=bt709:transfer=bt709:matrix=bt709:range=tv,format=yuv420p,"
    return filters


def read_still(path: Path, info: VideoInfo, seconds: float, *, stretch: Stretch = WHOLE) -> np.ndarray:
    """The whole frame [height, width, 3] uint8 RGB that is shown at a time, at the source's size."""
    filters = f"{_first_filters(info)}scale={info.width}:{info.height}:flags=bicubic,setsar=1"
    late = Stretch(stretch.start + min(seconds, max(0.0, info.seconds - 2 / info.fps)), stretch.stop)
    try:
        return next(_read_raw(path, f"{filters},format=rgb24", info.width, info.height, late))
    except UserError:  # some containers cannot be sought in near their end
        filters += f",fps={STILL_FPS:g},format=rgb24"
        frames = _read_raw(path, filters, info.width, info.height, stretch)
        return deque(islice(frames, 1 + round(seconds * STILL_FPS)), 1)[-1]


def read_small(
    path: Path, *, width: int, height: int, fps: float, stretch: Stretch = WHOLE, keyframes: bool = False
) -> Iterator[np.ndarray]:
    """Whole frames [height, width, 3] uint8 RGB at a low rate: for looking over a clip.

    keyframes: decode only frames that need no others, which is many times as fast.
    """
    filters = f"scale={width}:{height},setsar=1,fps={fps:g},format=rgb24"
    yield from _read_raw(path, filters, width, height, stretch, ["-skip_frame", "nokey"] if keyframes else [])


def _read_raw(
    path: Path, filters: str, width: int, height: int, stretch: Stretch, options: Sequence[str] = ()
) -> Iterator[np.ndarray]:
    command = [ffmpeg_binary(), "-v", "error", *options, *stretch.options(), "-i", f"file:{path}"]
    command += ["-map", "0:v:0", "-vf", filters]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
        assert process.stdout
        count = 0
        try:
            while len(data := process.stdout.read(width * height * 3)) == width * height * 3:
                count += 1
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        finally:
            process.kill() if process.poll() is None else None
            process.stdout.close()
            process.wait()
        if count == 0:
            errors.seek(0)
            reason = (errors.read().decode("utf-8", "replace").strip().splitlines() or ["no frame came out"])[0]
            raise UserError(f"{path}: no picture could be decoded ({reason[-160:]})")


def read_speech(path: Path | str, *, stretch: Stretch = WHOLE) -> Iterator[Tensor]:
    """Sound of any media file as chunks [n] float32 -1..1, 16 kHz mono.

    Raises: UserError when there is no sound track, it has zero length, or it holds NaN.
    """
    if not probe(path := Path(path)).has_audio:
        raise UserError(f"{path}: has no sound; give a file with speech")
    # float output, so that a NaN in the source is seen rather than turned into noise
    command = [ffmpeg_binary(), "-v", "error", *stretch.options(), "-i", f"file:{path}", "-map", "0:a:0", "-ac", "1"]
    command += ["-ar", str(SAMPLE_RATE), "-f", "f32le", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    assert process.stdout
    total = 0
    try:
        while data := process.stdout.read(CHUNK * 4):
            samples = torch.from_numpy(np.frombuffer(data[: len(data) // 4 * 4], np.float32).copy())
            if not torch.isfinite(samples).all():
                raise UserError(f"{path}: holds samples that are not numbers (NaN or infinite); export it again")
            total += len(samples)
            yield samples.clamp(-1, 1)
    finally:
        process.kill() if process.poll() is None else None
        process.stdout.close()
        process.wait()
    if total == 0:
        raise UserError(f"{path}: its sound has zero length; give a file with speech")


def write_wav(path: Path, samples: Tensor, *, rate: int = SAMPLE_RATE) -> None:
    """Write samples [n] float -1..1 as 16-bit mono wav."""
    parts = [(part.clamp(-1, 1) * 32767).round().to(torch.int16) for part in samples.split(60 * rate)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for part in parts:
            file.writeframes(part.numpy().tobytes())
