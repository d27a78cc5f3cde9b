"""How well the invisible mark survives, what it costs, and false alarms: python -m bench.bench_mark CLIPS_FOLDER

Survival: 5 s of each of PEOPLE, a square of 512 px, are marked and written as films are; ffmpeg makes others of them;
the number is read. Loss: PSNR of marked luma against unmarked, and mean change from frame to frame against that of
unmarked. False alarms: every 5 s of every clip, as it is and encoded again in five ways: none of them is marked.
Writes bench/results/mark.json after every clip. --rows and --people take a part.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from avatar.core.encode import write_video
from avatar.core.media import ffmpeg_binary, read_video
from avatar.provenance.films import WINDOW_SECONDS, find_mark, read_windows
from avatar.provenance.mark import Marker, mark_frames

PEOPLE = (
    "fr_speaker_50s", "en_speaker_60s_256px", "en_congresswoman_11s_720p", "en_president_10s_720p",
    "en_beard_selfie_17s_720x1280", "en_woman_selfie_15s_720x1280", "ko_studio_captions_24s_720p",
    "en_statesman_titlecards_97s_720p", "en_512_5s", "zh_closeup_15s_av_offset",
)  # fmt: skip
"""Nobody of them was looked at while the mark's constants were chosen."""
X265 = ("-c:v", "libx265", "-x265-params", "log-level=error", "-crf")
X264 = ("-c:v", "libx264", "-preset", "medium", "-crf")
CHAINS: dict[str, tuple[str, ...]] = {
    "as written": ("-c", "copy"),
    "x264 crf 23": (*X264, "23"),
    "x264 crf 28": (*X264, "28"),
    "x264 crf 32": (*X264, "32"),
    "720p": ("-vf", "scale=720:720", *X264, "23"),
    "360p": ("-vf", "scale=360:360", *X264, "23"),
    "25 to 30 fps": ("-vf", "fps=30", *X264, "23"),
    "brightness and gamma": ("-vf", "eq=brightness=0.06:gamma=1.2:contrast=0.9", *X264, "23"),
    "10 % crop": ("-vf", "crop=iw*0.9:ih*0.9:17:29", *X264, "23"),
    "10 % crop, enlarged": ("-vf", "crop=iw*0.9:ih*0.9:17:29,scale=512:512", *X264, "23"),
    "H.265": (*X265, "28", "-preset", "medium"),
    "AV1": ("-c:v", "libsvtav1", "-preset", "8", "-crf", "38"),
    "all": (
        "-vf", "crop=iw*0.9:ih*0.9:17:29,scale=480:480,eq=brightness=0.04:gamma=1.1,fps=30,pad=854:480:187:0",
        *X264, "28",
    ),
}  # fmt: skip
AGAIN = ("-an", "-c:v", "libx264", "-preset", "veryfast", "-crf")
SMALL = "scale='if(gt(iw,ih),-2,{0})':'if(gt(iw,ih),{0},-2)'"
UNMARKED: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "encoded again": (*AGAIN, "28"),
    "360p": ("-vf", SMALL.format(360), *AGAIN, "26"),
    "cropped": ("-vf", "crop=iw*0.9:ih*0.8,scale=trunc(iw*0.35)*2:trunc(ih*0.35)*2", *AGAIN, "26"),
    "brighter, 30 fps": ("-vf", f"{SMALL.format(480)},eq=brightness=0.06:gamma=1.2,fps=30", *AGAIN, "23"),
    "H.265": ("-an", "-vf", SMALL.format(512), *X265, "28", "-preset", "ultrafast"),
}
NUMBER = 0x1234_5678


def convert(source: Path, out: Path, options: Sequence[str]) -> None:
    """Have ffmpeg make another film."""
    pixels = () if "copy" in options else ("-pix_fmt", "yuv420p")
    command = [ffmpeg_binary(), "-v", "error", "-y", "-i", str(source), *options, *pixels, str(out)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def luma(frames: list[np.ndarray]) -> np.ndarray:
    """[T, H, W] float32 of RGB frames (BT.709)."""
    return np.stack(frames).astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32)


def measure_loss(frames: list[np.ndarray]) -> dict[str, float]:
    """PSNR, dB, change between frames against that of unmarked ones, and the fastest of many frames, ms."""
    few = frames[:50]
    marked = list(mark_frames(few, NUMBER))
    before, after = luma(few), luma(marked)
    height, width = before.shape[1:]
    marker, nv12, times = Marker(NUMBER, height, width), np.full((height * 3 // 2, width), 128, np.uint8), []
    nv12[:height] = few[0][..., 1]
    for _ in range(100):
        start = time.perf_counter()
        marker.add(nv12)
        times.append(time.perf_counter() - start)
    change = [float(np.abs(np.diff(values, axis=0)).mean()) for values in (before, after)]
    error = float(((before - after) ** 2).mean())
    return {"psnr": 10 * np.log10(255**2 / error), "flicker": change[1] / change[0], "ms": 1e3 * min(times)}


def survive(clip: Path, rows: Sequence[str], folder: Path) -> dict[str, float]:
    """Confidence with which the right number was read after each chain; 0: not read."""
    frames = list(islice(read_video(clip, size=512), round(25 * WINDOW_SECONDS)))
    film, other, found = folder / "film.mp4", folder / "other.mp4", measure_loss(frames)
    write_video(mark_frames(frames, NUMBER), film, fps=25)
    for row in rows:
        convert(film, other, CHAINS[row])
        mark = find_mark(other)
        found[row] = mark.confidence if mark and mark.number == NUMBER else 0.0
    return found


def false_alarms(clip: Path, folder: Path) -> dict[str, list[int]]:
    """Windows of 5 s that were read, and marks found in them, by what was done to the clip."""
    found = {}
    for name, options in UNMARKED.items():
        other = folder / "other.mp4"
        if options:
            convert(clip, other, options)
        marks = list(read_windows(other if options else clip))
        found[name] = [len(marks), sum(mark is not None for mark in marks)]
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--rows", nargs="*", default=list(CHAINS))
    parser.add_argument("--people", nargs="*", default=list(PEOPLE))
    parser.add_argument("--unmarked", nargs="*", help="clips to look for false alarms in; none given: all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mark.json")
    given = parser.parse_args()
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    survival, alarms = results.setdefault("survival", {}), results.setdefault("false alarms", {})
    with tempfile.TemporaryDirectory() as name:
        for person in given.people:
            found = survive(given.clips / f"{person}.mp4", given.rows, Path(name))
            survival[person] = survival.get(person, {}) | {key: round(value, 3) for key, value in found.items()}
            print(person, survival[person], flush=True)
            given.out.write_text(json.dumps(results, indent=1))
        clips = sorted(path for path in given.clips.rglob("*") if path.suffix in (".mp4", ".mpg", ".mov", ".webm"))
        for clip in clips if given.unmarked is None else [given.clips / one for one in given.unmarked]:
            alarms[clip.stem] = false_alarms(clip, Path(name))
            print(clip.stem, alarms[clip.stem], flush=True)
            given.out.write_text(json.dumps(results, indent=1))
    counts = np.array([pair for clip in alarms.values() for pair in clip.values()]).reshape(-1, 2).sum(0)
    print(f"{given.out}: {len(survival)} people; {counts[1]} false alarms in {counts[0]} windows")


if __name__ == "__main__":
    main()
