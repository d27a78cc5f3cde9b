"""Speech file -> film or motion file; and re-enactment of a Take. Memory does not grow with length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.controls import Controls, resolve_controls
from avatar.core.encode import warn_of_encoder, write_video
from avatar.core.files import UserError
from avatar.core.media import probe
from avatar.core.motion_space import Motion
from avatar.core.outputs import files_among
from avatar.core.picture_folder import check_film, check_picture_folder, save_each
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.speech_file import SpeechFile, as_speech_file, open_speech
from avatar.core.take import Take
from avatar.core.threads import torch_threads
from avatar.pipelines.film_sound import film_sound
from avatar.pipelines.speech_film import Split, speech_number, take_number, with_clips
from avatar.pipelines.track_file import TrackFile, open_track, read_track_file
from avatar.play.composite import Pixels
from avatar.play.look import Look
from avatar.play.player import Player, check_space, motion_of_take
from avatar.render.device import DeviceName


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
    if speech.listening and look.footage:
        raise UserError("--listening: footage cannot attend to a speech; leave --footage out")
    if not probe(Path(speech.path)).has_audio:
        raise UserError(f"{speech.path}: has no sound; give a file with speech")
    _warn_of_encoder(out, look, device)
    number = speech_number(avatar, speech, controls, look)
    avatar, controls = with_clips(avatar, controls, out=out, progress=progress)
    if look.footage:
        from avatar.pipelines.footage import speak_over  # what preprocesses is loaded by those who need it

        return speak_over(avatar, speech, out, controls, look, device=device, force=force, progress=progress)
    with torch_threads(1), open_speech(speech) as sound:  # the native pool uses the cores
        player = Player(avatar, look=look, controls=controls, device=device, mark=number)
        if speech.listening:
            frames = player.attend(sound.seconds, pixels=_pixels(out))
        else:
            frames = player.speak(sound.chunks(), pixels=_pixels(out))
        shown = count_steps(frames, "speak", round(sound.seconds * player.fps), progress)
        voice = [sound.notice, sound.track] if sound.notice else [sound.track]
        with film_sound(look, voice, sound.seconds) as tracks:
            return write_video(
                shown,
                out,
                fps=player.fps,
                sound=tracks,
                metadata=look.label.metadata(number),
                coding=look.coding,
                force=force,
            )


def _warn_of_encoder(out: Path | None, look: Look, device: DeviceName) -> None:
    if device == "cuda" and out and out.suffix and not look.transparent:
        warn_of_encoder(look.coding)


def _pixels(out: Path | None) -> Pixels:
    """What the encoder of a film takes fastest; PNGs need RGB."""
    return "nv12" if out and out.suffix else "rgb"


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
    take: Take | TrackFile | Path | str,
    target: Target | Path | str,
    *,
    split: Split = "test",
    look: Look | None = None,
    device: DeviceName = "auto",
    force: bool = False,
    progress: Progress = no_progress,
) -> int:
    """Draw the avatar with a Take's own motion, torso track given; returns the number of frames.

    take: or a `.motion` file, or a table of ARKit's blendshapes (.csv), all of whose frames are drawn, without sound.
    target: a path alone is a film's, or without an ending a folder's; force: as in `speak`. Raises: UserError.
    """
    read, avatar, look = files_among(avatar), as_avatar(avatar), look or Look()
    take = open_track(take) if isinstance(take, (Path, str)) else take
    target = target if isinstance(target, Target) else Target(Path(target))
    target.check(look, [take.root if isinstance(take, Take) else take.path, *read], force=force)
    _warn_of_encoder(target.out, look, device)
    check_space(avatar)
    motion, first = _track(avatar, take, split)
    with torch_threads(1):
        number = take_number(avatar, take, split, look)
        player = Player(avatar, look=look, controls=Controls(), device=device, mark=number)
        drawn = player.reenact(motion, pixels=_pixels(None if target.frames_dir else target.out))
        pictures = count_steps(drawn, "render", round(len(motion) * player.fps / motion.fps), progress)
        if target.frames_dir:
            fields = look.label.metadata(number)
            pictures = save_each(pictures, target.frames_dir, first=first, metadata=fields, force=force)
        if target.out is None:
            return sum(1 for _ in pictures)
        wav = take.root / "audio.wav" if isinstance(take, Take) and split == "all" else None
        sound = wav if wav and wav.exists() else None
        return write_video(
            pictures,
            target.out,
            fps=player.fps,
            sound=sound,
            metadata=look.label.metadata(number),
            coding=look.coding,
            force=force,
        )


def _track(avatar: Avatar, take: Take | TrackFile, split: Split) -> tuple[Motion, int]:
    """Motion of a part of a Take, or of a file, and the number of its first frame."""
    if isinstance(take, TrackFile):
        return read_track_file(avatar, take.path), 0
    frames = pick_split(take, split)
    return motion_of_take(avatar, take)[slice(frames.start, frames.stop)], frames.start


def pick_split(take: Take, split: Split) -> range:
    """Frames of a part of a Take. Raises: UserError when there are none."""
    frames = {"train": take.train, "test": take.test, "all": range(take.length)}[split]
    if len(frames) == 0:
        raise UserError(f"{take.root}: has no {split} frames; preprocess with --holdout 0.1, or choose another --split")
    return frames
