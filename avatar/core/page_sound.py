"""Sound for web pages: small, and decoded by every browser at the same place in time."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from avatar.core.files import UserError
from avatar.core.media import CLOCK, SoundTrack, ffmpeg_binary, steady, telling_line
from avatar.core.media_command import input_options

CODING = ["-ac", "1", "-ar", "44100", "-c:a", "libmp3lame", "-b:a", "64k", "-f", "mp3"]
"""MP3, which all browsers decode; its header says how many samples the encoder put before the sound."""


def encode_for_page(sound: SoundTrack) -> bytes:
    """A file's sound as MP3, on the clock that motion is made by. Raises: UserError when it cannot be decoded."""
    with tempfile.TemporaryDirectory() as folder, steady(sound) as track:
        path = Path(folder) / "sound.mp3"  # a file, as the header is written last
        clock = ":".join(f"{name}={value}" for name, value in CLOCK.items())
        pan = f"pan={track.mix}," if track.mix else ""
        command = [ffmpeg_binary(), "-hide_banner", "-nostdin", "-v", "error", *input_options(track.path)]
        command += ["-map", f"0:a:{track.track}", "-af", f"{pan}aresample={clock}", *CODING, f"file:{path}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode or not path.is_file():
            reason = telling_line(done.stderr.decode("utf-8", "replace"), "nothing came out")
            raise UserError(f"{sound.path}: its sound cannot be encoded ({reason}); save it in another format")
        return path.read_bytes()
