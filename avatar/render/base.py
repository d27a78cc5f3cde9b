"""What a renderer is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from avatar.core.geometry import Camera
from avatar.core.motion_space import Motion, MotionSpace
from avatar.core.recipe import Settings
from avatar.core.take import Take, Track


class Renderer(Protocol):
    """Motion -> pictures of the person, without the background."""

    @property
    def camera(self) -> Camera: ...

    @property
    def device(self) -> torch.device:
        """Where pictures are drawn."""
        ...

    def to(self, device: torch.device) -> None:
        """Draw (and train) on another device from now on."""
        ...

    def render(self, motion: Motion, frames: range, view: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw frames of a motion; the rest of the motion is context.

        view: [B, 3, 3] turns all that is drawn about the middle of the head at rest, in the camera frame.

        Returns: rgb [B, 3, S, S] premultiplied 0..1, alpha [B, 1, S, S] 0..1, differentiable where gradients are on.
        """
        ...

    def update(self, progress: float) -> None:
        """One optimizer step from the gradients of the last `render`; `progress` 0..1 is the share of the budget."""
        ...

    def reduce_memory(self) -> bool:
        """Use less memory from now on, because a GPU's is full; False where there is nothing to be saved."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to draw and to train on; `RendererKind.pack` makes it small for the avatar file."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what `tensors` returned earlier; the optimizer starts anew."""
        ...


@dataclass(frozen=True)
class RendererKind:
    """How a renderer is configured and loaded."""

    settings: type[Settings]
    load: Callable[[dict[str, Tensor], Camera], Renderer]


@dataclass(frozen=True)
class TrainableKind:
    """How a renderer is configured, begun and shipped."""

    settings: type[Settings]
    begin: Callable[[Take, Track, MotionSpace, Any, int], Renderer]  # the last two: its settings, a seed
    pack: Callable[[dict[str, Tensor]], dict[str, Tensor]]  # trained tensors -> as shipped


def random_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for whoever draws random numbers."""
    return torch.Generator(device).manual_seed(seed)
