"""Whatever file a person brings: a good Take, or one clear line and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avatar.core.files import UserError
from avatar.core.media import ffmpeg_binary, probe, read_speech, read_video
from preprocess.checks import assess_quality
from preprocess.request import TakeRequest
from preprocess.run import make_take
from tests.actors import SHORT_SECONDS, short_film


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_film(tmp_path_factory)


def convert(clip: Path, out: Path, *options: str, before: tuple[str, ...] = ()) -> Path:
    command = [ffmpeg_binary(), "-v", "error", "-y", *before, "-i", f"file:{clip}", *options, f"file:{out}"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0 and ("Unknown encoder" in done.stderr or "Encoder not found" in done.stderr):
        pytest.skip("this ffmpeg cannot make such a file")
    assert done.returncode == 0, done.stderr
    return out


X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-c:a", "aac")
GOOD: dict[str, tuple[str, tuple[str, ...]]] = {
    "ten bits": ("x.mp4", (*X264, "-pix_fmt", "yuv420p10le")),
    "full chroma": ("x.mp4", (*X264, "-pix_fmt", "yuv444p")),
    "an odd size": ("x.mp4", (*X264, "-pix_fmt", "yuv444p", "-vf", "scale=257:251")),
    "wide": ("x.mp4", (*X264, "-vf", "pad=480:256:60:0:gray")),
    "tall": ("x.mp4", (*X264, "-vf", "pad=256:400:0:40:gray")),
    "pixels that are not square": ("x.mp4", (*X264, "-vf", "scale=192:256,setsar=4/3")),
    "HDR tags": ("x.mp4", (*X264, "-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc")),
    "interlaced": ("x.mp4", (*X264, "-vf", "interlace", "-flags", "+ildct+ilme", "-x264opts", "tff=1")),
    "5 frames a second": ("x.mp4", (*X264, "-r", "5")),
    "60 frames a second": ("x.mp4", (*X264, "-r", "60")),
    "120 frames a second": ("x.mp4", (*X264, "-r", "120")),
    "a variable frame rate": ("x.mp4", (*X264, "-vf", "select='not(eq(mod(n,7),3))'", "-fps_mode", "vfr")),
    "Matroska": ("x.mkv", X264),
    "WebM": ("x.webm", ("-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime", "-c:a", "libvorbis")),
    "alpha": ("x.mov", ("-c:v", "qtrle", "-pix_fmt", "argb", "-c:a", "pcm_s16le")),
    "motion JPEG in AVI": ("x.avi", ("-c:v", "mjpeg", "-q:v", "3", "-c:a", "pcm_s16le")),
    "a transport stream": ("x.ts", X264),
    "MPEG-1": ("x.mpg", ("-c:v", "mpeg1video", "-q:v", "3", "-c:a", "mp2")),
    "sound at 8 kHz": ("x.mkv", ("-c:v", "copy", "-c:a", "pcm_s16le", "-ar", "8000")),
    "sound at 96 kHz": ("x.mkv", ("-c:v", "copy", "-c:a", "pcm_s16le", "-ar", "96000")),
    "5.1 sound": ("x.mkv", ("-c:v", "copy", "-c:a", "pcm_s16le", "-ac", "6")),
    "two sound tracks": ("x.mkv", ("-map", "0:v", "-map", "0:a", "-map", "0:a", "-c", "copy")),
    "sound before picture": ("x.mkv", ("-map", "0:a", "-map", "0:v", "-c", "copy")),
    "no sound": ("x.mp4", ("-an", "-c:v", "copy")),
    "sound shorter than the picture": ("x.mp4", ("-c:v", "copy", "-af", "atrim=0:1.5", "-c:a", "aac")),
    "sound longer than the picture": ("x.mp4", ("-c:v", "copy", "-af", "apad=pad_dur=3", "-c:a", "aac")),
    "a negative start": ("x.mkv", ("-c", "copy", "-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled")),
    "a late start": ("x.mkv", ("-c", "copy", "-output_ts_offset", "7")),
    "a name of spaces, quotes and more": ('it\'s "a" 50% name; $HOME `x` 🙂.mp4', ("-c", "copy")),
    "a name with a new line": ("two\nlines.mp4", ("-c", "copy")),
    "a name that looks like an option": ("-i.mp4", ("-c", "copy")),
    "the wrong ending": ("x.mkv", ("-c", "copy", "-f", "mp4")),
}


@pytest.mark.parametrize("kind", GOOD)
def test_it_becomes_a_take(clip: Path, tmp_path: Path, kind: str) -> None:
    name, options = GOOD[kind]
    source = convert(clip, tmp_path / name, *options)
    take = make_take(source, tmp_path / "x.take", TakeRequest(size=128))
    assert abs(take.length / take.fps - SHORT_SECONDS) < 0.75, take.length
    assert take.quality["face_found"] > 0.9
    assert (take.quality["sound_rms"] > 0) == (kind != "no sound")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "x.take"])


def test_a_rotated_clip_stands_upright(clip: Path, tmp_path: Path) -> None:
    turned = convert(clip, tmp_path / "turned.mp4", *X264, "-vf", "transpose=1,pad=256:300:0:22")
    tagged = convert(turned, tmp_path / "tagged.mp4", "-c", "copy", before=("-display_rotation", "90")) if (
        b"display_rotation" in subprocess.run([ffmpeg_binary(), "-h", "full"], capture_output=True).stdout
    ) else convert(turned, tmp_path / "tagged.mp4", "-c", "copy", "-metadata:s:v", "rotate=90")  # fmt: skip
    assert (probe(tagged).width, probe(tagged).height) == (300, 256)
    take = make_take(tagged, tmp_path / "x.take", TakeRequest(size=128))
    assert take.quality["face_found"] > 0.9


def empty(path: Path, clip: Path) -> None:
    path.write_bytes(b"")


def without_index(path: Path, clip: Path) -> None:
    path.write_bytes(clip.read_bytes()[:-60000].replace(b"moov", b"none"))


def only_a_head(path: Path, clip: Path) -> None:
    path.write_bytes(clip.read_bytes()[:500])


def noise(path: Path, clip: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(50000))


def text(path: Path, clip: Path) -> None:
    path.write_text("#!/bin/sh\necho hello\n" * 50)


def picture(path: Path, clip: Path) -> None:
    convert(clip, path.with_suffix(".png"), "-frames:v", "1")
    path.with_suffix(".png").rename(path)


def sound_alone(path: Path, clip: Path) -> None:
    convert(clip, path, "-vn", "-c:a", "aac")


def one_frame(path: Path, clip: Path) -> None:
    convert(clip, path, *X264, "-frames:v", "1")


def too_short(path: Path, clip: Path) -> None:
    convert(clip, path, *X264, "-t", "1.2")


def black(path: Path, clip: Path) -> None:
    convert(clip, path, *X264, "-vf", "drawbox=c=black:t=fill")


def tiny(path: Path, clip: Path) -> None:
    convert(clip, path, *X264, "-vf", "scale=24:24")


def folder(path: Path, clip: Path) -> None:
    path.mkdir()


def pipe(path: Path, clip: Path) -> None:
    os.mkfifo(path)


def loop(path: Path, clip: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path, clip: Path) -> None:
    path.symlink_to(path.with_name("nowhere.mp4"))


def playlist(path: Path, clip: Path) -> None:
    path.write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")


def list_of_files(path: Path, clip: Path) -> None:
    path.write_text("ffconcat version 1.0\nfile /etc/passwd\n")


BAD = (
    empty, without_index, only_a_head, noise, text, picture, sound_alone, one_frame, too_short, black,
    folder, pipe, loop, dangling, playlist, list_of_files,
)  # fmt: skip


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_it_is_refused_in_one_line(clip: Path, tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    source = tmp_path / "x.mp4"
    make(source, clip)
    with pytest.raises(UserError) as refused:
        make_take(source, tmp_path / "x.take", TakeRequest(size=128))
    assert "\n" not in str(refused.value)
    assert "x.mp4" in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.mp4"]


def test_a_clip_cut_off_midway_gives_what_there_is(clip: Path, tmp_path: Path) -> None:
    whole = convert(clip, tmp_path / "whole.ts", *X264)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: int(0.93 * whole.stat().st_size)])
    assert 60 < len(list(read_video(cut, size=64))) <= round(SHORT_SECONDS * 25)


def test_a_full_disk_leaves_nothing(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from preprocess import take_folder

    def full(path: Path, *_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(take_folder, "write_picture", full)
    with pytest.raises((OSError, UserError), match="No space left"):
        make_take(clip, tmp_path / "x.take", TakeRequest(size=128))
    assert not (tmp_path / "x.take").exists()


def test_a_place_that_cannot_be_written_is_named(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="folder cannot be made"):
        make_take(clip, tmp_path / "file" / "x.take")


def test_sound_outlives_a_picture_that_is_cut(clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "x.mp4")
    assert sum(len(chunk) for chunk in read_speech(tmp_path / "x.mp4")) > 16000


def test_a_tiny_face_is_taken_with_advice(clip: Path, tmp_path: Path) -> None:
    tiny(tmp_path / "x.mp4", clip)
    verdict = assess_quality(make_take(tmp_path / "x.mp4", tmp_path / "x.take", TakeRequest(size=128)).quality)
    assert verdict.grade == "Usable, could be better"
    assert "px between the eyes" in str(verdict)
