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
from cuda_ext.ops import Room


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


@dataclass(frozen=True)
class StepInputs:
    """What one step of training reads, on the trainable's device. On a GPU a captured step finds it at one address."""

    frame: Tensor  # [1] int64, of the clip
    picture: Tensor  # [4, S, S] uint8: red, green, blue, matte
    blobs: Tensor  # [3, 2, S] where pixels count more, as `losses.weight_blobs` returns them
    weights: Tensor  # [3] how much more
    noise: Tensor  # [1, D] standard normal, for the features
    rate: Tensor  # [1] that the rates are multiplied with: `Trainable.rate`
    exposed: Tensor  # [1] 1 where the frame's exposure is fitted, 0 where it is not yet


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

    @property
    def features(self) -> int:
        """How many features a frame has: the width D of a step's noise."""
        ...

    @property
    def rooms(self) -> tuple[Room, ...] | None:
        """Of a step that can be captured into a CUDA graph, the rooms that it draws in; None where it cannot be."""
        ...

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """What a step draws random numbers from, on its device, beside its noise."""
        ...

    def prepare(self, motion: Motion) -> None:
        """Take in the motion of all frames of the clip, which steps then draw from."""
        ...

    def draw(self, step: StepInputs) -> tuple[Tensor, Tensor]:
        """Draw a step's frame with its noise, differentiably: rgb [1, 3, S, S] premultiplied, alpha [1, 1, S, S].

        Call it with gradients enabled, and `update` after the backward pass. Raises: ValueError when the parameters
        are not finite any more.
        """
        ...

    def update(self, step: StepInputs) -> None:
        """One optimizer step from the gradients of the last `draw`."""
        ...

    def advance(self) -> int:
        """Begin an optimizer step; returns its number, from 1 since the optimizer started anew."""
        ...

    def rate(self, number: int, progress: float) -> float:
        """What the rates of step `number` are multiplied with; `progress` 0..1 is the share of the budget."""
        ...

    def maintain(self, number: int, progress: float) -> None:
        """What happens now and then, after step `number`; nothing moves to another address."""
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
    more_features: tuple[int, ...] = (0,)  # how many it may have beside those of expression, eyes and pose


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
