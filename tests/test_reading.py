"""Pieces of a clip, decoded side by side, are together what is read of the whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from avatar.core.media import WHOLE, Stretch, ffmpeg_binary, measure, probe, read_video
from preprocess.reading import EARLIER_SECONDS, has_pieces, read_pieces

SECONDS, SIZE, FPS = 19, 64, 25.0
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "20")
B_FRAMES = ("-c:v", "libx264", "-preset", "medium", "-bf", "3", "-crf", "20", "-g", "250")
FREELY = ("-enc_time_base:v", "1:1000", "-fps_mode", "passthrough")  # frames at any millisecond
MOVING = f"testsrc2=s=96x64:d={SECONDS}:r="
TONE = f"sine=d={SECONDS}"


def film(path: Path, rate: str, *options: str) -> Path:
    """A moving picture with a tone."""
    sources = ("-f", "lavfi", "-i", MOVING + rate, "-f", "lavfi", "-i", TONE)
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *sources, *options, str(path)], check=True)
    return path


CLIPS = {
    "25 fps": ("x.mp4", "25", *B_FRAMES),
    "NTSC": ("x.mp4", "30000/1001", *B_FRAMES),
    "50 fps, Matroska": ("x.mkv", "50", *X264),
    "WebM": ("x.webm", "30", "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"),
    "interlaced": ("x.mp4", "50", "-vf", "interlace,setfield=tff", *X264, "-flags", "+ilme+ildct"),
    "a variable frame rate": ("x.mp4", "30", "-vf", "select='not(eq(mod(n,7),3))'", *X264, "-fps_mode", "vfr"),
    "any millisecond": ("x.mkv", "30", "-vf", "setpts='PTS+0.011*mod(N,3)/TB'", *X264, *FREELY),
    "late picture": ("x.mp4", "25", "-vf", "select='gte(t,0.7)'", *X264, *FREELY),
    "late sound": ("x.mp4", "25", "-af", "adelay=0,asetpts=PTS+0.6/TB", *B_FRAMES),
    "a short picture": ("x.mp4", "25", "-vf", "trim=end=12.2", *X264),
}


@pytest.mark.parametrize("stretch", [WHOLE, Stretch(0.51, 18.3)])
@pytest.mark.parametrize("clip", CLIPS)
def test_pieces_are_the_whole(tmp_path: Path, clip: str, stretch: Stretch) -> None:
    name, rate, *options = CLIPS[clip]
    path = film(tmp_path / name, rate, *options)
    info = stretch.within(measure(path, probe(path)), name)
    assert has_pieces(info)
    given = {"size": SIZE, "crop": (8.0, 0.0, 64.0), "fps": FPS, "stretch": stretch}
    whole, pieces = np.stack(list(read_video(path, **given))), np.stack(list(read_pieces(path, info, 3, **given)))
    assert np.array_equal(whole, pieces)
    assert len(np.unique(whole.reshape(len(whole), -1), axis=0)) > 0.6 * len(whole), "frames can be told apart"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.ts", X264),  # what a container is counts, not its name
        ("x.mp4", ("-f", "mpegts", *X264)),
        ("x.mkv", ("-vf", f"select='not(between(t,4.3,{4.5 + EARLIER_SECONDS}))'", *X264, *FREELY)),
        ("x.mp4", ("-vf", f"select='gte(t,{0.2 + EARLIER_SECONDS})'", *X264, *FREELY)),
    ],
)
def test_files_of_long_frames_or_without_an_index_are_read_whole(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    path = film(tmp_path / name, "25", *options)
    assert not has_pieces(measure(path, probe(path)))
    assert not has_pieces(probe(path)), "not measured"
