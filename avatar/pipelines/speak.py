"""Speech -> Motion -> frames -> file; and re-enacting a Take. Memory does not grow with length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from avatar.core.bundle import Avatar
from avatar.core.controls import Controls
from avatar.core.encode import check_target, save_each, write_video
from avatar.core.files import UserError, check_writable
from avatar.core.media import probe
from avatar.core.motion_space import Motion, concatenate, save_motion
from avatar.core.take import Take, read_track
from avatar.pipelines.draw import Look, show
from avatar.pipelines.driver import check_space, drive_avatar, match_size, own_controls
from avatar.render.device import DeviceName


def speak(
    avatar: Avatar,
    speech: Path | str,
    out: Path | str,
    *,
    controls: Controls | None = None,
    look: Look | None = None,
    device: DeviceName = "cpu",
) -> int:
    """Make the avatar say what a file says; writes a film with its sound, as the ending of `out` says.

    Returns: the number of frames.
    """
    speech, out, look = Path(speech), Path(out), look or Look()
    info = probe(speech)
    if not info.has_audio:
        raise UserError(f"{speech}: has no sound; give a file with speech")
    check_writable(out)
    check_target(out, look.coding, transparent=look.transparent)
    fps = look.fps or avatar.fps
    motions = drive_avatar(avatar, speech, controls or own_controls(avatar), beside=out)
    frames = show(avatar, motions, look, rgb=not out.suffix, device=device)
    shown = tqdm(frames, total=round(info.seconds * fps) or None, desc="speak", unit="frame")
    return write_video(shown, out, fps=fps, sound=speech, coding=look.coding)


def make_motion(avatar: Avatar, speech: Path, controls: Controls, *, beside: Path | None = None) -> Motion:
    """All motion of an avatar for the speech in a file; beside: as in `start_driver`."""
    return concatenate(list(drive_avatar(avatar, speech, controls, beside=beside)))


def write_motion(avatar: Avatar, speech: Path, out: Path, *, controls: Controls | None = None) -> Motion:
    """Speech to a `.motion` file."""
    motion = make_motion(avatar, speech, controls or own_controls(avatar), beside=out)
    save_motion(motion, out, avatar.space_id)
    return motion


def reenact(
    avatar: Avatar,
    take: Take,
    *,
    split: str = "test",
    out: Path | None = None,
    frames_dir: Path | None = None,
    look: Look | None = None,
    device: DeviceName = "cpu",
) -> int:
    """Draw the avatar with a Take's own motion, torso track given; a film, or PNGs named by frame index, or both."""
    look, frames = look or Look(), pick_split(take, split)
    if out is None and frames_dir is None:
        raise UserError("nothing to write: give an output video, a folder for frames, or both")
    for place in (out, frames_dir):
        if place:
            check_writable(place)
    if out:
        check_target(out, look.coding, transparent=look.transparent)
    if frames_dir and look.fps:
        raise UserError("frames are named by the frames of the Take; leave --fps or --frames-dir out")
    check_space(avatar)
    motion = match_size(read_track(take).motion(), take, avatar)[slice(frames.start, frames.stop)]
    rgb = frames_dir is not None or not (out and out.suffix)
    fps = look.fps or take.fps
    total = round(len(frames) * fps / take.fps)
    shown = tqdm(show(avatar, [motion], look, rgb=rgb, device=device), total=total, desc="render", unit="frame")
    pictures: Iterator[np.ndarray] = iter(shown)
    if frames_dir:
        pictures = save_each(pictures, frames_dir, first=frames.start)
    if out:
        wav = take.root / "audio.wav"
        sound = wav if split == "all" and wav.exists() else None
        return write_video(pictures, out, fps=fps, sound=sound, coding=look.coding)
    return sum(1 for _ in pictures)


def pick_split(take: Take, split: str) -> range:
    """Frames of `train`, `test` or `all`. Raises: UserError when there are none."""
    frames = {"train": take.train, "test": take.test, "all": range(take.length)}[split]
    if len(frames) == 0:
        raise UserError(f"{take.root}: has no {split} frames; preprocess with --holdout 0.1, or choose another --split")
    return frames
