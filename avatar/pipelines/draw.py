"""Motion -> pictures as they are asked for: size, frame rate, what lies behind, from which side. Memory stays flat."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from avatar.core.bundle import Avatar
from avatar.core.encode import Coding
from avatar.core.files import UserError
from avatar.core.geometry import exponential
from avatar.core.media import probe, read_video
from avatar.core.motion_space import Motion, at_rate, scale_torso
from avatar.render import open_renderer
from avatar.render.composite import over, over_nv12, read_background, with_alpha
from avatar.render.device import DeviceName, pick_device
from preprocess.full_frame import paste, set_stage

FRAMES_AT_ONCE = {"cpu": 8, "cuda": 32}
TRANSPARENT = "transparent"
MOST_ORBIT = 20.0  # degrees: beyond, nothing was ever seen
ORBIT_SECONDS = 6.0
LEAST_SIZE, MOST_SIZE = 64, 2048  # px; even, as films have half as many points of colour
FILM_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


@dataclass(frozen=True)
class Look:
    """How an avatar is shown."""

    size: int | None = None  # px a side; None: as it was trained
    fps: float | None = None  # None: as it was trained
    background: str | None = None  # a picture, a film, a colour, `transparent`; None: the avatar's own plate
    full_frame: bool = False  # the whole picture that the person was filmed in
    orbit: float = 0.0  # degrees that the view swings to either side
    coding: Coding = field(default_factory=Coding)

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be shown, or not together."""
        if self.full_frame and (self.background or self.size or self.orbit):
            raise UserError(
                "a full frame keeps its own background, size and view; leave --background, --size and --orbit out"
            )
        if not 0 <= self.orbit <= MOST_ORBIT:
            raise UserError(f"--orbit: {self.orbit:g} is not between 0 and {MOST_ORBIT:g} degrees")
        if self.size and (self.size % 2 or not LEAST_SIZE <= self.size <= MOST_SIZE):
            raise UserError(f"--size: {self.size} is not an even number from {LEAST_SIZE} to {MOST_SIZE} px")

    @property
    def transparent(self) -> bool:
        return self.background == TRANSPARENT


def show(
    avatar: Avatar, motions: Iterable[Motion], look: Look, *, rgb: bool = False, device: DeviceName = "cpu"
) -> Iterator[np.ndarray]:
    """Frames for `write_video` of chunks of motion, as a look has it; rgb: as PNGs want them."""
    fps = look.fps or avatar.fps
    motions = at_rate(motions, fps)
    if look.full_frame:
        return draw_full_frame(avatar, motions, device=device)
    size = look.size or avatar.camera.size
    paint = with_alpha if look.transparent else over if rgb else over_nv12
    behind = None if look.transparent or look.background is None else open_background(look.background, size, fps)
    return draw(avatar, motions, size=size, background=behind, orbit=look.orbit, device=device, paint=paint)


def draw(
    avatar: Avatar,
    motions: Iterable[Motion],
    *,
    size: int | None = None,
    background: Tensor | Iterator[Tensor] | None = None,
    orbit: float = 0.0,
    device: DeviceName = "cpu",
    paint: Callable[[Tensor, Tensor, Tensor], Tensor] = over,
) -> Iterator[np.ndarray]:
    """Frames of chunks of motion.

    background: a picture [S, S, 3] uint8, or one for each frame; default: the avatar's plate. orbit: degrees.
    paint: `over` for [S, S, 3] uint8 RGB, `over_nv12` for what `write_video` takes fastest, `with_alpha` for RGBA.
    """
    size = size or avatar.camera.size
    renderer, place = open_renderer(avatar, size), pick_device(device)
    renderer.to(place)
    behind = _resize(avatar.plate, size) if background is None else background
    behind = behind.to(place) if isinstance(behind, Tensor) else behind
    torch.set_num_threads(1)  # the native pool uses the cores
    step, done = FRAMES_AT_ONCE[device], 0
    with torch.inference_mode():
        for motion in motions:
            scaled = scale_torso(motion, size / avatar.camera.size)
            for start in range(0, len(motion), step):
                frames = range(start, min(start + step, len(motion)))
                view = _swing(orbit, done, len(frames), motion.fps) if orbit else None
                rgb, alpha = renderer.render(scaled, frames, view)
                done += len(frames)
                if isinstance(behind, Tensor):
                    yield from paint(rgb, alpha, behind).cpu().numpy()
                    continue
                for one, cover, still in zip(rgb.split(1), alpha.split(1), behind, strict=False):
                    yield paint(one, cover, still.to(place))[0].cpu().numpy()


def _swing(degrees: float, done: int, count: int, fps: float) -> Tensor:
    """Rotations [B, 3, 3] of the view about an upright axis, there and back."""
    seconds = (done + torch.arange(count)) / fps
    angle = math.radians(degrees) * torch.sin(2 * math.pi * seconds / ORBIT_SECONDS)
    return exponential(torch.stack([torch.zeros(count), angle, torch.zeros(count)], 1))


def _resize(picture: Tensor, size: int) -> Tensor:
    if len(picture) == size:
        return picture
    mode = "area" if size < len(picture) else "bicubic"
    resized = functional.interpolate(picture.permute(2, 0, 1)[None].float(), (size, size), mode=mode)
    return resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).contiguous()


def open_background(choice: str, size: int, fps: float) -> Tensor | Iterator[Tensor]:
    """A picture [S, S, 3] uint8 from a file or a colour; of a film endless pictures: it begins anew at its end."""
    path = Path(choice)
    if path.suffix.lower() not in FILM_ENDINGS:
        return read_background(choice, size)
    if not probe(path).has_video:
        raise UserError(f"{path}: has no picture; give a video, a picture or a colour as background")
    return _loop(path, size, fps)


def _loop(path: Path, size: int, fps: float) -> Iterator[Tensor]:
    frame = None
    while True:
        for frame in read_video(path, size=size, fps=fps):
            yield torch.from_numpy(frame.copy())
        if frame is None:
            raise UserError(f"{path}: holds no frame that can be decoded; give another background")


def draw_full_frame(avatar: Avatar, motions: Iterable[Motion], *, device: DeviceName = "cpu") -> Iterator[np.ndarray]:
    """As `draw`, pasted back into the frame that the avatar was cropped from, [H, W, 3] uint8 RGB of even size.

    Raises: UserError when the avatar does not know that frame.
    """
    if len(avatar.frame) == 0:
        raise UserError("the avatar does not hold its source's frame; build it again from the video")
    with Image.open(io.BytesIO(avatar.frame.numpy().tobytes())) as image:
        still = np.array(image.convert("RGB"))
    stage = set_stage(still[: len(still) // 2 * 2, : still.shape[1] // 2 * 2], avatar.crop, avatar.camera.size)
    motions, same = itertools.tee(motions)
    torsos = (torso for motion in same for torso in motion.torso.numpy())
    for picture, torso in zip(draw(avatar, motions, device=device), torsos, strict=True):
        yield paste(stage, picture, torso)
