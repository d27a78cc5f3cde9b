"""Pictures to a file: H.264, HEVC, AV1, ProRes 4444, VP9 with transparency, or PNGs."""

from __future__ import annotations

import functools
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from avatar.core.coding import Codec, Coding, Quality
from avatar.core.files import UserError, whole
from avatar.core.media import CLOCK, LOCAL, SoundTrack, ffmpeg_binary, probe, steady, telling_line
from avatar.core.picture_folder import check_film, save_each
from cuda_ext.limits import core_count

BT709 = {"color_range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}
TO_BT709 = {"out_color_matrix": "bt709", "out_range": "tv", "flags": "bicubic+accurate_rnd+full_chroma_int"}
"""Of the filter `scale`: RGB as players of HD films expect it. Without it ffmpeg converts by BT.601."""

SOFTWARE: dict[Codec, dict[Quality, dict[str, str | int]]] = {
    "h264": {
        "draft": {"vcodec": "libx264", "preset": "veryfast", "crf": 23},
        "good": {"vcodec": "libx264", "preset": "medium", "crf": 16},
        "best": {"vcodec": "libx264", "preset": "slow", "crf": 11},
    },
    "hevc": {
        "draft": {"vcodec": "libx265", "preset": "ultrafast", "crf": 26},
        "good": {"vcodec": "libx265", "preset": "fast", "crf": 19},
        "best": {"vcodec": "libx265", "preset": "medium", "crf": 13},
    },
    "av1": {
        "draft": {"vcodec": "libsvtav1", "preset": 11, "crf": 40},
        "good": {"vcodec": "libsvtav1", "preset": 9, "crf": 26},
        "best": {"vcodec": "libsvtav1", "preset": 6, "crf": 18},
    },
}
STILL: dict[Quality, dict[str, str | int]] = {
    "draft": {"vcodec": "libx264", "preset": "superfast", "crf": 23},
    "good": {"vcodec": "libx264", "preset": "veryfast", "crf": 14},
    "best": {"vcodec": "libx264", "preset": "medium", "crf": 10},
}
"""H.264 where most of a picture stays: `good` is 2 dB below `medium`, crf 16, in a 300 px face, in 40 % of its time."""
HARDWARE = ("nvenc", "videotoolbox")
HARDWARE_QUALITY: dict[str, dict[Quality, dict[str, str | int]]] = {
    "nvenc": {
        "draft": {"preset": "p2", "cq": 28},
        "good": {"preset": "p5", "cq": 19},
        "best": {"preset": "p7", "cq": 14},
    },
    "videotoolbox": {"draft": {"q:v": 50}, "good": {"q:v": 70}, "best": {"q:v": 85}},
}
TRANSPARENT = {
    ".mov": {"vcodec": "prores_ks", "profile:v": 4, "pix_fmt": "yuva444p10le", "alpha_bits": 16, "f": "mov"},
    ".webm": {
        "vcodec": "libvpx-vp9", "pix_fmt": "yuva420p", "crf": 18, "video_bitrate": 0, "auto-alt-ref": 0,
        "deadline": "good", "cpu-used": 5, "row-mt": 1, "f": "webm",
    },
}  # fmt: skip
JOINED_RATE = 48000  # Hz of sounds that follow each other
OUTPUT, SOUND_INPUT = "file:output", "file:sound"  # stand for names, since ffmpeg-python takes UTF-8 only
SOUND = {
    ".mov": {"acodec": "pcm_s16le"},
    ".webm": {"acodec": "libopus", "audio_bitrate": "128k"},
    ".mp4": {"acodec": "aac", "audio_bitrate": "160k"},
}
FILM = {".mp4": {"movflags": "+faststart", "f": "mp4"}, ".mov": {"f": "mov"}, ".webm": {"f": "webm"}}


def write_video(
    frames: Iterable[np.ndarray],
    path: Path,
    *,
    fps: float,
    sound: Path | SoundTrack | Sequence[SoundTrack] | None = None,
    metadata: Mapping[str, str] | None = None,
    coding: Coding | None = None,
    force: bool = False,
) -> int:
    """Encode frames with the sound of another file, as the path's ending says; whole or not at all.

    Films are BT.709, converted and tagged. Of a sound's file one track is taken, the first if none is named; several
    sounds follow each other. metadata: fields that are written beside the encoder's own.

    Frames are uint8: [H, W, 3] RGB, [H, W, 4] RGB and alpha (not premultiplied), or [3 H / 2, W] NV12 in BT.709 limited
    range, which costs the encoder nothing to read. They are taken one by one, so memory does not grow with length.
    force: as in `check_film`. Returns the number of frames. Raises: UserError.
    """
    iterator, coding = iter(frames), coding or Coding()
    first = next(iterator, None)
    if first is None:
        raise UserError(f"{path}: there is no frame to write")
    transparent = first.ndim == 3 and first.shape[2] == 4
    check_film(path, coding, transparent=transparent, force=force)
    if not path.suffix:
        return sum(1 for _ in save_each(chain([first], iterator), path, metadata=metadata, force=force))
    height, width = first.shape[:2] if first.ndim == 3 else (first.shape[0] * 2 // 3, first.shape[1])
    raw = {"pix_fmt": "nv12", **BT709} if first.ndim == 2 else {"pix_fmt": "rgba" if transparent else "rgb24"}
    picture = ffmpeg.input("pipe:", format="rawvideo", s=f"{width}x{height}", r=fps, **raw).video
    if first.ndim == 3:
        picture = picture.filter("scale", **TO_BT709)
    kind = path.suffix.lower()
    options = dict(TRANSPARENT[kind]) if transparent else _film_options(coding, kind)
    options |= BT709 | (SOUND[kind] if sound else {})
    options |= _metadata_options(metadata or {}, kind)
    with whole(path) as temporary, ExitStack() as stack:
        steadied = [stack.enter_context(steady(track)) for track in _tracks(sound)]
        names = {OUTPUT: f"file:{temporary}"} | {_sound_input(i): f"file:{one.path}" for i, one in enumerate(steadied)}
        command = ffmpeg.output(picture, *_film_sound(steadied), OUTPUT, loglevel="error", **options)
        compiled = command.overwrite_output().compile(cmd=ffmpeg_binary())
        return _feed([names.get(argument, argument) for argument in compiled], chain([first], iterator), path)


def _tracks(sound: Path | SoundTrack | Sequence[SoundTrack] | None) -> Sequence[SoundTrack]:
    if sound is None:
        return ()
    if isinstance(sound, Path):
        return (SoundTrack(sound, probe(sound)),)
    return (sound,) if isinstance(sound, SoundTrack) else sound


def _sound_input(index: int) -> str:
    return f"{SOUND_INPUT}{index}"


def _film_sound(sounds: Sequence[SoundTrack]) -> list[Any]:
    """The stream of ffmpeg that goes into a film, if there is one: sounds, on the clock that motion is made by."""
    streams = []
    for index, sound in enumerate(sounds):
        stream = ffmpeg.input(_sound_input(index), **LOCAL)[f"a:{sound.track}"]
        if sound.mix:
            stream = stream.filter("pan", args=sound.mix)
        stream = stream.filter("aresample", **CLOCK)
        if not sound.mix and sound.channels > 2:  # encoders refuse many layouts, players leave channels out
            stream = stream.filter("aformat", channel_layouts="stereo")
        streams.append(stream)
    if len(streams) < 2:
        return streams
    same = [stream.filter("aformat", sample_rates=JOINED_RATE, channel_layouts="stereo") for stream in streams]
    return [ffmpeg.concat(*same, v=0, a=1)]


def _metadata_options(metadata: Mapping[str, str], kind: str) -> dict[str, Any]:
    """Options that write fields of any name; .mp4 and .mov keep those of known names alone unless they are asked."""
    if not metadata:
        return {}
    tags = {} if kind == ".webm" else {"movflags": "+faststart+use_metadata_tags"}
    return tags | {f"metadata:g:{index}": f"{name}={value}" for index, (name, value) in enumerate(metadata.items())}


def _film_options(coding: Coding, kind: str) -> dict[str, str | int]:
    tag: dict[str, str | int] = {"tag:v": "hvc1"} if coding.codec == "hevc" and kind != ".webm" else {}
    return {"pix_fmt": "yuv420p"} | encoder_options(coding) | tag | FILM[kind]


def encoder_options(coding: Coding) -> dict[str, str | int]:
    """What the fastest encoder that works on this machine is called with."""
    for maker in HARDWARE:
        if encoder_works(name := f"{coding.codec}_{maker}"):
            return {"vcodec": name} | HARDWARE_QUALITY[maker][coding.quality]
    table = STILL if coding.still and coding.codec == "h264" else SOFTWARE[coding.codec]
    return dict(table[coding.quality])


def warn_of_encoder(coding: Coding) -> None:
    """Warn, in a line, that an encoder on the processor will limit what a GPU draws; not where hardware encodes."""
    if (name := str(encoder_options(coding)["vcodec"])) not in (f"{coding.codec}_{maker}" for maker in HARDWARE):
        warnings.warn(
            f"the encoder limits this film, not the GPU: no hardware here encodes {coding.codec} (A100, H100 and H200 "
            f"lack NVENC), so {name} does on {core_count()} cores; --quality draft is the fastest",
            stacklevel=2,
        )


@functools.cache
def encoder_works(name: str) -> bool:
    """Whether an encoder of ffmpeg encodes a frame here: that it is compiled in says little about the hardware."""
    command = [ffmpeg_binary(), "-v", "quiet", "-f", "lavfi", "-i", "color=size=256x256:rate=25", "-frames:v", "1"]
    command += ["-c:v", name, "-f", "null", "-"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def _feed(command: list[str], frames: Iterator[np.ndarray], path: Path) -> int:
    count = 0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        assert process.stdin
        try:
            for frame in frames:
                process.stdin.write(np.ascontiguousarray(frame).data)
                count += 1
            process.stdin.close()
            code = process.wait()
        except BrokenPipeError:
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code != 0:
            errors.seek(0)
            reason = telling_line(errors.read().decode("utf-8", "replace"), "unknown reason")
            raise UserError(f"{path}: the video could not be written ({reason})")
    return count
