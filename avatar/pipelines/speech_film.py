"""What all films of a speech share: the motion of the sound, rates, and the numbers that films are marked with."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Literal

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.controls import Controls, clip_take, resolve_controls
from avatar.core.files import digest_file
from avatar.core.label import Label
from avatar.core.media import probe
from avatar.core.motion_space import Motion, concatenate
from avatar.core.outputs import beside
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.segments import Segment
from avatar.core.speech_file import SpeechFile, as_speech_file, open_speech
from avatar.core.take import Take
from avatar.motion.driver import drive
from avatar.motion.speech_to_motion import open_speech_model
from avatar.pipelines.track_file import TrackFile
from avatar.play.look import Look
from avatar.play.player import check_space, start_driver
from avatar.provenance.identity import film_number

Split = Literal["train", "test", "all"]
Spoken = SpeechFile | Path | str | Sequence[Segment]
"""A speech from the beginning on, or speeches for parts of a film."""


def film_rate(avatar: Avatar, look: Look) -> float:
    """Frames a second of the film of a speech: what is asked for, else the footage's, else the avatar's."""
    return look.fps or (probe(Path(look.footage)).fps if look.footage else avatar.fps)


def footage_take(out: Path) -> Path:
    """Where the Take of footage is made that has none yet."""
    return beside(out, ".footage.take")


def speech_number(avatar: Avatar, speech: SpeechFile, controls: Controls, look: Look) -> int:
    """The number that marks the film of a speech, 0 .. 2^32 - 1."""
    sounds = [speech.path, *([speech.notice] if speech.notice else [])]
    digests = [digest_file(Path(sound)) for sound in sounds]
    digests += ["listening"] if speech.listening else []
    return film_number(avatar, *digests, str(speech.track), controls.model_dump_json(), look.seen)


def take_number(avatar: Avatar, take: Take | TrackFile, split: Split, look: Look) -> int:
    """The number that marks the film of a Take's motion, 0 .. 2^32 - 1."""
    return film_number(avatar, source_digest(take), split, look.seen)


def source_digest(take: Take | TrackFile) -> str:
    """SHA-256 of the clip that motion is of, or of its file."""
    return digest_file(take.path) if isinstance(take, TrackFile) else take.source.get("sha256", "")


def segments_of(speech: Spoken) -> list[Segment]:
    """The parts of a film that get another speech; none for a speech from the beginning on."""
    return [] if isinstance(speech, (SpeechFile, Path, str)) else list(speech)


def sounds_of(speech: Spoken) -> list[SpeechFile]:
    """The sounds that are spoken, in order of time."""
    if isinstance(speech, (SpeechFile, Path, str)):
        return [as_speech_file(speech)]
    return [one.speech for one in speech]


def dub_number(avatar: Avatar, video: Path, speech: Spoken, label: Label) -> int:
    """The number that marks a dubbed film, 0 .. 2^32 - 1."""
    sounds = [f"{digest_file(Path(one.path))} {one.track}" for one in sounds_of(speech)]
    times = [f"{one.start} {one.end}" for one in segments_of(speech)]
    return film_number(avatar, "dub", digest_file(video), *sounds, *times, repr(label))


def with_clips(
    avatar: Avatar, controls: Controls, *, out: Path | None = None, progress: Progress = no_progress
) -> tuple[Avatar, Controls]:
    """The avatar with the style that controls name, and the controls without it and with a Take in place of a clip.

    out: a file that is being made; Takes of clips are made beside it.
    """
    changed: dict[str, str | None] = {}
    if controls.style:
        from avatar.pipelines.style import learn_style  # what fits and preprocesses is loaded by those who need it

        take_dir = clip_take(out, "style") if out else None
        avatar = learn_style(avatar, controls.style, take_dir=take_dir, seed=controls.seed, progress=progress)
        changed["style"] = None
    source = Path(controls.expression_from or "")
    if controls.expression_from and not source.is_dir() and source.suffix.lower() != ".motion":
        from avatar.pipelines.takes import make_take
        from preprocess.request import TakeRequest

        kept = clip_take(out or source, "expression_from")
        take = make_take(source, kept, TakeRequest(size=avatar.camera.size), progress=progress)
        changed["expression_from"] = str(take.root)
    return avatar, controls.model_copy(update=changed)


def make_motion(
    avatar: Avatar | Path | str,
    speech: SpeechFile | Path | str,
    *,
    controls: Controls | None = None,
    out: Path | None = None,
    progress: Progress = no_progress,
) -> Motion:
    """All motion of an avatar for the speech in a file, as in `speak`; out: a file that is being made of it."""
    avatar = as_avatar(avatar)
    check_space(avatar)
    avatar, controls = with_clips(avatar, controls or resolve_controls(avatar), out=out, progress=progress)
    with open_speech(speech) as sound:
        driver = start_driver(avatar, open_speech_model(avatar.speech), controls)
        chunks = count_steps(sound.chunks(), "speak", ceil(sound.seconds), progress)
        return concatenate(list(drive(driver, chunks)))
