"""Speech -> Motion -> frames -> file; and re-enacting a Take. Memory does not grow with length."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from avatar.core.bundle import Avatar
from avatar.core.controls import Controls
from avatar.core.files import UserError, check_writable
from avatar.core.loudness import gain_of
from avatar.core.media import probe, read_speech, write_video
from avatar.core.motion_space import Motion, concatenate, load_space, save_motion
from avatar.core.take import Take, read_track
from avatar.motion.drive import Driver, drive
from avatar.render import open_renderer
from avatar.render.composite import over, over_nv12, read_background
from avatar.render.device import DeviceName, pick_device
from preprocess.full_frame import paste, set_stage

FRAMES_AT_ONCE = {"cpu": 8, "cuda": 32}


def draw(
    avatar: Avatar,
    motions: Iterable[Motion],
    *,
    background: Tensor | None = None,
    device: DeviceName = "cpu",
    paint: Callable[[Tensor, Tensor, Tensor], Tensor] = over,
) -> Iterator[np.ndarray]:
    """Frames of chunks of motion, over a background [S, S, 3] uint8 (default: the avatar's plate).

    paint: `over` for [S, S, 3] uint8 RGB, `over_nv12` for what `write_video` takes fastest.
    """
    renderer, place = open_renderer(avatar), pick_device(device)
    renderer.to(place)
    plate = (avatar.plate if background is None else background).to(place)
    torch.set_num_threads(1)  # the native pool uses the cores
    step = FRAMES_AT_ONCE[device]
    with torch.inference_mode():
        for motion in motions:
            for start in range(0, len(motion), step):
                rgb, alpha = renderer.render(motion, range(start, min(start + step, len(motion))))
                yield from paint(rgb, alpha, plate).cpu().numpy()


def draw_full_frame(avatar: Avatar, motions: Iterable[Motion], *, device: DeviceName = "cpu") -> Iterator[np.ndarray]:
    """As `draw`, pasted back into the frame that the avatar was cropped from, [H, W, 3] uint8 RGB of even size.

    Raises: UserError when the avatar does not know that frame.
    """
    if len(avatar.frame) == 0:
        raise UserError("the avatar does not hold its source's frame; build it again from the video")
    with Image.open(io.BytesIO(avatar.frame.numpy().tobytes())) as image:
        still = np.array(image.convert("RGB"))
    stage = set_stage(still[: len(still) // 2 * 2, : still.shape[1] // 2 * 2], avatar.crop, avatar.camera.size)
    for motion in motions:
        for picture, torso in zip(draw(avatar, [motion], device=device), motion.torso.numpy(), strict=True):
            yield paste(stage, picture, torso)


def check_space(avatar: Avatar) -> None:
    """Raise UserError when the avatar was built with another MotionSpace than this version ships."""
    if avatar.space_id != load_space().id:
        raise UserError(
            f"the avatar speaks motion space {avatar.space_id}, this version {load_space().id}; build it again"
        )


def start_driver(avatar: Avatar, controls: Controls, seed: int, pose: Take | None = None) -> Driver:
    """A driver of an avatar. pose: a Take whose head motion is taken. Raises: UserError when it is of another kind."""
    check_space(avatar)
    followed = match_size(read_track(pose).motion(), pose, avatar) if pose else None
    return Driver(avatar.speech, avatar.habits, fps=avatar.fps, controls=controls, seed=seed, pose=followed)


def drive_avatar(
    avatar: Avatar, speech: Path, controls: Controls, seed: int, pose: Take | None = None
) -> Iterator[Motion]:
    """Motion of an avatar for the speech in a file, chunk by chunk."""
    gain = gain_of(read_speech(speech))
    sound = (chunk * gain for chunk in read_speech(speech))
    return drive(start_driver(avatar, controls, seed, pose), sound)


def speak(
    avatar: Avatar,
    speech: Path,
    out: Path,
    *,
    controls: Controls | None = None,
    background: str | None = None,
    full_frame: bool = False,
    pose: Take | None = None,
    seed: int = 0,
    device: DeviceName = "cpu",
) -> int:
    """Make the avatar say what a file says; writes an mp4 with its sound. Returns the number of frames.

    pose: a Take whose head, shoulders and gaze are followed instead of the person's habits.

    full_frame: the whole picture that the person was filmed in, at its own size, instead of the square.
    """
    info = probe(speech)
    if not info.has_audio:
        raise UserError(f"{speech}: has no sound; give a file with speech")
    check_writable(out)
    if full_frame and background:
        raise UserError("a full frame keeps its own background; give --full-frame or --background, not both")
    behind = read_background(background, avatar.camera.size) if background else None
    motions = drive_avatar(avatar, speech, controls or Controls(), seed, pose)
    if full_frame:
        frames = draw_full_frame(avatar, motions, device=device)
    else:
        frames = draw(avatar, motions, background=behind, device=device, paint=over_nv12)
    total = round(info.seconds * avatar.fps) or None
    return write_video(tqdm(frames, total=total, desc="speak", unit="frame"), out, fps=avatar.fps, sound=speech)


def write_motion(avatar: Avatar, speech: Path, out: Path, *, controls: Controls | None = None, seed: int = 0) -> Motion:
    """Speech to a `.motion` file."""
    motion = concatenate(list(drive_avatar(avatar, speech, controls or Controls(), seed)))
    save_motion(motion, out, avatar.space_id)
    return motion


def reenact(
    avatar: Avatar,
    take: Take,
    *,
    split: str = "test",
    out: Path | None = None,
    frames_dir: Path | None = None,
    background: str | None = None,
    device: DeviceName = "cpu",
) -> int:
    """Draw the avatar with a Take's own motion, torso track given; mp4, or PNGs named by frame index, or both."""
    frames = pick_split(take, split)
    if out is None and frames_dir is None:
        raise UserError("nothing to write: give an output video, a folder for frames, or both")
    for place in (out, frames_dir):
        if place:
            check_writable(place)
    check_space(avatar)
    behind = read_background(background, avatar.camera.size) if background else None
    motion = match_size(read_track(take).motion(), take, avatar)[slice(frames.start, frames.stop)]
    pictures: Iterator[np.ndarray] = iter(
        tqdm(draw(avatar, [motion], background=behind, device=device), total=len(frames), desc="render", unit="frame")
    )
    if frames_dir:
        frames_dir.mkdir(parents=True, exist_ok=True)
        pictures = _save_each(pictures, frames, frames_dir)
    if out:
        sound = take.root / "audio.wav"
        return write_video(pictures, out, fps=take.fps, sound=sound if split == "all" and sound.exists() else None)
    return sum(1 for _ in pictures)


def pick_split(take: Take, split: str) -> range:
    """Frames of `train`, `test` or `all`. Raises: UserError when there are none."""
    frames = {"train": take.train, "test": take.test, "all": range(take.length)}[split]
    if len(frames) == 0:
        raise UserError(f"{take.root}: has no {split} frames; preprocess with --holdout 0.1, or choose another --split")
    return frames


def match_size(motion: Motion, take: Take, avatar: Avatar) -> Motion:
    """A Take's motion in the avatar's camera; torso shifts are in px, so they scale with the picture."""
    if abs(take.camera.focal / take.camera.size - avatar.camera.focal / avatar.camera.size) > 1e-3:
        raise UserError(f"{take.root}: was tracked with another focal length than the avatar; preprocess it again")
    scale = torch.tensor([1.0, 1.0, 0, 0]) * (avatar.camera.size / take.camera.size) + torch.tensor([0, 0, 1.0, 1.0])
    return Motion(motion.expression, motion.eyes, motion.rotation, motion.translation, motion.torso * scale, motion.fps)


def _save_each(pictures: Iterator[np.ndarray], frames: range, folder: Path) -> Iterator[np.ndarray]:
    for frame, picture in zip(frames, pictures, strict=True):
        Image.fromarray(picture).save(folder / f"{frame:06d}.png", compress_level=1)
        yield picture
