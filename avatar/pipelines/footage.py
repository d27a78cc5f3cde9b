"""A speech over the person's own filmed body: the clip that an avatar was built from, with another mouth."""

from __future__ import annotations

import warnings
from pathlib import Path

from avatar.core.avatar_file import Avatar
from avatar.core.controls import Controls
from avatar.core.encode import write_video
from avatar.core.files import UserError, check_readable, digest_file
from avatar.core.media import probe
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.speech_file import SpeechFile, open_speech
from avatar.core.threads import one_ahead, torch_threads
from avatar.pipelines.dub import finish, open_footage
from avatar.pipelines.dub_plan import Footage, plan_dub
from avatar.pipelines.dub_stage import MouthReplacer, Stage, survey
from avatar.pipelines.speech_film import film_rate, make_motion, speech_number
from avatar.play.look import Look
from avatar.play.player import check_space, motion_of_take
from avatar.render.device import DeviceName
from preprocess.nv12 import cut, picture_of


def speak_over(
    avatar: Avatar,
    speech: SpeechFile,
    out: Path,
    controls: Controls,
    look: Look,
    *,
    device: DeviceName = "auto",
    force: bool = False,
    progress: Progress = no_progress,
) -> int:
    """As `speak`, with the body, hands, gaze and blinks of the look's footage; returns the number of frames.

    Of the controls those of mouth and expression count. Stretches in which no mouth could be replaced are not shown.
    Raises: UserError, for a clip that the avatar was not built from too.
    """
    assert look.footage
    video, number = Path(look.footage), speech_number(avatar, speech, controls, look)
    check_clip(avatar, video)
    check_space(avatar)
    take = open_footage(video, out, Path(avatar.file) if avatar.file else None, "auto", progress)
    lips = controls.model_copy(update={"temperature": 0.0, "blink": 0.0, "head": 0.0, "gaze": 0.0, "pose": "generated"})
    footage, fps = Footage(video, take, motion_of_take(avatar, take)), film_rate(avatar, look)
    plan = plan_dub(avatar, footage, make_motion(avatar, speech, controls=lips), fps, rest=False, calm=True)
    with torch_threads(1), open_speech(speech) as sound:
        stage = Stage(avatar, take, device)
        replacer = MouthReplacer(stage, plan, survey(stage, footage))
        drawn = one_ahead(replacer.draw(plan.order.read(video, fps, footage.start)))
        size = look.size or avatar.camera.size
        shown = drawn if look.full_frame else (cut(frame, take.crop, size) for frame in drawn)
        finished = finish(count_steps(shown, "speak", len(plan), progress), number, look.label, fps)
        frames = write_video(
            finished if out.suffix else map(picture_of, finished),
            out,
            fps=fps,
            sound=[sound.notice, sound.track] if sound.notice else sound.track,
            metadata=look.label.metadata(number),
            coding=look.coding,
            force=force,
        )
    if replacer.left:
        left = f"{replacer.left} of {frames} frames are as they were filmed: {replacer.why}"
        warnings.warn(f"{video}: {left}", stacklevel=2)
    return frames


def check_clip(avatar: Avatar, video: Path) -> None:
    """Raise UserError when a video is not the clip that an avatar was built from."""
    check_readable(video, "video")
    if not probe(video).has_video:
        raise UserError(f"{video}: has no picture; give the clip that the avatar was built from")
    known = {avatar.provenance.get("sha256", ""), avatar.trained_on.clip if avatar.trained_on else ""}
    if digest_file(video) not in known:
        raise UserError(
            f"{video}: is not the clip that the avatar was built from; give that one, or use `avatar dub` with this one"
        )
