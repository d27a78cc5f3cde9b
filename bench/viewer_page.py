"""What the viewer's pages draw, next to what the avatar's own renderer does. For tests and benches."""

from __future__ import annotations

import asyncio
import base64
import io
import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from avatar.core.avatar_file import Avatar
from avatar.core.geometry import exponential
from avatar.core.motion_space import Motion, scale_torso
from avatar.play.composite import over
from avatar.render import open_renderer
from avatar.scene.still import resize_plate
from bench.chromium import open_page

SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
MESSAGE = "document.getElementById('message').textContent"
DRAW = """(async () => {{
  const {{view, film}} = avatarPage, width = film.width;
  while (view.busy && !view.held) await new Promise(requestAnimationFrame);
  view.busy = view.held = true; // the page's own loop stands still
  const values = film.rows.subarray({frame} * width, ({frame} + 1) * width);
  if (view.engine.canvas.width !== {size}) view.engine.resize({size});
  await view.engine.draw(values, sideView({degrees}));
  return view.canvas.toDataURL('image/png');
}})()"""


class ViewerPage:
    """An exported page, open in a browser of its own until it is closed."""

    def __init__(self, page: Path, engine: str, flags: Sequence[str] = (), *, seconds: float = 60.0) -> None:
        """engine: what draws; seconds: that anything is waited for. Raises: RuntimeError with the page's message."""
        self._seconds, self._runner, self._stack = seconds, asyncio.Runner(), AsyncExitStack()
        try:
            opening = open_page(f"file://{page}#engine={engine}", (*SOFTWARE_GL, *flags))
            self._page = self._runner.run(self._stack.enter_async_context(opening))
            self.wait(f"(window.avatarPage && avatarPage.view.drawn > 0) || {MESSAGE}")
            if message := self.evaluate(MESSAGE):
                raise RuntimeError(message)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ViewerPage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """A command of the DevTools protocol; its result."""
        return self._runner.run(self._page.command(method, **values))

    def evaluate(self, script: str) -> Any:
        """The value of an expression, awaited. Raises: RuntimeError with the page's error."""
        return self._runner.run(self._page.run(script))

    def wait(self, condition: str) -> None:
        """Wait until an expression is true. Raises: TimeoutError."""
        self._runner.run(self._page.wait(condition, self._seconds))

    def drawn(self, frame: int, size: int, degrees: float = 0.0) -> np.ndarray:
        """A frame [S, S, 3] uint8 as the page draws it; from then on the page stands still."""
        url = self.evaluate(DRAW.format(frame=frame, size=size, degrees=degrees))
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def drawn_by_renderer(
    avatar: Avatar, motion: Motion, frames: Sequence[int], size: int, degrees: float = 0.0
) -> list[np.ndarray]:
    """The same frames as the avatar's renderer draws them over its plate."""
    renderer = open_renderer(avatar, size)
    scaled = scale_torso(motion, size / avatar.camera.size)
    view = exponential(torch.tensor([[0.0, math.radians(degrees), 0.0]])) if degrees else None
    plate = resize_plate(avatar.plate, size)
    pictures = [over(*renderer.render(scaled, range(frame, frame + 1), view), plate)[0] for frame in frames]
    return [picture.numpy() for picture in pictures]


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """PSNR of pictures of bytes."""
    error = np.square(one.astype(float) - other.astype(float)).mean()
    return 99.0 if error == 0 else 10 * math.log10(255**2 / error)
