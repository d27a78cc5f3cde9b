"""Pictures of a video as arrays, on the file's own clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from avatar.core.files import UserError
from avatar.core.media_command import input_options, started, telling_line
from avatar.core.media_info import WHOLE, Colours, Stretch, VideoInfo, probe
from avatar.core.media_samples import beside

STILL_FPS = 25.0
BACKWARDS_AT_ONCE = 25  # frames that are kept at a time to be shown backwards: 80 MB of 1080p
WHITE_NITS = 203  # diffuse white in HDR (ITU-R BT.2408)
BRIGHTEST_NITS = 10000  # that PQ can code (ITU-R BT.2100)
KNEE = 0.75  # of diffuse white, linear: what is darker stays as it is


def read_video(
    path: Path,
    *,
    size: int,
    crop: tuple[float, float, float] | None = None,
    fps: float = 25.0,
    stretch: Stretch = WHOLE,
) -> Iterator[np.ndarray]:
    """Frames [S, S, 3] uint8 RGB of a square crop (left, top, side in source px), resampled in time and size.

    Frame n is what is shown n / fps seconds after the file's (or the stretch's) beginning. A crop that reaches over the
    border is filled by repeating the border.
    """
    info = probe(path)
    if not info.has_video:
        raise UserError(f"{path}: has no picture; give a video")
    left, top, side = crop or (0.0, 0.0, float(min(info.width, info.height)))
    scale = size / side
    width, height = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    x, y = round(left * scale), round(top * scale)
    filters = f"{_first_filters(info)}scale={width}:{height}:flags=bicubic,setsar=1"
    borders = (max(0, -x), max(0, x + size - width), max(0, -y), max(0, y + size - height))
    if any(borders):
        filters += (
            f",pad={width + borders[0] + borders[1]}:{height + borders[2] + borders[3]}:{borders[0]}:{borders[2]}"
        )
        filters += f",fillborders={borders[0]}:{borders[1]}:{borders[2]}:{borders[3]}:smear"
    filters += f",crop={size}:{size}:{x + borders[0]}:{y + borders[2]},{_at_rate(fps)},format=rgb24"
    yield from _read_raw(path, info, filters, (size, size), stretch)


def _at_rate(fps: float) -> str:
    """The filter that gives so many frames a second from 0 s on."""
    return f"fps={fps:g}:start_time=0"


def _first_filters(info: VideoInfo) -> str:
    """Filters that make any picture progressive and of standard dynamic range."""
    filters = "bwdif=mode=send_frame:deint=interlaced," if info.interlaced else ""
    return filters + (_to_standard_range(info.colours) if info.colours else "")


def _to_standard_range(colours: Colours) -> str:
    """HDR to BT.709: what is displayed, in units of diffuse white, through a tone curve.

    The curve is ffmpeg's `mobius`: the identity up to the knee, then a hyperbola that meets it with the same slope and
    brings the brightest to 1. So skin and mid greys are just as on an SDR display whose white is at 203 nits, where
    BT.2390's spline would darken from a quarter of white on, and Hable's curve everywhere; diffuse white comes out at
    241 of 255, and highlights have the rest. Tags are set, since frames may lack what the container says.
    """
    peak = BRIGHTEST_NITS / WHITE_NITS
    tags = f"colorspace={colours.matrix}:color_primaries={colours.primaries}:color_trc={colours.transfer}"
    return (
        f"setparams={tags}:range={colours.range},zscale=transfer=linear:npl={WHITE_NITS},format=gbrpf32le,"
        f"zscale=primaries=bt709,tonemap=tonemap=mobius:param={KNEE}:peak={peak:.3f}:desat=0,"
        "zscale=primaries=bt709:transfer=bt709:matrix=bt709:range=tv,format=yuv420p,"
    )


def read_still(path: Path, info: VideoInfo, seconds: float, *, stretch: Stretch = WHOLE) -> np.ndarray:
    """The whole frame [height, width, 3] uint8 RGB that is shown at a time, at the source's size."""
    filters = f"{_first_filters(info)}scale={info.width}:{info.height}:flags=bicubic,setsar=1"
    late = Stretch(stretch.start + min(seconds, max(0.0, info.seconds - 2 / info.fps)), stretch.stop)
    size = (info.width, info.height)
    try:
        return next(_read_raw(path, info, f"{filters},format=rgb24", size, late))
    except UserError:  # some containers cannot be sought in near their end
        frames = _read_raw(path, info, f"{filters},{_at_rate(STILL_FPS)},format=rgb24", size, stretch)
        return deque(islice(frames, 1 + round(seconds * STILL_FPS)), 1)[-1]


def read_whole(
    path: Path, *, fps: float, stretch: Stretch = WHOLE, pixels: Literal["rgb", "nv12"] = "rgb"
) -> Iterator[np.ndarray]:
    """Whole frames [H, W, 3] uint8 RGB at the source's size, resampled in time as by `read_video`.

    An odd last row or column is left out: encoders take none. pixels: `nv12` gives [3 H / 2, W] in BT.709, limited
    range; of a source that is so itself these are the values that were decoded.
    """
    info = probe(path)
    width, height = info.width // 2 * 2, info.height // 2 * 2
    coded = ":out_color_matrix=bt709:out_range=tv" if pixels == "nv12" else ""
    filters = f"{_first_filters(info)}scale={info.width}:{info.height}:flags=bicubic{coded},setsar=1"
    kind: Literal["nv12", "rgb24"] = "nv12" if pixels == "nv12" else "rgb24"
    filters += f",crop={width}:{height}:0:0,{_at_rate(fps)},format={kind}"
    yield from _read_raw(path, info, filters, (width, height), stretch, kind=kind)


def read_filling(path: Path, *, height: int, width: int, fps: float, stretch: Stretch = WHOLE) -> Iterator[np.ndarray]:
    """Frames [height, width, 3] uint8 RGB of the middle of a film that has these proportions, resampled in time."""
    info = probe(path)
    scale = max(width / info.width, height / info.height)
    wide, high = max(width, round(info.width * scale)), max(height, round(info.height * scale))
    filters = f"{_first_filters(info)}scale={wide}:{high}:flags=bicubic,setsar=1"
    filters += f",crop={width}:{height}:{(wide - width) // 2}:{(high - height) // 2},{_at_rate(fps)},format=rgb24"
    yield from _read_raw(path, info, filters, (width, height), stretch)


def read_order(path: Path, frames: Sequence[int], *, fps: float, start: float = 0.0) -> Iterator[np.ndarray]:
    """Frames of `read_whole`, NV12, by their numbers, in any order; what runs backwards is decoded by the second.

    start: s in the file, of frame 0. Of a file that ends too early the last frame stays.
    """
    last: np.ndarray | None = None
    for first, count, backwards in _runs(frames, BACKWARDS_AT_ONCE):
        # a quarter of a frame before it, so that rounded time stamps change nothing
        stretch = Stretch(max(0.0, start + (first - 0.25) / fps)) if first or start else WHOLE
        part = islice(read_whole(path, fps=fps, stretch=stretch, pixels="nv12"), count)
        given = 0
        for last in reversed(list(part)) if backwards else part:
            given += 1
            yield last
        for _ in range(count - given if last is not None else 0):
            yield last  # type: ignore[misc]


def _runs(frames: Sequence[int], most: int) -> Iterator[tuple[int, int, bool]]:
    """Stretches of frames: the least number, how many, whether they run backwards; those of `most` at most."""
    at = 0
    while at < len(frames):
        step = frames[at + 1] - frames[at] if at + 1 < len(frames) else 1
        end = at + 1
        while step in (1, -1) and end < len(frames) and frames[end] - frames[end - 1] == step:
            if step == -1 and end - at == most:
                break
            end += 1
        backwards = step == -1 and end - at > 1
        yield frames[end - 1] if backwards else frames[at], end - at, backwards
        at = end


def read_small(
    path: Path, *, width: int, height: int, fps: float, stretch: Stretch = WHOLE, keyframes: bool = False
) -> Iterator[np.ndarray]:
    """Whole frames [height, width, 3] uint8 RGB at a low rate: for looking over a clip.

    keyframes: decode only frames that need no others, which is many times as fast.
    """
    info = probe(path)
    bright = _to_standard_range(info.colours) if info.colours else ""
    filters = f"scale={width}:{height},setsar=1,{_at_rate(fps)},{bright}format=rgb24"
    options = ["-skip_frame", "nokey"] if keyframes else []
    yield from _read_raw(path, info, filters, (width, height), stretch, options)


def _read_raw(
    path: Path,
    info: VideoInfo,
    filters: str,
    size: tuple[int, int],
    stretch: Stretch,
    options: Sequence[str] = (),
    kind: Literal["rgb24", "nv12"] = "rgb24",
) -> Iterator[np.ndarray]:
    """Frames [height, width, 3] of what filters make, or [3 height / 2, width] of NV12; size: width, height px.

    Raises: UserError when there is none.
    """
    arguments = ["-v", "error", *options, *stretch.options(info), *input_options(path)]
    arguments += ["-map", "0:V:0", "-vf", stretch.filters(info) + filters]
    arguments += ["-f", "rawvideo", "-pix_fmt", kind, "-", *beside(info, "0:a?")]
    width, height = size
    shape = (height, width, 3) if kind == "rgb24" else (height * 3 // 2, width)
    count, values = 0, math.prod(shape)
    with started(arguments) as running:
        while len(data := running.output.read(values)) == values:
            count += 1
            yield np.frombuffer(data, np.uint8).reshape(shape)
        reason = telling_line(running.messages(), "no frame came out")
    if count == 0:
        raise UserError(f"{path}: no picture could be decoded ({reason})")
