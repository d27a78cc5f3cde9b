"""The actor at a small size, and each kind of renderer trained on it once a test process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatar.core.motion_space import load_space
from avatar.core.recipe import Settings, parse
from avatar.core.take import Take, Track, open_take, read_track, with_holdout, with_size
from avatar.render import RENDERERS
from avatar.render.base import Renderer, StepInputs, Trainable
from avatar.render.kinds import TRAINABLES
from avatar.render.schedule import Schedule
from avatar.render.step import make_inputs
from avatar.render.train import train

HOLDOUT = 0.1
SIZES, STEPS = {"gaussian": 192, "nerf": 64}, {"gaussian": 300, "nerf": 200}  # px a side; of training
TINY = {"levels": 6, "log2_entries": 12, "finest": 64, "torso_levels": 5, "torso_log2_entries": 12}
SETTINGS: dict[str, dict[str, object]] = {"gaussian": {"splats": 4000}, "nerf": TINY}


def settings_of(kind: str, **changes: object) -> Settings:
    return parse(TRAINABLES[kind].settings, {"kind": kind} | SETTINGS[kind] | changes, "test")


@functools.cache
def small_take(kind: str, root: Path) -> tuple[Take, Track]:
    """A Take at the size that a kind is tested at, its last tenth held out."""
    take = with_size(with_holdout(open_take(root), HOLDOUT), SIZES[kind])
    return take, read_track(take)


@functools.cache
def _initial(kind: str, root: Path) -> tuple[Callable[..., Trainable], dict[str, Tensor]]:
    trainable = TRAINABLES[kind].begin(*small_take(kind, root), load_space(), settings_of(kind), 0)
    return type(trainable), trainable.tensors()


def begin(kind: str, root: Path, **changes: object) -> Trainable:
    """A trainable at its beginning; changes: of SETTINGS."""
    if changes:
        return TRAINABLES[kind].begin(*small_take(kind, root), load_space(), settings_of(kind, **changes), 0)
    make, tensors = _initial(kind, root)
    return make(tensors, small_take(kind, root)[0].camera, settings_of(kind))


def train_more(trainable: Trainable, kind: str, root: Path, steps: int) -> list[float]:
    return train(trainable, *small_take(kind, root), Schedule(steps=steps), seed=0)


@dataclass(frozen=True)
class Trained:
    """What a training came to; its tensors are not to be changed."""

    kind: str
    take: Take
    track: Track
    tensors: dict[str, Tensor]
    losses: list[float]

    def renderer(self) -> Renderer:
        """As an avatar file brings it."""
        packed = TRAINABLES[self.kind].pack(self.tensors)
        return RENDERERS[self.kind].load(packed, self.take.camera, settings_of(self.kind))


@functools.cache
def trained_on(kind: str, root: Path) -> Trained:
    """A kind of renderer, trained on the Take in a folder for a few seconds."""
    take, track = small_take(kind, root)
    trainable = begin(kind, root)
    losses = train_more(trainable, kind, root, STEPS[kind])
    return Trained(kind, take, track, trainable.tensors(), losses)


def step_of(trainable: Trainable, frame: int) -> StepInputs:
    """A step of one frame without noise, its picture black."""
    size = trainable.camera.size
    values = torch.zeros(1, 5 + trainable.features)
    values[0, 0] = 1.0
    black = torch.zeros(4, size, size, dtype=torch.uint8)
    return make_inputs(torch.tensor([frame]), black, torch.zeros(3, 2, size), values)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
