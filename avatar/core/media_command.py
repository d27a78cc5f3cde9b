"""How ffmpeg is called: one local file at a time, argument lists only, and what it says when it fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

FORMATS = (
    *("3gp", "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "apng", "asf", "ast", "au", "av1", "avi", "caf"),
    *("dirac", "dnxhd", "dsf", "dts", "dtshd", "dv", "eac3", "evc", "flac", "flv", "gif", "gsm", "gxf", "h261", "h263"),
    *("h264", "hevc", "ivf", "loas", "m4v", "matroska", "mjpeg", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts"),
    *("mpegvideo", "mxf", "nsv", "nut", "obu", "ogg", "oma", "qcp", "rm", "sox", "tak", "truehd", "tta", "vc1", "voc"),
    *("vvc", "w64", "wav", "webp_anim", "wtv", "wv", "yuv4mpegpipe"),
)
"""Containers that hold their own content. Playlists and scripts (hls, dash, concat, imf, image2, lavfi, ...) name other
files, which would then be read, so they are left out."""
LOCAL = {"protocol_whitelist": "file,pipe", "format_whitelist": ",".join(FORMATS)}
"""Input options of every call that reads a user's file."""
PREFIX = re.compile(r"^(\[[^\]]*\] *)+")  # who says it: `[aac @ 0x55d0] `
HOLLOW = re.compile(
    r"^$|^Last message repeated|^Error (opening|while (opening|filtering)|sending|submitting|reinit|during|init)"
    r"|^(Task finished|Terminating thread|Nothing was written|Conversion failed|Could not open encoder|Failed to conf)"
    r"|^(Cannot determine format|Error processing|Finishing stream)",
    re.IGNORECASE,
)
"""Lines by which something failed, without the reason."""
TELLING = re.compile(
    r"invalid|unsupported|not supported|cannot|could ?n.t|could not|unknown|no such|not found|no space|denied|partial|"
    r"missing|corrupt|ended prematurely|no path|error|fail|rematrix|not on whitelist|exhausted|truncat",
    re.IGNORECASE,
)


def ffmpeg_binary() -> str:
    """The system's ffmpeg when there is one, else the one of imageio-ffmpeg."""
    if system := shutil.which("ffmpeg"):
        return system
    import imageio_ffmpeg  # here, so that what reads no media file runs without it

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def input_options(path: Path) -> list[str]:
    """Arguments that make a file an input, whatever its name is, and nothing but that file."""
    options = [text for name, value in LOCAL.items() for text in (f"-{name}", value)]
    return [*options, "-i", f"file:{path}"]


def telling_line(messages: str, default: str) -> str:
    """The line of ffmpeg's messages that says what is wrong: the first that names a cause, else the first at all."""
    lines = [PREFIX.sub("", line).strip() for line in messages.splitlines()]
    lines = [line for line in lines if not HOLLOW.match(line)] or [line for line in lines if line]
    return next((line for line in lines if TELLING.search(line)), lines[0] if lines else default)[:160]


@dataclass(frozen=True)
class Running:
    """A call of ffmpeg that writes to a pipe."""

    output: IO[bytes]
    _errors: IO[bytes]

    def messages(self) -> str:
        """What it said, as far as it has run."""
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")


@contextmanager
def started(arguments: Sequence[str]) -> Iterator[Running]:
    """Run ffmpeg with arguments; it is ended with the block."""
    command = [ffmpeg_binary(), "-hide_banner", "-nostdin", *arguments]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
        assert process.stdout
        try:
            yield Running(process.stdout, errors)
        finally:
            process.kill() if process.poll() is None else None
            process.stdout.close()
            process.wait()
