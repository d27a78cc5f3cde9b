"""The sound of a film: the voice, and under it, where it is asked for, that of what is behind the person."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from avatar.core.media import WHOLE, SoundTrack, probe
from avatar.core.media_mix import Placed, mix
from avatar.play.look import Look


@contextmanager
def film_sound(look: Look, voice: Sequence[SoundTrack], seconds: float) -> Iterator[Sequence[SoundTrack]]:
    """The sounds of a film of a length in s, for a block: those of the voice, one after the other, or one mixed.

    Raises: UserError when a sound cannot be decoded.
    """
    backdrop = look.scene.backdrop
    if backdrop.sound is None or not look.background:
        yield voice
        return
    film = Path(look.background)
    info = probe(film)
    with tempfile.TemporaryDirectory(prefix="avatar-sound-") as folder:
        own, whole = SoundTrack(film, info), Path(folder) / "whole.wav"
        part, looped = backdrop.stretch.within(info, str(film)), backdrop.end == "loop"
        length = part.seconds if looped else min(seconds, part.seconds)
        cut = mix([], own, Path(folder) / "part.wav", level=None, stretch=backdrop.stretch, seconds=length)
        placed, at = list[Placed](), 0.0
        for index, sound in enumerate(voice):
            end = seconds if index == len(voice) - 1 else at + sound.info.seconds
            placed.append(Placed(sound, at, end))
            at = end
        under = SoundTrack(cut, probe(cut))
        mix(placed, under, whole, level=backdrop.sound, stretch=WHOLE, seconds=seconds, again=looped)
        yield [SoundTrack(whole, probe(whole))]
