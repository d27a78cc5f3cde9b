"""What a renderer is, and what can be trained to become one."""

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
    """Motion -> pictures of the person, without the background. Draws, and nothing else."""

    @property
    def camera(self) -> Camera: ...

    @property
    def device(self) -> torch.device:
        """Where pictures are drawn."""
        ...

    def to(self, device: torch.device) -> None:
        """Draw on another device from now on. Raises: UserError when it cannot be drawn there."""
        ...

    def render(self, motion: Motion, frames: range, view: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw frames of a motion; never differentiable.

        view: [B, 3, 3] rotates everything drawn about the middle of the head at rest, in the camera frame.

        Returns: rgb [B, 3, S, S] premultiplied 0..1, alpha [B, 1, S, S] 0..1.
        """
        ...


class Trainable(Protocol):
    """The parameters of a renderer, with their optimizer."""

    @property
    def camera(self) -> Camera: ...

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        ...

    def to(self, device: torch.device) -> None:
        """Train on another device; the optimizer starts anew. Raises: UserError when it cannot be drawn there."""
        ...

    def draw(self, motion: Motion, frame: int) -> tuple[Tensor, Tensor]:
        """Draw a frame with this training's noise, differentiably: rgb [1, 3, S, S] premultiplied, alpha [1, 1, S, S].

        Call it with gradients enabled, and `update` after the backward pass. Raises: ValueError when the parameters
        are not finite any more.
        """
        ...

    def update(self, progress: float) -> None:
        """One optimizer step from the gradients of the last `draw`; `progress` 0..1 is the share of the budget."""
        ...

    def reduce_memory(self) -> bool:
        """Use less memory from now on, because a GPU's is full; False where nothing can be saved."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all parameters in float32; `TrainableKind.pack` makes them small for the avatar file."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what `tensors` returned earlier; the optimizer starts anew."""
        ...

    def renderer(self) -> Renderer:
        """The renderer of the parameters as they are now, on the same device, as the avatar file would hold it."""
        ...


@dataclass(frozen=True)
class RendererKind:
    """How a renderer is configured and loaded."""

    settings: type[Settings]
    load: Callable[[dict[str, Tensor], Camera, Any], Renderer]  # tensors of an avatar file; its recipe's settings


@dataclass(frozen=True)
class TrainableKind:
    """How a renderer is configured, begun and packed."""

    settings: type[Settings]
    begin: Callable[[Take, Track, MotionSpace, Any, int], Trainable]  # the last two: its settings, a seed
    pack: Callable[[dict[str, Tensor]], dict[str, Tensor]]  # trained tensors -> those of the avatar file
    check: Callable[[Any, torch.device], None]  # raises UserError where a device cannot train with its settings


def random_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator with a seed of its own."""
    return torch.Generator(device).manual_seed(seed)
