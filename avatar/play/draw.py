"""Motion -> pictures, by a renderer that was opened once. Memory stays flat."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar
from avatar.core.files import UserError
from avatar.core.geometry import exponential
from avatar.core.motion_space import Motion, RateConverter, scale_torso
from avatar.core.threads import torch_threads
from avatar.play.composite import PAINT, Pixels
from avatar.play.frame_graphs import IN_FLIGHT, Batch, Behind, FrameGraphs, prepare, uses_graphs
from avatar.play.framing import Framing
from avatar.play.full_frame import Stage, open_stage, paste
from avatar.play.label import Labeller
from avatar.play.lighting import Lighting, Lit, open_lit
from avatar.play.look import Look
from avatar.play.transfer import Readback
from avatar.provenance.mark import BLOCK, Marker
from avatar.render import open_renderer
from avatar.render.base import Renderer
from avatar.render.device import DeviceName, pick_device
from avatar.render.gaussian import GaussianRenderer
from avatar.scene.background import open_background, own_shape
from avatar.scene.place import Place, usual_frame
from avatar.scene.still import Shape, resize_plate

FRAMES_AT_ONCE = {"cpu": 8, "cuda": 32}  # where there are no graphs
ORBIT_SECONDS = 6.0
READABLE = 0.75  # of a full frame is marked at least, since a mark is looked for in all of it


@dataclass(frozen=True)
class Canvas:
    """What all drawings of an avatar share: opened renderer, plate, look."""

    renderer: Renderer
    lock: threading.Lock  # a renderer draws for one thread at a time
    look: Look
    size: int  # px a side of what is drawn
    trained_size: int  # px a side that the torso's shifts are given for
    fps: float
    behind: Behind
    stage: Stage | None  # of a full frame
    device: torch.device
    graphs: FrameGraphs | None  # where batches are drawn by them
    framing: Framing | None = None  # where the square stands in a larger picture
    lit: Lit | None = None  # where light or colours are another than they were filmed in

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of frames, px."""
        if self.stage is None:
            return self.framing.shape if self.framing else (self.size, self.size)
        height, width, _ = self.stage.still.shape
        return height, width


def open_canvas(avatar: Avatar, look: Look, device: DeviceName = "auto") -> Canvas:
    """Open an avatar's renderer. Raises: UserError for a look that the avatar, or a device that the machine, lacks.

    Footage is none of its looks.
    """
    if look.footage:
        raise UserError("a body from footage is for films of a speech: avatar.speak")
    place, framing = pick_device(device), _open_framing(look)
    size = framing.side if framing else look.size or avatar.camera.size
    stage, shape = open_stage(avatar) if look.full_frame else None, framing.shape if framing else (size, size)
    plate, film = resize_plate(avatar.plate, size), False
    if framing and not look.background:
        raise UserError("a person in a larger picture stands before another background; give --background")
    if look.background and not look.transparent:
        # what is wrong with it is said now
        picture = open_background(look.background, shape, avatar.fps, look.scene.backdrop, avatar.plate)
        film = not isinstance(picture, Tensor)
        plate = picture if isinstance(picture, Tensor) else plate
    elif framing:
        plate = torch.zeros(*shape, 3, dtype=torch.uint8)
    renderer = open_renderer(avatar, size)
    renderer.to(place)
    behind, fps = Behind(plate.to(place), film), look.fps or avatar.fps
    lit, graphs = open_lit(avatar, renderer, look, fps, framing), None
    if framing is None and lit is None and uses_graphs(renderer):
        graphs = FrameGraphs(renderer.blendshapes, behind, turned=look.orbit > 0)
    lock, trained = threading.Lock(), avatar.camera.size
    return Canvas(renderer, lock, look, size, trained, fps, behind, stage, place, graphs, framing, lit)


def _open_framing(look: Look) -> Framing | None:
    scene = look.scene
    if not scene.placed:
        return None
    own: Shape | None = None
    if scene.frame is None and look.background:
        own = own_shape(look.background)
    return Framing(scene.frame or usual_frame(own), scene.place or Place())


class Drawing:
    """One sequence of frames on a canvas: motion in as it comes, pictures out."""

    def __init__(self, canvas: Canvas, pixels: Pixels = "rgb", *, mark: int | None = None, ahead: bool = False) -> None:
        """pixels: `rgb` [S, S, 3], `nv12` [3 S / 2, S] (square pictures only); a transparent look gives [S, S, 4].

        mark: number of the invisible mark, 0 .. 2^32 - 1; None: frames are not marked.

        ahead: where graphs draw, the last batches of a motion may come with the next motion or `finish`, so that a GPU
        draws them while the next motion is made.
        """
        self._canvas, self._rate, self._ahead = canvas, RateConverter(canvas.fps), ahead
        self._pixels: Pixels = (
            "rgba" if canvas.look.transparent else "rgb" if canvas.stage or canvas.framing else pixels
        )
        self._film = open_film(canvas)
        self._lighting = Lighting(canvas.lit) if canvas.lit else None
        self._marker = None if mark is None else open_marker(canvas, mark)
        label = canvas.look.label
        self._labeller = None if label.kind == "none" else Labeller(label, *canvas.shape, canvas.fps)
        self._readback = Readback(canvas.device)
        self._waiting: deque[tuple[Batch, Tensor]] = deque()  # with the shoulders of their frames
        self._drawn = 0

    def draw(self, motion: Motion) -> Iterator[np.ndarray]:
        """The frames that more motion completes. Each batch of them is an array of its own: they may be kept."""
        return self._pictures(self._rate.push(motion), last=not self._ahead)

    def finish(self) -> Iterator[np.ndarray]:
        """The last frames, where the rate is another than the motion's, or some wait."""
        return self._pictures(self._rate.finish(), last=True)

    def _pictures(self, motion: Motion | None, *, last: bool) -> Iterator[np.ndarray]:
        if motion is not None:
            scaled = scale_torso(motion, self._canvas.size / self._canvas.trained_size)
            graphs = self._canvas.graphs
            yield from (
                self._by_graphs(graphs, scaled, motion.torso) if graphs else self._one_by_one(scaled, motion.torso)
            )
        while self._waiting and last:
            yield from self._first_batch()

    def _by_graphs(self, graphs: FrameGraphs, motion: Motion, torso: Tensor) -> Iterator[np.ndarray]:
        assert isinstance(self._canvas.renderer, GaussianRenderer)
        stretch = prepare(graphs, self._canvas.renderer, motion, self._view(motion, len(motion)))
        for start in range(0, len(motion), graphs.at_once):
            frames = slice(start, start + graphs.at_once)
            shoulders = torso[frames]
            behind = torch.stack([next(self._film) for _ in shoulders]) if self._film else None
            self._waiting.append((graphs.begin(stretch[frames], self._pixels, self._readback, behind), shoulders))
            if len(self._waiting) > IN_FLIGHT:
                yield from self._first_batch()

    def _first_batch(self) -> Iterator[np.ndarray]:
        batch, torso = self._waiting.popleft()
        return self._pasted(batch.pictures(), torso)

    def _one_by_one(self, motion: Motion, torso: Tensor) -> Iterator[np.ndarray]:
        step = FRAMES_AT_ONCE[self._canvas.device.type]
        for start in range(0, len(motion), step):
            frames = range(start, min(start + step, len(motion)))
            yield from self._pasted(self._render(motion, frames), torso[start : frames.stop])

    def _pasted(self, pictures: np.ndarray, torso: Tensor) -> Iterator[np.ndarray]:
        stage = self._canvas.stage
        frames: Iterable[np.ndarray] = pictures
        if stage is not None:
            frames = (paste(stage, picture, moved.numpy()) for picture, moved in zip(pictures, torso, strict=True))
        if self._marker:
            frames = map(self._marker.add, frames)
        return iter(frames) if self._labeller is None else map(self._labeller.add, frames)

    def _view(self, motion: Motion, count: int) -> Tensor | None:
        """Views [n, 3, 3] of the next frames."""
        orbit, done = self._canvas.look.orbit, self._drawn
        self._drawn += count
        return _swing(orbit, done, count, motion.fps) if orbit else None

    def _render(self, motion: Motion, frames: range) -> np.ndarray:
        canvas = self._canvas
        view = self._view(motion, len(frames))
        with canvas.lock, torch_threads(1), torch.inference_mode():
            pictures = [next(self._film) for _ in frames] if self._film else [canvas.behind.plate]
            rgb, alpha = self._draw(motion, frames, view, pictures)
            behind = torch.stack(pictures).to(canvas.device) if self._film else canvas.behind.plate
            if canvas.framing:
                return canvas.framing.paint(rgb, alpha, behind, self._pixels)
            return PAINT[self._pixels](rgb, alpha, behind).cpu().numpy()

    def _draw(
        self, motion: Motion, frames: range, view: Tensor | None, pictures: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        renderer = self._canvas.renderer
        if self._lighting is None or not isinstance(renderer, GaussianRenderer):
            return renderer.render(motion, frames, view)
        part = motion[slice(frames.start, frames.stop)].to(self._canvas.device)
        turn = None if view is None else view.to(self._canvas.device)
        return renderer.render(motion, frames, view, self._lighting.recolour(part, pictures, turn))


def open_marker(canvas: Canvas, number: int) -> Marker | None:
    """What marks frames: all of a square, of a full frame what is drawn; None where that is too small for a mark."""
    height, width = canvas.shape
    left, top, right, bottom = canvas.stage.box if canvas.stage else (0, 0, width, height)
    if min(right - left, bottom - top) < BLOCK:
        return None
    while (right - left) * (bottom - top) < READABLE * width * height:  # a person far away
        left, top, right, bottom = (
            max(0, left - BLOCK), max(0, top - BLOCK), min(width, right + BLOCK), min(height, bottom + BLOCK),
        )  # fmt: skip
    return Marker(number, height, width, (left, top, right, bottom))


def open_film(canvas: Canvas) -> Iterator[Tensor] | None:
    """The pictures of a film behind the person, from its beginning, where there is one."""
    if not canvas.behind.film:
        return None
    assert canvas.look.background is not None
    shape = canvas.framing.shape if canvas.framing else (canvas.size, canvas.size)
    film = open_background(canvas.look.background, shape, canvas.fps, canvas.look.scene.backdrop)
    assert not isinstance(film, Tensor)
    return film


def _swing(degrees: float, done: int, count: int, fps: float) -> Tensor:
    """Rotations [B, 3, 3] of the view about an upright axis, there and back."""
    seconds = (done + torch.arange(count)) / fps
    angle = math.radians(degrees) * torch.sin(2 * math.pi * seconds / ORBIT_SECONDS)
    return exponential(torch.stack([torch.zeros(count), angle, torch.zeros(count)], 1))
