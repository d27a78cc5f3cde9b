"""What a media file holds: by its header, which is a hint, and by its packets, which are what can be read."""

from __future__ import annotations

import re
import subprocess
import warnings
from collections import defaultdict
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Literal

from avatar.core.files import UserError, check_readable
from avatar.core.media_command import ffmpeg_binary, input_options, started, telling_line

USUAL_FPS = 25.0  # of pictures whose file does not say
MOST_FPS = 1000.0  # beyond, it is a time base that was printed as a rate
SAME_RATE = 0.02  # a rate within this share of the header's is the header's
MISSING_SECONDS = 0.5  # headers round, and codecs pad: less is no loss
DISCONTINUOUS = ("mpegts", "mpeg")  # containers whose time stamps may jump, all tracks together
SEEKABLE = ("mov", "matroska", "avi", "wav", "w64", "aiff", "caf", "flac", "ogg", "mp3", "asf", "mxf", "nut")
"""Containers with an index, or of sound alone. In others one lands anywhere, also behind the only keyframe."""
WAV_HEAD, STREAMED = 65536, 0x7FFF0000  # bytes that a WAV's chunks lie in; sizes from there on stand for «unknown»
TRANSFERS = ("smpte2084", "arib-std-b67")  # of high dynamic range: PQ, HLG
NO_STAMP = b"-9223372036854775808"  # of ffmpeg, for a time that is not known
DOLBY_BASE = {"1": "smpte2084", "4": "arib-std-b67"}  # what a Dolby Vision base layer is, by its compatibility id
RANGES, MATRICES, PRIMARIES = ("tv", "pc"), ("bt709", "bt2020nc", "bt2020c", "ictcp"), ("bt709", "bt2020", "smpte432")


@dataclass(frozen=True)
class Colours:
    """How a picture of high dynamic range is coded, in ffmpeg's words; what a file does not say is as in BT.2020."""

    transfer: str
    matrix: str = "bt2020nc"
    primaries: str = "bt2020"
    range: str = "tv"


@dataclass(frozen=True)
class Layout:
    """The channels of a sound track."""

    channels: int
    known: bool  # whether the file says what they are, so that they can be mixed as usual


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of itself, rotation applied."""

    width: int
    height: int
    fps: float
    seconds: float
    sounds: tuple[Layout, ...] = ()  # of each sound track
    interlaced: bool = False
    colours: Colours | None = None  # of high dynamic range
    container: str = ""  # ffmpeg's name
    start: float = 0.0  # s by the container's own clock, which some containers' lengths count in
    longest_frame: float = inf  # s that a picture is shown at most, where that is measured

    @property
    def has_video(self) -> bool:
        return self.width > 0

    @property
    def has_audio(self) -> bool:
        return bool(self.sounds)


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

    def options(self, info: VideoInfo) -> list[str]:
        """Input options of ffmpeg: where to seek, in containers that allow it."""
        return ["-ss", f"{self.start:.3f}"] if self.start > 0 and info.container in SEEKABLE else []

    def filters(self, info: VideoInfo, kind: Literal["", "a"] = "") -> str:
        """Filters of ffmpeg, first in a chain: where to stop, and without seeking also where to begin.

        kind `a`: of sound. ffmpeg's own `-to` counts from the first frame that is left, which may be a late one.
        """
        if info.container in SEEKABLE:
            return "" if self.stop is None else f"{kind}trim=end={self.stop - max(0.0, self.start):.3f},"
        if self.start <= 0 and self.stop is None:
            return ""
        end = f":end={self.stop:.3f}" if self.stop is not None else ""
        return f"{kind}trim=start={self.start:.3f}{end},{kind}setpts=PTS-{self.start:.3f}/TB,"


WHOLE = Stretch()


def probe(path: Path) -> VideoInfo:
    """Size, frame rate, length and tracks of a media file. Raises: UserError when it is none.

    The length is the header's; where there is none, that of the packets.
    """
    check_readable(path, "media file")
    # imageio-ffmpeg ships no ffprobe; what `ffmpeg -i` prints has all we need
    command = [ffmpeg_binary(), "-hide_banner", *input_options(path)]
    said = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stderr.decode("utf-8", "replace")
    text = said[said.find("Input #0, ") :] if "\n  Stream #" in said else ""
    # of other files' bytes ffmpeg makes a film by chance, and says that it is hardly sure
    if not text or "misdetection possible" in said:
        raise UserError(f"{path}: is not a video or sound file that ffmpeg can read, or it is cut short{_why(said)}")
    streams = re.findall(r"^  Stream #0:\d+.*?: ((?:Video|Audio): .*)$", text, re.MULTILINE)
    sounds = tuple(_layout(line) for line in streams if line.startswith("Audio: "))
    video = next((line for line in streams if line.startswith("Video: ") and "attached pic" not in line), None)
    width, height, fps = _picture(video, text) if video else (0, 0, 0.0)
    length = re.search(r"^  Duration: (\d+):(\d\d):([\d.]+)", text, re.MULTILINE)
    begin = re.search(r"^  Duration: .*, start: (-?[\d.]+)", text, re.MULTILINE)
    info = VideoInfo(
        width,
        height,
        fps,
        int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3]) if length else 0.0,
        sounds,
        bool(video and re.search(r"top (first|coded)|bottom (first|coded)|interlaced", video)),
        _colours(video, text) if video else None,
        text.removeprefix("Input #0, ").split(",")[0],
        max(0.0, float(begin[1])) if begin else 0.0,
    )
    if info.container == "wav":
        info = replace(info, seconds=max(info.seconds, _wav_seconds(path)))
    return info if info.seconds > 0 else measure(path, info)


def _wav_seconds(path: Path) -> float:
    """How long a WAV file says it is, which ffmpeg replaces by its size; 0 where it does not say."""
    with path.open("rb") as file:
        head = file.read(WAV_HEAD)
    form, data = head.find(b"fmt "), head.find(b"data")
    if form < 0 or data < 0 or len(head) < max(form + 20, data + 8):
        return 0.0
    rate, size = (int.from_bytes(head[start : start + 4], "little") for start in (form + 16, data + 4))
    return size / rate if rate and size < STREAMED else 0.0


def _why(said: str) -> str:
    """ffmpeg's reason, where it gives one that is not of our making."""
    reason = telling_line(said, "")
    plain = reason and "Invalid argument" not in reason and "file:" not in reason and "whitelist" not in reason
    return f" ({reason})" if plain else ""


def _picture(line: str, text: str) -> tuple[int, int, float]:
    """Width and height px as they are shown, and frames a second."""
    size = re.search(r"[ ,](\d{1,5})x(\d{1,5})[ ,\n\[]", line + " ")
    if not size:
        return 0, 0, 0.0
    width, height = int(size[1]), int(size[2])
    rate = re.search(r", ([\d.]+) fps", line) or re.search(r", ([\d.]+) tbr", line)
    fps = float(rate[1]) if rate else USUAL_FPS
    ratio = re.search(r"SAR (\d+):(\d+)", line)
    if ratio and int(ratio[1]) and int(ratio[2]):
        width = round(width * int(ratio[1]) / int(ratio[2]))
    turn = re.search(r"rotation of (-?[\d.]+) degrees", text)
    if turn and round(float(turn[1])) % 180 == 90:
        width, height = height, width
    return width, height, fps if 0 < fps <= MOST_FPS else USUAL_FPS


def _layout(line: str) -> Layout:
    """Of a line such as `Audio: aac (LC), 48000 Hz, 5.1(side), fltp`."""
    names = {"mono": 1, "stereo": 2, "quad": 4, "hexagonal": 6, "octagonal": 8, "downmix": 2}
    said = re.search(r" Hz, ([^,]+)", line)
    name = said[1].strip() if said else ""
    if counted := re.match(r"(\d+) channels", name):
        return Layout(int(counted[1]), known=int(counted[1]) <= 2)
    if summed := re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", name):
        return Layout(sum(int(part) for part in summed.groups("0")), known=True)
    return Layout(names.get(re.sub(r"\(.*", "", name), 1), known=True)


def _colours(line: str, text: str) -> Colours | None:
    """How a picture of high dynamic range is coded; None for any other."""
    said = re.search(r"^Video: .*?, \w+\(([^)]*)\)", line)
    parts = [part.strip() for part in said[1].split(",")] if said else []
    tags = next((part.split("/") for part in parts if "/" in part), [])
    transfer = next((name for name in TRANSFERS if re.search(rf"\b{name}\b", line)), "")
    if not transfer and (len(tags) < 3 or tags[2] == "unknown") and re.search(r"yuv\d+p1[0-6]", line):
        dolby = re.search(r"DOVI configuration record:.*compatibility id: (\d)", text)
        bright = "Mastering Display Metadata" in text or "Content Light Level" in text
        transfer = DOLBY_BASE.get(dolby[1], "") if dolby else "smpte2084" if bright else ""
    if not transfer:
        return None
    usual = Colours(transfer)
    matrix, primaries = (*tags, "", "")[:2]
    return Colours(
        transfer,
        matrix if matrix in MATRICES else usual.matrix,
        primaries if primaries in PRIMARIES else usual.primaries,
        parts[0] if parts and parts[0] in RANGES else usual.range,
    )


@dataclass(frozen=True)
class Packets:
    """What can be read of a track."""

    count: int = 0
    keys: int = 0  # that need no others
    start: float = 0.0  # s
    stop: float = 0.0  # s
    longest: float = 0.0  # s that one lasts, or from it to the next, at most


def scan_packets(path: Path) -> tuple[Packets, tuple[Packets, ...], bool]:
    """Packets of the picture and of each sound track, and whether the file ends amid them. Nothing is decoded."""
    arguments = ["-v", "error", *input_options(path), "-map", "0:V:0?", "-map", "0:a?", "-c", "copy", "-copyinkf"]
    bases: dict[int, float] = {}
    kinds: dict[int, str] = {}
    rows: dict[int, list[float]] = defaultdict(lambda: [0, 0, inf, 0.0, 0.0])
    before: dict[int, float] = {}  # s, at which the last packet is decoded
    with started([*arguments, "-f", "framecrc", "-"]) as running:
        for line in running.output:
            words = line.replace(b",", b" ").split()
            if line.startswith(b"#tb "):
                numerator, denominator = words[2].split(b"/")
                bases[int(words[1][:-1])] = int(numerator) / int(denominator)
            elif line.startswith(b"#media_type "):
                kinds[int(words[1][:-1])] = words[2].decode()
            elif not line.startswith(b"#") and len(words) >= 5:
                row, base = rows[int(words[0])], bases[int(words[0])]
                row[0] += 1
                row[1] += b"F=0x0" not in words
                row[4] = max(row[4], int(words[3]) * base)
                if words[1] != NO_STAMP:
                    now = int(words[1]) * base
                    row[4] = max(row[4], now - before.get(int(words[0]), now))
                    before[int(words[0])] = now
                stamps = [stamp for stamp in words[2:0:-1] if stamp != NO_STAMP]  # raw streams have no display time
                if stamps:
                    begin = int(stamps[0]) * base
                    row[2], row[3] = min(row[2], begin), max(row[3], begin + int(words[3]) * base)
        damaged = re.search(r"partial file|ended prematurely|truncat", running.messages()) is not None
    tracks = {index: Packets(int(row[0]), int(row[1]), *row[2:]) for index, row in rows.items()}
    video = next((tracks.get(index, Packets()) for index, kind in kinds.items() if kind == "video"), Packets())
    return video, tuple(tracks.get(index, Packets()) for index, kind in kinds.items() if kind == "audio"), damaged


def measure(path: Path, info: VideoInfo) -> VideoInfo:
    """The same with length and frame rate by what can be read, whatever the header says."""
    video, sounds, _ = scan_packets(path)
    seconds = max(track.stop for track in (video, *sounds)) or video.count / max(info.fps, 1.0)
    shown = video.stop - video.start
    fps = video.count / shown if video.count > 1 and shown > 0 else info.fps
    wrong = 0 < fps <= MOST_FPS and abs(fps / max(info.fps, 1e-9) - 1) > SAME_RATE
    longest = max(video.longest, video.start) if video.count else inf
    return replace(info, seconds=seconds or info.seconds, fps=fps if wrong else info.fps, longest_frame=longest)


def is_cut_short(path: Path, info: VideoInfo, announced: float, read: float) -> bool:
    """Warn when a file ends before its header says that it does; announced, read: s. Returns whether it does."""
    if announced - read <= MISSING_SECONDS:
        return False
    video, sounds, damaged = scan_packets(path)
    if not damaged and announced - info.start - max(track.stop for track in (video, *sounds)) <= MISSING_SECONDS:
        return False  # another track is as long as announced
    warnings.warn(f"{path}: {announced:.1f} s announced, {read:.1f} s could be read", stacklevel=1)
    return True
