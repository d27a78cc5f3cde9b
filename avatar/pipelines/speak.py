"""Speech file -> film or motion file; and re-enactment of a Take. Memory does not grow with length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.controls import Controls, resolve_controls
from avatar.core.encode import warn_of_encoder, write_video
from avatar.core.files import UserError, digest_file
from avatar.core.label import Label
from avatar.core.media import probe
from avatar.core.motion_space import Motion, concatenate
from avatar.core.outputs import files_among
from avatar.core.picture_folder import check_film, check_picture_folder, save_each
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.speech_file import SpeechFile, as_speech_file, open_speech
from avatar.core.take import Take, as_take
from avatar.core.threads import torch_threads
from avatar.motion.driver import drive
from avatar.motion.speech_to_motion import open_speech_model
from avatar.play.composite import Pixels
from avatar.play.look import Look
from avatar.play.player import Player, check_space, motion_of_take, start_driver
from avatar.provenance.identity import film_number
from avatar.render.device import DeviceName

Split = Literal["train", "test", "all"]


def speak(
    avatar: Avatar | Path | str,
    speech: SpeechFile | Path | str,
    out: Path | str,
    *,
    controls: Controls | None = None,
    look: Look | None = None,
    device: DeviceName = "auto",
    force: bool = False,
    progress: Progress = no_progress,
) -> int:
    """Make the avatar say what a file says; writes a film with its sound, as the ending of `out` says.

    speech: a file, of which the track with speech counts, or a `SpeechFile` that names one.
    force: replace a file of another kind at `out`, too; never what is read.
    Raises: UserError.
    Returns: the number of frames. The sound is decoded twice: once for the motion, at 16 kHz, and once by the encoder
    of the film, at its own rate.
    """
    read, speech, out, look = files_among(avatar), as_speech_file(speech), Path(out), look or Look()
    avatar = as_avatar(avatar)
    controls = controls or resolve_controls(avatar)
    read += [speech.path, *([speech.notice] if speech.notice else []), *look.files, *controls.files]
    check_film(out, look.coding, transparent=look.transparent, inputs=read, force=force)
    if not probe(Path(speech.path)).has_audio:
        raise UserError(f"{speech.path}: has no sound; give a file with speech")
    _warn_of_encoder(out, look, device)
    number = speech_number(avatar, speech, controls, look)
    avatar, controls = with_style(avatar, controls, out=out, progress=progress)
    if look.footage:
        from avatar.pipelines.footage import speak_over  # what preprocesses is loaded by those who need it

        return speak_over(avatar, speech, out, controls, look, device=device, force=force, progress=progress)
    with torch_threads(1), open_speech(speech) as sound:  # the native pool uses the cores
        player = Player(avatar, look=look, controls=controls, device=device, mark=number)
        frames = player.speak(sound.chunks(), pixels=_pixels(out))
        shown = count_steps(frames, "speak", round(sound.seconds * player.fps), progress)
        return write_video(
            shown,
            out,
            fps=player.fps,
            sound=[sound.notice, sound.track] if sound.notice else sound.track,
            metadata=look.label.metadata(number),
            coding=look.coding,
            force=force,
        )


def film_rate(avatar: Avatar, look: Look) -> float:
    """Frames a second of the film of a speech: what is asked for, else the footage's, else the avatar's."""
    return look.fps or (probe(Path(look.footage)).fps if look.footage else avatar.fps)


def footage_take(out: Path) -> Path:
    """Where the Take of footage is made that has none yet."""
    return out.with_suffix(".footage.take")


def speech_number(avatar: Avatar, speech: SpeechFile, controls: Controls, look: Look) -> int:
    """The number that marks the film of a speech, 0 .. 2^32 - 1."""
    sounds = [speech.path, *([speech.notice] if speech.notice else [])]
    digests = [digest_file(Path(sound)) for sound in sounds]
    return film_number(avatar, *digests, str(speech.track), controls.model_dump_json(), look.seen)


def take_number(avatar: Avatar, take: Take, split: Split, look: Look) -> int:
    """The number that marks the film of a Take's motion, 0 .. 2^32 - 1."""
    return film_number(avatar, take.source.get("sha256", ""), split, look.seen)


def dub_number(avatar: Avatar, video: Path, speech: SpeechFile, label: Label) -> int:
    """The number that marks a dubbed film, 0 .. 2^32 - 1."""
    digests = digest_file(video), digest_file(Path(speech.path))
    return film_number(avatar, "dub", *digests, str(speech.track), repr(label))


def with_style(
    avatar: Avatar, controls: Controls, *, out: Path | None = None, progress: Progress = no_progress
) -> tuple[Avatar, Controls]:
    """The avatar with the style that controls name, and the controls without it; out: a file that is being made."""
    if not controls.style:
        return avatar, controls
    from avatar.pipelines.style import learn_style  # what fits and preprocesses is loaded by those who need it

    take_dir = out.with_suffix(".style.take") if out else None
    styled = learn_style(avatar, controls.style, take_dir=take_dir, seed=controls.seed, progress=progress)
    return styled, controls.model_copy(update={"style": None})


def _warn_of_encoder(out: Path | None, look: Look, device: DeviceName) -> None:
    if device == "cuda" and out and out.suffix and not look.transparent:
        warn_of_encoder(look.coding)


def _pixels(out: Path | None) -> Pixels:
    """What the encoder of a film takes fastest; PNGs need RGB."""
    return "nv12" if out and out.suffix else "rgb"


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
    avatar, controls = with_style(avatar, controls or resolve_controls(avatar), out=out, progress=progress)
    with open_speech(speech) as sound:
        driver = start_driver(avatar, open_speech_model(avatar.speech), controls)
        chunks = count_steps(sound.chunks(), "speak", ceil(sound.seconds), progress)
        return concatenate(list(drive(driver, chunks)))


@dataclass(frozen=True)
class Target:
    """Where frames go: a film, a folder of PNGs named by the Take's frame index, or both."""

    out: Path | None = None
    frames_dir: Path | None = None

    def check(self, look: Look, inputs: Sequence[Path | str] = (), *, force: bool = False) -> None:
        """Raise UserError when nothing would be written, or it cannot be; force: as in `speak`."""
        if self.out is None and self.frames_dir is None:
            raise UserError("nothing to write: give an output video, a folder for frames, or both")
        if self.out:
            others = [self.frames_dir] if self.frames_dir else []
            read = [*inputs, *look.files, *others]
            check_film(self.out, look.coding, transparent=look.transparent, inputs=read, force=force)
        if self.frames_dir:
            check_picture_folder(self.frames_dir, [*inputs, *look.files], force=force)
        if self.frames_dir and look.fps:
            raise UserError("frames are named by the frames of the Take; leave --fps or --frames-dir out")


def reenact(
    avatar: Avatar | Path | str,
    take: Take | Path | str,
    target: Target | Path | str,
    *,
    split: Split = "test",
    look: Look | None = None,
    device: DeviceName = "auto",
    force: bool = False,
    progress: Progress = no_progress,
) -> int:
    """Draw the avatar with a Take's own motion, torso track given; returns the number of frames.

    target: a path alone is a film's, or without an ending a folder's; force: as in `speak`. Raises: UserError.
    """
    read, avatar, take = files_among(avatar), as_avatar(avatar), as_take(take)
    target = target if isinstance(target, Target) else Target(Path(target))
    look, frames = look or Look(), pick_split(take, split)
    target.check(look, [take.root, *read], force=force)
    _warn_of_encoder(target.out, look, device)
    check_space(avatar)
    motion = motion_of_take(avatar, take)[slice(frames.start, frames.stop)]
    with torch_threads(1):
        number = take_number(avatar, take, split, look)
        player = Player(avatar, look=look, controls=Controls(), device=device, mark=number)
        drawn = player.reenact(motion, pixels=_pixels(None if target.frames_dir else target.out))
        pictures = count_steps(drawn, "render", round(len(frames) * player.fps / take.fps), progress)
        if target.frames_dir:
            fields = look.label.metadata(number)
            pictures = save_each(pictures, target.frames_dir, first=frames.start, metadata=fields, force=force)
        if target.out is None:
            return sum(1 for _ in pictures)
        wav = take.root / "audio.wav"
        sound = wav if split == "all" and wav.exists() else None
        return write_video(
            pictures,
            target.out,
            fps=player.fps,
            sound=sound,
            metadata=look.label.metadata(number),
            coding=look.coding,
            force=force,
        )


def pick_split(take: Take, split: Split) -> range:
    """Frames of a part of a Take. Raises: UserError when there are none."""
    frames = {"train": take.train, "test": take.test, "all": range(take.length)}[split]
    if len(frames) == 0:
        raise UserError(f"{take.root}: has no {split} frames; preprocess with --holdout 0.1, or choose another --split")
    return frames
