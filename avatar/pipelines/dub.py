"""A filmed person says something else: frames as they were filmed, with another mouth."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.coding import Coding
from avatar.core.controls import Controls
from avatar.core.encode import write_video
from avatar.core.files import UserError, digest_file
from avatar.core.label import Label
from avatar.core.media import SoundTrack, Stretch, VideoInfo, find_speech, probe
from avatar.core.media_mix import Placed, mix
from avatar.core.outputs import files_among
from avatar.core.picture_folder import check_film
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.take import Take, open_take
from avatar.core.threads import one_ahead, torch_threads
from avatar.pipelines.dub_plan import Footage, plan_dub, plan_segments
from avatar.pipelines.dub_stage import MouthReplacer, Stage, survey
from avatar.pipelines.speech_film import Spoken, dub_number, footage_take, make_motion, segments_of, sounds_of
from avatar.pipelines.takes import make_take
from avatar.play.label import Labeller
from avatar.play.player import check_space, motion_of_take
from avatar.provenance.mark import mark_frames
from avatar.render.device import DeviceName
from preprocess.nv12 import size_of
from preprocess.request import TakeRequest

ONLY_LIPS = Controls(temperature=0.0, blink=0.0, head=0.0, gaze=0.0)
"""Speech alone: all else is filmed."""
FITS = 0.1  # s that a speech may be longer than its segment: silence at its end


@dataclass(frozen=True)
class Dubbing:
    """How a film is dubbed."""

    face: str = "auto"  # of footage with several people: auto, left, right, largest
    strict: bool = False  # refuse footage in which a frame has to stay as it was filmed
    rest: bool = False  # show the footage to its end where the speech is shorter
    keep_sound: float | None = None  # dB at which the footage's own sound is mixed in; None: not at all
    coding: Coding = field(default_factory=Coding)
    label: Label = field(default_factory=Label)  # that says that it was generated


@dataclass(frozen=True)
class Dubbed:
    """What was made."""

    frames: int
    left: int  # frames that are as they were filmed, because no mouth could be replaced there
    fps: float  # frames a second


def dub(
    avatar: Avatar | Path | str,
    video: Path | str,
    speech: Spoken,
    out: Path | str,
    *,
    dubbing: Dubbing | None = None,
    device: DeviceName = "auto",
    force: bool = False,
    progress: Progress = no_progress,
) -> Dubbed:
    """Let the person in a video say what a file says; everything but the mouth stays as it was filmed.

    video: the clip that the avatar was built from, or another recording of the same person. It is tracked first, unless
    its Take lies beside the avatar's file or the video; the Take is kept beside `out`. Size and frame rate are its own.
    Longer speech lets the footage run on, as `avatar.pipelines.footage_order` says.
    speech: a file; or segments of the video that get another speech: then the rest of picture and sound stays.
    Raises: UserError, for footage of somebody else too.
    """
    read, video, out, dubbing = files_among(avatar), Path(video), Path(out), dubbing or Dubbing()
    home, sounds = Path(avatar) if isinstance(avatar, (str, Path)) else None, [one.path for one in sounds_of(speech)]
    avatar = as_avatar(avatar)
    check_space(avatar)
    check_film(out, dubbing.coding, transparent=False, inputs=[*read, video, *sounds], force=force)
    info = probe(video)
    check_spoken(speech, video, info)
    take = open_footage(video, out, home, dubbing.face, progress, whole=bool(segments_of(speech)))
    footage = Footage(video, take, motion_of_take(avatar, take))
    said = [make_motion(avatar, one, controls=ONLY_LIPS, progress=progress) for one in sounds_of(speech)]
    if parts := segments_of(speech):
        plan = plan_segments(avatar, footage, [(one.start, one.end) for one in parts], said, info.fps)
    else:
        plan = plan_dub(avatar, footage, said[0], info.fps, rest=dubbing.rest)
    number = dub_number(avatar, video, speech, dubbing.label)
    with torch_threads(1):
        stage = Stage(avatar, take, device)
        usual = survey(stage, footage)
        if dubbing.strict and (left := int(plan.impossible.sum())):
            raise UserError(f"{video}: in {left} frames no mouth can be replaced; leave --strict out to keep them")
        dubbed = MouthReplacer(stage, plan, usual)
        drawn = one_ahead(dubbed.draw(plan.order.read(video, info.fps, footage.start)))
        shown = finish(count_steps(drawn, "dub", len(plan), progress), number, dubbing.label, info.fps)
        fields, coding = dubbing.label.metadata(number), dubbing.coding
        with _sound(speech, footage, dubbing.keep_sound, len(plan) / info.fps) as sound:
            frames = write_video(shown, out, fps=info.fps, sound=sound, metadata=fields, coding=coding, force=force)
    if dubbed.left:
        warnings.warn(f"{video}: {dubbed.left} of {frames} frames stay as they were filmed: {dubbed.why}", stacklevel=2)
    return Dubbed(frames, dubbed.left, info.fps)


def check_spoken(speech: Spoken, video: Path, info: VideoInfo) -> None:
    """Raise UserError for a segment that the video does not have, or that its speech does not fit into."""
    segments = segments_of(speech)
    if segments and not info.has_audio:
        raise UserError(f"{video}: has no sound that segments could be put into")
    for one in segments:
        if one.end > info.seconds + 1 / info.fps:
            raise UserError(f"segment {one.name}: ends at {one.end:g} s, {video} at {info.seconds:.2f} s")
        if (seconds := probe(Path(one.speech.path)).seconds) > one.end - one.start + FITS:
            longer = seconds - one.end + one.start
            raise UserError(f"segment {one.name}: {one.speech.path} is {longer:.2f} s longer; let it end later")


def finish(frames: Iterator[np.ndarray], number: int, label: Label, fps: float) -> Iterator[np.ndarray]:
    """Frames, NV12 [3 H / 2, W], with the invisible mark of a number and a label."""
    labeller: Labeller | None = None
    for frame in mark_frames(frames, number):
        if label.kind != "none" and labeller is None:
            labeller = Labeller(label, *size_of(frame), fps)
        yield labeller.add(frame) if labeller else frame


@contextmanager
def _sound(speech: Spoken, footage: Footage, level: float | None, seconds: float) -> Iterator[SoundTrack | Path]:
    """The sound of the film: what is said, beside segments or where it is asked for with the footage's own."""
    found, info = [find_speech(Path(one.path), track=one.track) for one in sounds_of(speech)], probe(footage.video)
    segments = segments_of(speech)
    if not segments and level is None:
        yield found[0]
        return
    if not info.has_audio:
        raise UserError(f"{footage.video}: has no sound that could be kept; leave --keep-sound out")
    times = [(one.start, one.end) for one in segments] or [(0.0, seconds)]
    spoken = [Placed(sound, *time) for sound, time in zip(found, times, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        own, wav, stretch = SoundTrack(footage.video, info), Path(folder) / "sound.wav", Stretch(footage.start)
        yield mix(spoken, own, wav, level=level, stretch=stretch, seconds=seconds)


def open_footage(
    video: Path, out: Path, home: Path | None, face: str, progress: Progress, *, whole: bool = False
) -> Take:
    """The Take of a video: the one beside the avatar's file or the video, if it is of this clip, else a new one.

    whole: not one of a part of the clip.
    """
    if not probe(video).has_video:
        raise UserError(f"{video}: has no picture; give a video")
    digest = digest_file(video)
    for one in (home, video) if face == "auto" else ():
        if one and (one.with_suffix(".take") / "take.json").is_file():
            take = open_take(one.with_suffix(".take"))
            short = take.request.get("start") or take.request.get("end")
            if take.source.get("sha256") == digest and not take.framings and not (whole and short):
                return take
    return make_take(video, footage_take(out), TakeRequest(face=face), holdout=0.0, progress=progress)
