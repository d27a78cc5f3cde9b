"""Which motion an avatar's controls ask for: the Takes that poses and styles come from are read here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from avatar.core.bundle import Avatar, Habits
from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.loudness import gain_of
from avatar.core.media import read_speech
from avatar.core.motion_space import Motion, load_space, scale_torso
from avatar.core.recipe import parse, yaml_values
from avatar.core.take import Take, open_take, read_audio, read_track
from avatar.motion.adapt import adapt
from avatar.motion.decoder import load_own_encoder
from avatar.motion.drive import FILES, Driver, Pace, drive
from avatar.motion.settings import MotionSettings
from avatar.motion.style import restyle
from avatar.pipelines.takes import make_take
from preprocess.checks import judge
from preprocess.run import Wishes

LEAST_STYLE = 100  # frames: four seconds


def check_space(avatar: Avatar) -> None:
    """Raise UserError when the avatar was built with another MotionSpace than this version ships."""
    if avatar.space_id != load_space().id:
        raise UserError(
            f"the avatar speaks motion space {avatar.space_id}, this version {load_space().id}; build it again"
        )


def own_controls(avatar: Avatar) -> Controls:
    """How an avatar speaks unless told otherwise: as the recipe says that it was built by."""
    recipe = yaml_values(avatar.recipe)
    return parse(Controls, recipe.get("controls") or {}, "the avatar's recipe, controls")


def own_motion(avatar: Avatar) -> MotionSettings:
    """How an avatar's speech model was made, as its recipe says."""
    recipe = yaml_values(avatar.recipe)
    return parse(MotionSettings, recipe.get("motion") or {}, "the avatar's recipe, motion")


def start_driver(avatar: Avatar, controls: Controls, *, beside: Path | None = None, pace: Pace = FILES) -> Driver:
    """A driver of an avatar.

    beside: a file to make; a style that is a clip is preprocessed into a folder next to it.

    Raises: UserError when the avatar is of another MotionSpace, or a pose or style cannot be read.
    """
    check_space(avatar)
    pose = _follow(open_take(controls.followed), avatar) if controls.followed else None
    speech, habits = avatar.speech, avatar.habits
    if controls.style:
        speech, habits = restyle(speech, habits, *_learn_style(avatar, Path(controls.style), beside, controls.seed))
    return Driver(
        speech,
        habits,
        fps=avatar.fps,
        controls=controls,
        pose=pose,
        features=avatar.features,
        pace=pace,
    )


def _follow(take: Take, avatar: Avatar) -> Motion:
    return match_size(read_track(take).motion(), take, avatar)


def _learn_style(avatar: Avatar, source: Path, beside: Path | None, seed: int) -> tuple[dict[str, Tensor], Habits]:
    if source.is_file() and beside is not None:
        take = make_take(source, beside.with_suffix(".style.take"), Wishes(size=avatar.camera.size))
    else:
        take = open_take(source)
    verdict, frames = judge(take.quality), take.training_frames() + list(take.test)
    if not verdict.usable:
        raise UserError(f"{source}: cannot serve as a style: {'; '.join(verdict.advice)}")
    if len(frames) < LEAST_STYLE:
        raise UserError(f"{source}: cannot serve as a style: shows a speaking face in {len(frames)} frames only")
    encoder = load_own_encoder(avatar.speech, avatar.features)
    other, habits = adapt(
        read_audio(take),
        read_track(take),
        fps=take.fps,
        frames=frames,
        seed=seed,
        encoder=encoder,
        calibration=own_motion(avatar).calibration,
    )
    return other, replace(habits, own=match_size(habits.own, take, avatar))


def match_size(motion: Motion, take: Take, avatar: Avatar) -> Motion:
    """A Take's motion in the avatar's camera; torso shifts are in px, so they scale with the picture."""
    if abs(take.camera.focal / take.camera.size - avatar.camera.focal / avatar.camera.size) > 1e-3:
        raise UserError(f"{take.root}: was tracked with another focal length than the avatar; preprocess it again")
    return scale_torso(motion, avatar.camera.size / take.camera.size)


def drive_avatar(avatar: Avatar, speech: Path, controls: Controls, *, beside: Path | None = None) -> Iterator[Motion]:
    """Motion of an avatar for the speech in a file, chunk by chunk."""
    gain = gain_of(read_speech(speech))
    sound = (chunk * gain for chunk in read_speech(speech))
    return drive(start_driver(avatar, controls, beside=beside), sound)
