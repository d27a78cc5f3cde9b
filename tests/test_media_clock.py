"""One clock: a click and a flash made at one time are read at one time, whatever a file does with its time stamps."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from avatar.core.encode import write_video
from avatar.core.media import SAMPLE_RATE, Stretch, ffmpeg_binary, read_speech, read_video

RATE, SIZE, FPS, SECONDS = 48000, 64, 25, 6.0
EVENTS = (1.0, 2.4, 4.2)  # s, of clicks and flashes of 120 ms
LOOKS = 100.0  # frames a second that flashes are looked for with
EXACT = 0.0101  # s

pytestmark = pytest.mark.filterwarnings("ignore:.*no speech")  # clicks are none
Make = Callable[[Path, Path], None]


def run(*arguments: str) -> None:
    done = subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clicks and flashes, in sync, nothing odd: lossless."""
    folder = tmp_path_factory.mktemp("clock")
    sound = np.zeros(int(SECONDS * RATE), np.float32)
    frames = np.full((int(SECONDS * FPS), SIZE, SIZE, 3), 20, np.uint8)
    for event in EVENTS:
        burst = np.arange(int(0.12 * RATE))
        sound[int(event * RATE) :][: len(burst)] = 0.5 * np.sin(burst * 2 * np.pi * 440 / RATE)
        frames[round(event * FPS) :][:3] = 235
    wavfile.write(folder / "s.wav", RATE, (sound * 32767).astype(np.int16))
    write_video(frames, folder / "p.mp4", fps=FPS)
    run("-i", f"{folder}/p.mp4", "-i", f"{folder}/s.wav", "-c:v", "copy", "-c:a", "pcm_s16le", f"{folder}/clean.mkv")
    return folder / "clean.mkv"


def clicks(path: Path, **given: object) -> list[float]:
    """Seconds at which sound begins."""
    samples = np.concatenate([chunk.numpy() for chunk in read_speech(path, **given)])
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    return [loud[0] / SAMPLE_RATE, *(b / SAMPLE_RATE for a, b in pairwise(loud) if b - a > 0.2 * SAMPLE_RATE)]


def flashes(path: Path, **given: object) -> list[float]:
    """Seconds at which the picture turns white."""
    light = np.array([frame.mean() for frame in read_video(path, size=32, fps=LOOKS, **given)]) > 128
    return [float(index) / LOOKS for index in np.flatnonzero(light[1:] & ~light[:-1]) + 1]


X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10")
B_FRAMES = ("-c:v", "libx264", "-preset", "medium", "-bf", "3", "-crf", "10")
AAC, PCM = ("-c:a", "aac"), ("-c:a", "pcm_s16le")
FREELY = ("-enc_time_base:v", "1:1000", "-fps_mode", "passthrough")  # frames at any millisecond
BOTH = ("-map", "0:v", "-map", "1:a")


def shifted(name: str, picture: float, sound: float, *coding: str) -> tuple[str, Make]:
    def make(clean: Path, out: Path) -> None:
        parts = ("-itsoffset", str(picture), "-i", f"{clean}", "-itsoffset", str(sound), "-i", f"{clean}")
        run(*parts, *BOTH, *coding, f"{out}")

    return name, make


def converted(name: str, *options: str) -> tuple[str, Make]:
    return name, lambda clean, out: run("-i", f"{clean}", *options, f"{out}")


def late(name: str, what: str, *coding: str) -> tuple[str, Make]:
    """A track whose first .8 s were never recorded; what is left keeps its time stamps."""
    return converted(name, f"-{what}f", f"{'a' * (what == 'a')}select='gte(t,0.8)'", *coding, "-fps_mode", "vfr")


def joined(clean: Path, out: Path) -> None:
    """Two recordings in one transport stream: time stamps jump back in its middle."""
    for part, (start, length) in enumerate(((0, 3), (3, 3))):
        cut = ("-ss", str(start), "-t", str(length), "-i", f"{clean}")
        run(*cut, *X264, *AAC, "-muxdelay", "0", f"{out.with_suffix(f'.{part}.ts')}")
    out.write_bytes(b"".join(out.with_suffix(f".{part}.ts").read_bytes() for part in range(2)))


def copied_from_between_keyframes(clean: Path, out: Path) -> None:
    """Cut without encoding: an edit list hides what lies before the cut."""
    whole = out.with_name("whole.mp4")
    run("-i", f"{clean}", *B_FRAMES, "-g", "250", *AAC, f"{whole}")
    run("-ss", "0.52", "-i", f"{whole}", "-c", "copy", f"{out}")


WAYS = {
    "nothing odd": converted("x.mp4", *X264, *AAC),
    "sound starts late": shifted("x.mp4", 0, 0.6, *X264, *AAC),
    "sound starts late, Matroska": shifted("x.mkv", 0, 0.6, *X264, *PCM),
    "picture starts late": shifted("x.mp4", 0.72, 0, *X264, *AAC),
    "picture starts late, a transport stream": shifted("x.ts", 0.72, 0, *B_FRAMES, *AAC),
    "sound of which the beginning is missing": late("x.mkv", "a", *X264, *PCM),
    "sound of which the beginning is missing, MP4": late("x.mp4", "a", *X264, *AAC),
    "picture of which the beginning is missing": late("x.mkv", "v", *X264, *PCM),
    "a gap in the sound": converted("x.mkv", "-af", "aselect='not(between(t,2.6,3.3))'", *X264, *PCM),
    "many small gaps": converted("x.mkv", "-af", "asetnsamples=480,aselect='not(lt(mod(t+.2,.5),.03))'", *X264, *PCM),
    "a gap in the picture": converted("x.mp4", "-vf", "select='not(between(t,2.6,3.3))'", *X264, *AAC, *FREELY),
    "sound of a slow clock": converted(
        "x.mkv", "-af", "asetpts=PTS*1.01", "-vf", "setpts=PTS*1.01", *X264, *PCM, *FREELY
    ),
    "a variable frame rate": converted(
        "x.mp4", "-vf", "select='not(eq(mod(n,7),3))'", *X264, *AAC, "-fps_mode", "vfr"
    ),
    "B-frames without an edit list": converted("x.mp4", *B_FRAMES, *AAC, "-use_editlist", "0"),
    "a transport stream of a late hour": converted("x.ts", *X264, *AAC, "-output_ts_offset", "50000"),
    "a transport stream that wraps": converted("x.ts", *X264, *AAC, "-output_ts_offset", "95440.7"),
    "a program stream": converted("x.mpg", "-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2"),
    "negative time stamps": converted(
        "x.mkv", *X264, *PCM, "-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled"
    ),
    "two recordings in one": ("x.ts", joined),
    "cut without encoding": ("x.mp4", copied_from_between_keyframes),
    "MediaRecorder": converted("x.webm", "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus", "-live", "1"),
    "Flash": converted("x.flv", *X264, *AAC, "-ar", "44100"),
    "AVI": converted("x.avi", *X264, *PCM),
    "two time stamps for a frame": converted(
        "x.mkv", "-vf", "setpts='if(eq(mod(N,4),3),PTS-0.039/TB,PTS)'", *X264, *PCM, *FREELY
    ),
}  # fmt: skip
SHIFTS = {"picture starts late": (0.0, 0.72), "sound starts late": (0.6, 0.0)}
"""Seconds that sound and picture are later than usual."""


@pytest.mark.parametrize("way", WAYS)
def test_clicks_and_flashes_stay_together(clean: Path, tmp_path: Path, way: str) -> None:
    name, make = WAYS[way]
    make(clean, tmp_path / name)
    heard, seen = clicks(tmp_path / name), flashes(tmp_path / name)
    sound, picture = SHIFTS.get(way.split(",")[0], (0.0, 0.0))
    assert len(heard) == len(seen) == len(EVENTS)
    apart = [a - sound - (b - picture) for a, b in zip(heard, seen, strict=True)]
    assert max(np.abs(apart)) <= EXACT, apart


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.ts", "x.webm"])
@pytest.mark.parametrize("start", [0.8, 2.0, 3.03])
def test_a_stretch_has_the_same_clock(clean: Path, tmp_path: Path, name: str, start: float) -> None:
    coding = (
        ("-c:v", "libvpx", "-b:v", "2M", "-c:a", "libopus", "-live", "1") if name == "x.webm" else (*B_FRAMES, *AAC)
    )
    run(
        "-itsoffset",
        "0.6",
        "-i",
        f"{clean}",
        "-i",
        f"{clean}",
        "-map",
        "1:v",
        "-map",
        "0:a",
        *coding,
        f"{tmp_path}/{name}",
    )
    part = Stretch(start, 5.5)
    expected = [event - start for event in EVENTS if event > start]
    for times, moved in ((clicks(tmp_path / name, stretch=part), 0.6), (flashes(tmp_path / name, stretch=part), 0.0)):
        found = [time - moved for time in times if time - moved > 0.05]
        assert np.abs(np.array(found[-len(expected) :]) - expected).max() <= EXACT + (name == "x.ts") * 0.022, times


def test_a_film_keeps_the_clock_of_its_speech(clean: Path, tmp_path: Path) -> None:
    """The film's own sound lies where the samples that motion is made of lie, to 10 ms, in every kind of film."""
    WAYS["sound starts late"][1](clean, tmp_path / "late.mp4")
    WAYS["two recordings in one"][1](clean, tmp_path / "joined.ts")
    frames = [np.zeros((64, 64, 4), np.uint8)] * 25
    for source in ("late.mp4", "joined.ts"):
        expected = clicks(tmp_path / source)
        for ending in (".mov", ".webm"):
            write_video(frames, tmp_path / f"film{ending}", fps=FPS, sound=tmp_path / source)
            assert np.abs(np.array(clicks(tmp_path / f"film{ending}")) - expected).max() <= EXACT
