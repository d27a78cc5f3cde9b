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
from avatar.core.media import SoundTrack, Stretch, find_speech, probe
from avatar.core.media_mix import mix
from avatar.core.outputs import files_among
from avatar.core.picture_folder import check_film
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.speech_file import SpeechFile, as_speech_file
from avatar.core.take import Take, open_take
from avatar.core.threads import torch_threads
from avatar.pipelines.dub_plan import Footage, plan_dub
from avatar.pipelines.dub_stage import MouthReplacer, Stage, survey
from avatar.pipelines.speech_film import dub_number, footage_take, make_motion
from avatar.pipelines.takes import make_take
from avatar.play.label import Labeller
from avatar.play.player import check_space, motion_of_take
from avatar.provenance.mark import mark_frames
from avatar.render.device import DeviceName
from preprocess.nv12 import size_of
from preprocess.request import TakeRequest

ONLY_LIPS = Controls(temperature=0.0, blink=0.0, head=0.0, gaze=0.0)
"""Speech alone: all else is filmed."""


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
    speech: SpeechFile | Path | str,
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
    Longer speech lets the footage run to and fro.
    Raises: UserError, for footage of somebody else too.
    """
    read, video, out, dubbing = files_among(avatar), Path(video), Path(out), dubbing or Dubbing()
    speech, home = as_speech_file(speech), Path(avatar) if isinstance(avatar, (str, Path)) else None
    avatar = as_avatar(avatar)
    check_space(avatar)
    check_film(out, dubbing.coding, transparent=False, inputs=[*read, video, speech.path], force=force)
    take = open_footage(video, out, home, dubbing.face, progress)
    info = probe(video)
    said = make_motion(avatar, speech, controls=ONLY_LIPS, progress=progress)
    footage = Footage(video, take, motion_of_take(avatar, take))
    plan = plan_dub(avatar, footage, said, info.fps, rest=dubbing.rest)
    with torch_threads(1):
        stage = Stage(avatar, take, device)
        usual = survey(stage, footage)
        if dubbing.strict and (left := int((plan.weight < 1).sum())):
            raise UserError(f"{video}: in {left} frames no mouth can be replaced; leave --strict out to keep them")
        dubbed = MouthReplacer(stage, plan, usual)
        number = dub_number(avatar, video, speech, dubbing.label)
        drawn = count_steps(dubbed.draw(plan.order.read(video, info.fps, footage.start)), "dub", len(plan), progress)
        shown = finish(drawn, number, dubbing.label, info.fps)
        with _sound(speech, video, footage.start, dubbing.keep_sound, len(plan) / info.fps) as sound:
            fields = dubbing.label.metadata(number)
            frames = write_video(
                shown, out, fps=info.fps, sound=sound, metadata=fields, coding=dubbing.coding, force=force
            )
    if dubbed.left:
        warnings.warn(f"{video}: {dubbed.left} of {frames} frames stay as they were filmed: {dubbed.why}", stacklevel=2)
    return Dubbed(frames, dubbed.left, info.fps)


def finish(frames: Iterator[np.ndarray], number: int, label: Label, fps: float) -> Iterator[np.ndarray]:
    """Frames, NV12 [3 H / 2, W], with the invisible mark of a number and a label."""
    labeller: Labeller | None = None
    for frame in mark_frames(frames, number):
        if label.kind != "none" and labeller is None:
            labeller = Labeller(label, *size_of(frame), fps)
        yield labeller.add(frame) if labeller else frame


@contextmanager
def _sound(
    speech: SpeechFile, video: Path, start: float, level: float | None, seconds: float
) -> Iterator[SoundTrack | Path]:
    """The sound of the film: what is said, and where it is asked for the footage's own under it."""
    said = find_speech(Path(speech.path), track=speech.track)
    if level is None:
        yield said
        return
    if not (info := probe(video)).has_audio:
        raise UserError(f"{video}: has no sound that could be kept; leave --keep-sound out")
    with tempfile.TemporaryDirectory() as folder:
        own, stretch = SoundTrack(video, info), Stretch(start)
        yield mix(said, own, Path(folder) / "sound.wav", level=level, stretch=stretch, seconds=seconds)


def open_footage(video: Path, out: Path, home: Path | None, face: str, progress: Progress) -> Take:
    """The Take of a video: the one beside the avatar's file or the video, if it is of this clip, else a new one."""
    if not probe(video).has_video:
        raise UserError(f"{video}: has no picture; give a video")
    digest = digest_file(video)
    for one in (home, video) if face == "auto" else ():
        if one and (one.with_suffix(".take") / "take.json").is_file():
            take = open_take(one.with_suffix(".take"))
            if take.source.get("sha256") == digest and not take.framings:
                return take
    return make_take(video, footage_take(out), TakeRequest(face=face), holdout=0.0, progress=progress)
