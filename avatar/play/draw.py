"""Motion -> pictures, by a renderer that was opened once. Memory stays flat."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar
from avatar.core.geometry import exponential
from avatar.core.motion_space import Motion, RateConverter, scale_torso
from avatar.core.threads import torch_threads
from avatar.play.composite import PAINT, Pixels
from avatar.play.full_frame import Stage, open_stage, paste
from avatar.play.look import Background, Look, open_background, resize_plate
from avatar.render import open_renderer
from avatar.render.base import Renderer
from avatar.render.device import DeviceName, pick_device

FRAMES_AT_ONCE = {"cpu": 8, "cuda": 32}
ORBIT_SECONDS = 6.0


@dataclass(frozen=True)
class Canvas:
    """What all drawings of an avatar share: opened renderer, plate, look."""

    renderer: Renderer
    lock: threading.Lock  # a renderer draws for one thread at a time
    look: Look
    size: int  # px a side of what is drawn
    trained_size: int  # px a side that the torso's shifts are given for
    fps: float
    plate: Tensor  # [S, S, 3] uint8, or nothing behind a full frame's still
    stage: Stage | None  # of a full frame
    device: torch.device

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of frames, px."""
        if self.stage is None:
            return self.size, self.size
        height, width, _ = self.stage.still.shape
        return height, width


def open_canvas(avatar: Avatar, look: Look, device: DeviceName = "auto") -> Canvas:
    """Open an avatar's renderer. Raises: UserError for a look that the avatar, or a device that the machine, lacks."""
    size, place = look.size or avatar.camera.size, pick_device(device)
    stage = open_stage(avatar) if look.full_frame else None
    if look.background and not look.transparent:
        open_background(look.background, size, avatar.fps)  # what is wrong with it is said now
    renderer = open_renderer(avatar, size)
    renderer.to(place)
    plate = resize_plate(avatar.plate, size)
    fps = look.fps or avatar.fps
    return Canvas(renderer, threading.Lock(), look, size, avatar.camera.size, fps, plate.to(place), stage, place)


class Drawing:
    """One sequence of frames on a canvas: motion in as it comes, pictures out."""

    def __init__(self, canvas: Canvas, pixels: Pixels = "rgb") -> None:
        """pixels: `rgb` [S, S, 3], `nv12` [3 S / 2, S] (square pictures only); a transparent look gives [S, S, 4]."""
        self._canvas, self._rate = canvas, RateConverter(canvas.fps)
        self._paint = PAINT["rgba" if canvas.look.transparent else "rgb" if canvas.stage else pixels]
        self._behind = _behind(canvas)
        self._drawn = 0

    def draw(self, motion: Motion) -> Iterator[np.ndarray]:
        """The frames that more motion completes."""
        return self._pictures(self._rate.push(motion))

    def finish(self) -> Iterator[np.ndarray]:
        """The last frames, where the rate is another than the motion's."""
        return self._pictures(self._rate.finish())

    def _pictures(self, motion: Motion | None) -> Iterator[np.ndarray]:
        if motion is None:
            return
        canvas = self._canvas
        scaled = scale_torso(motion, canvas.size / canvas.trained_size)
        step = FRAMES_AT_ONCE[canvas.device.type]
        for start in range(0, len(motion), step):
            frames = range(start, min(start + step, len(motion)))
            pictures = self._render(scaled, frames)
            for frame, picture in zip(frames, pictures, strict=True):
                yield paste(canvas.stage, picture, motion.torso[frame].numpy()) if canvas.stage else picture

    def _render(self, motion: Motion, frames: range) -> np.ndarray:
        canvas = self._canvas
        view = _swing(canvas.look.orbit, self._drawn, len(frames), motion.fps) if canvas.look.orbit else None
        self._drawn += len(frames)
        with canvas.lock, torch_threads(1), torch.inference_mode():
            rgb, alpha = canvas.renderer.render(motion, frames, view)
            if isinstance(self._behind, Tensor):
                return self._paint(rgb, alpha, self._behind).cpu().numpy()
            pairs = zip(rgb.split(1), alpha.split(1), strict=True)
            return torch.cat([self._paint(*pair, next(self._behind).to(canvas.device)) for pair in pairs]).cpu().numpy()


def _behind(canvas: Canvas) -> Background:
    if canvas.look.background is None or canvas.look.transparent:
        return canvas.plate
    behind = open_background(canvas.look.background, canvas.size, canvas.fps)
    return behind.to(canvas.device) if isinstance(behind, Tensor) else behind


def _swing(degrees: float, done: int, count: int, fps: float) -> Tensor:
    """Rotations [B, 3, 3] of the view about an upright axis, there and back."""
    seconds = (done + torch.arange(count)) / fps
    angle = math.radians(degrees) * torch.sin(2 * math.pi * seconds / ORBIT_SECONDS)
    return exponential(torch.stack([torch.zeros(count), angle, torch.zeros(count)], 1))
