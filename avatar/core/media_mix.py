"""Two sounds in one: what is said over the sound that was there."""

from __future__ import annotations

from pathlib import Path

from avatar.core.files import UserError
from avatar.core.media_command import input_options, started, telling_line
from avatar.core.media_info import Stretch
from avatar.core.media_samples import CLOCK, SoundTrack

MIXED_RATE = 48_000  # samples a second: what films have


def mix(said: SoundTrack, under: SoundTrack, path: Path, *, level: float, stretch: Stretch, seconds: float) -> Path:
    """Write a wav of a length in seconds: what is said, over a stretch of another sound at a level in dB.

    Each keeps its own clock. Raises: UserError, with ffmpeg's reason, when it cannot be decoded.
    """
    clock = ":".join(f"{name}={value}" for name, value in CLOCK.items())
    parts = []
    for index, (sound, part) in enumerate(((said, said.stretch), (under, stretch))):
        pan = f"pan={sound.mix}," if sound.mix else ""
        volume = f",volume={level:g}dB" if index else ""
        filters = f"{part.filters(sound.info, 'a')}{pan}aresample={clock},aformat=sample_rates={MIXED_RATE}"
        parts.append(f"[{index}:a:{sound.track}]{filters}:channel_layouts=stereo{volume},apad[s{index}]")
    graph = ";".join([*parts, "[s0][s1]amix=inputs=2:normalize=0,alimiter=limit=0.97:level=0[mixed]"])
    arguments = ["-v", "error", *said.stretch.options(said.info), *input_options(said.path)]
    arguments += [*stretch.options(under.info), *input_options(under.path), "-filter_complex", graph]
    arguments += ["-map", "[mixed]", "-t", f"{seconds:.3f}", "-c:a", "pcm_s16le", "-f", "wav", f"file:{path}"]
    with started(arguments) as running:
        running.output.read()
        reason = telling_line(running.messages(), "nothing came out")
    if not path.is_file() or path.stat().st_size < 100:  # a header alone
        raise UserError(f"{under.path}: its sound cannot be mixed ({reason}); leave --keep-sound out")
    return path
