"""Two sounds in one: what is said over the sound that was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar.core.files import UserError
from avatar.core.media_command import input_options, started, telling_line
from avatar.core.media_info import Stretch
from avatar.core.media_samples import CLOCK, SoundTrack

MIXED_RATE = 48_000  # samples a second: what films have
FADE = 0.03  # s in which a sound gives way to another
FINE = 64  # samples that have one volume: 1.3 ms


@dataclass(frozen=True)
class Placed:
    """A sound that is laid over another from one second to another."""

    sound: SoundTrack
    start: float
    end: float


def mix(
    spoken: Sequence[Placed],
    under: SoundTrack,
    path: Path,
    *,
    level: float | None,
    stretch: Stretch,
    seconds: float,
    again: bool = False,
) -> Path:
    """Write a wav of a length in seconds: a stretch of a sound, over which what is spoken lies.

    level: dB of the sound under what is spoken; None: silent there. Beside it the sound is as it was.
    again: it begins anew at its end; then the stretch is all of it.
    Each keeps its own clock. Raises: UserError, with ffmpeg's reason, when it cannot be decoded.
    """
    anew = ["-stream_loop", "-1"] if again else []
    arguments = ["-v", "error", *anew, *stretch.options(under.info), *input_options(under.path)]
    parts = [f"[0:a:{under.track}]{_plain(under, stretch)},{_lowered(spoken, level)},apad[s0]"]
    for index, one in enumerate(spoken, start=1):
        arguments += [*one.sound.stretch.options(one.sound.info), *input_options(one.sound.path)]
        placed = f"atrim=end={one.end - one.start:.3f},adelay={round(1000 * one.start)}:all=1,apad"
        parts.append(f"[{index}:a:{one.sound.track}]{_plain(one.sound, one.sound.stretch)},{placed}[s{index}]")
    inputs = "".join(f"[s{index}]" for index in range(len(parts)))
    mixed = f"amix=inputs={len(parts)}:normalize=0"
    if level is not None:  # sounds add up; its look-ahead is made up for
        mixed += ",alimiter=limit=0.97:level=0:latency=1"
    arguments += ["-filter_complex", ";".join([*parts, f"{inputs}{mixed}[mixed]"])]
    arguments += ["-map", "[mixed]", "-t", f"{seconds:.3f}", "-c:a", "pcm_s16le", "-f", "wav", f"file:{path}"]
    with started(arguments) as running:
        running.output.read()
        reason = telling_line(running.messages(), "nothing came out")
    if not path.is_file() or path.stat().st_size < 100:  # a header alone
        raise UserError(f"{under.path}: its sound cannot be mixed ({reason})")
    return path


def _plain(sound: SoundTrack, stretch: Stretch) -> str:
    """Filters that make any sound stereo at the mixed rate, on its own clock."""
    clock = ":".join(f"{name}={value}" for name, value in CLOCK.items())
    pan = f"pan={sound.mix}," if sound.mix else ""
    layout = f"aformat=sample_rates={MIXED_RATE}:channel_layouts=stereo"
    return f"{stretch.filters(sound.info, 'a')}{pan}aresample={clock},{layout}"


def _lowered(spoken: Sequence[Placed], level: float | None) -> str:
    """Filters that lower a sound where others are spoken, going over in FADE seconds within."""
    least = 0.0 if level is None else 10 ** (level / 20)
    beside = "*".join(
        f"clip((abs(t-{(one.start + one.end) / 2:.3f})-{(one.end - one.start) / 2 - FADE:.3f})/{FADE},0,1)"
        for one in spoken
    )
    return f"asetnsamples={FINE}:0,volume='{least:.6f}+{1 - least:.6f}*{beside or 1}':eval=frame"
