"""A style from a clip: preprocess it, adapt to it, transfer its manner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.files import UserError
from avatar.core.progress import Progress, no_progress
from avatar.core.take import motion_in_camera, open_take, read_audio, read_track
from avatar.learn.adapt import adapt
from avatar.motion.speech_to_motion import own_encoder
from avatar.motion.style import restyle
from avatar.pipelines.takes import make_take
from avatar.play.player import check_space
from preprocess.checks import assess_quality
from preprocess.request import TakeRequest

LEAST_STYLE = 100  # frames: four seconds


def learn_style(
    avatar: Avatar | Path | str,
    source: Path | str,
    *,
    take_dir: Path | str | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Avatar:
    """The avatar with the manner of speaking of a clip or Take, of this or of another person.

    take_dir: where the Take of a clip is kept. Raises: UserError when the source cannot serve as a style.
    """
    avatar, source = as_avatar(avatar), Path(source)
    check_space(avatar)
    if source.is_file():
        kept = take_dir or source.with_suffix(".style.take")
        take = make_take(source, kept, TakeRequest(size=avatar.camera.size), progress=progress)
    else:
        take = open_take(source)
    quality, frames = assess_quality(take.quality), take.training_frames() + list(take.test)
    if not quality.usable:
        raise UserError(f"{source}: cannot serve as a style: {'; '.join(quality.advice)}")
    if len(frames) < LEAST_STYLE:
        raise UserError(f"{source}: cannot serve as a style: shows a speaking face in {len(frames)} frames only")
    other, theirs = adapt(
        read_audio(take),
        read_track(take),
        frames=frames,
        seed=seed,
        encoder=own_encoder(avatar.speech),
        calibration=avatar.speech.calibration,
    )
    own = motion_in_camera(take, avatar.camera)[torch.tensor(frames)]
    speech, style = restyle(avatar.speech, avatar.style, other, replace(theirs, own=own))
    return replace(avatar, speech=speech, style=style)
