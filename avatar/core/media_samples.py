"""A sound track of a file, and its samples on the file's own clock."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avatar.core.files import UserError
from avatar.core.media_command import input_options, started, telling_line
from avatar.core.media_info import DISCONTINUOUS, WHOLE, Stretch, VideoInfo

SAMPLE_RATE = 16000
CHUNK = SAMPLE_RATE  # samples read at a time: one second
CLOCK = {"async": "1", "min_hard_comp": "0.01", "first_pts": "0"}
"""Options of `aresample`: silence up to where sound begins and in gaps, overlaps cut, from 10 ms on; no stretching."""

Array = np.ndarray


@dataclass(frozen=True)
class SoundTrack:
    """The sound of a file that is used: one of its tracks, mixed as usual or a channel of it."""

    path: Path
    info: VideoInfo
    track: int = 0
    channel: int | None = None  # None: all of them, mixed
    stretch: Stretch = WHOLE

    @property
    def channels(self) -> int:
        """How many channels the track has."""
        return self.info.sounds[self.track].channels

    @property
    def mix(self) -> str:
        """What `pan` is called with; empty where channels are mixed as their layout says."""
        if self.channel is not None:
            return f"mono|c0=c{self.channel}"
        if self.info.sounds[self.track].known:
            return ""
        return "mono|c0=" + "+".join(f"{1 / self.channels:.6f}*c{index}" for index in range(self.channels))


def decode(sound: SoundTrack, channels: int | None = 1) -> Iterator[Array]:
    """Samples [n, channels] float32 at 16 kHz, a second at a time; channels None: as they are, on no clock.

    Raises: UserError when nothing can be decoded, with ffmpeg's reason.
    """
    own = channels is None
    pan = f"pan={sound.mix}," if sound.mix and not own else ""
    clock = "" if own else ":".join(f"{name}={value}" for name, value in CLOCK.items())
    part = sound.stretch.filters(sound.info, "a")
    arguments = ["-v", "error", *sound.stretch.options(sound.info), *input_options(sound.path)]
    arguments += ["-map", f"0:a:{sound.track}", "-af", f"{part}{pan}aresample={clock}".rstrip("=")]
    arguments += [] if own else ["-ac", str(channels)]
    # float output, so that a NaN in the source is seen rather than turned into noise
    arguments += ["-ar", str(SAMPLE_RATE), "-f", "f32le", "-", *beside(sound.info, "0:V:0?")]
    width, total = sound.channels if own else int(channels or 1), 0
    with started(arguments) as running:
        while data := running.output.read(CHUNK * 4 * width):
            samples = np.frombuffer(data[: len(data) // (4 * width) * 4 * width], np.float32).reshape(-1, width)
            total += len(samples)
            yield samples
        reason = telling_line(running.messages(), "")
    if total == 0:
        raise UserError(
            f"{sound.path}: its sound cannot be decoded ({reason}); save it in another format"
            if reason
            else f"{sound.path}: its sound has zero length; give a file with speech"
        )


@contextmanager
def steady(sound: SoundTrack) -> Iterator[SoundTrack]:
    """The same sound in a container whose time stamps do not jump and whose channels do not change midway.

    Most are in one; of the others the sound is decoded into a temporary file, beside a moment of silence at 0 s.
    """
    if sound.info.container not in DISCONTINUOUS:
        yield sound
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.nut"
        arguments = ["-v", "error", *input_options(sound.path), "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono:d=0.1"]
        arguments += ["-map", f"0:a:{sound.track}", "-map", "1:a", "-c:a", "pcm_f32le", "-f", "nut", f"file:{path}"]
        with started([*arguments, *beside(sound.info, "0:V:0?")]) as running:
            running.output.read()
            reason = telling_line(running.messages(), "nothing came out")
        if not path.is_file():
            raise UserError(f"{sound.path}: its sound cannot be decoded ({reason}); save it in another format")
        layout = sound.info.sounds[sound.track]
        info = VideoInfo(0, 0, 0.0, sound.info.seconds, (layout,), container="nut")
        yield replace(sound, path=path, info=info, track=0)


def beside(info: VideoInfo, streams: str) -> Sequence[str]:
    """Output options that read other tracks too, where time stamps may jump: all tracks then jump by the same."""
    return ["-map", streams, "-c", "copy", "-f", "null", "-"] if info.container in DISCONTINUOUS else []
