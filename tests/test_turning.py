"""How far an avatar may turn: holes are found where there are some."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.geometry import Camera, to_vector
from avatar.core.motion_space import Motion
from avatar.pipelines.turning import MOST, trusted_turn, turned, uncovered_share


class Disc:
    """A renderer of a disc with a hole in it once the head is turned by more than so many degrees."""

    def __init__(self, holds: float) -> None:
        self.camera, self.device, self._holds = Camera(256.0, 128), torch.device("cpu"), holds

    def to(self, device: torch.device) -> None: ...

    def render(self, motion: Motion, frames: range, view: Tensor | None = None) -> tuple[Tensor, Tensor]:
        axis = torch.arange(128) - 64
        distance = (axis[:, None].square() + axis.square()).float().sqrt()
        alpha = (distance < 50).float().repeat(len(frames), 1, 1, 1)
        degrees = to_vector(motion.rotation).norm(dim=1).rad2deg()
        for row, frame in enumerate(frames):
            if degrees[frame] > self._holds:
                alpha[row, 0, 60:66, 40:46] = 0.2
        return alpha.repeat(1, 3, 1, 1), alpha


def still() -> Motion:
    zero = torch.zeros(1, 4)
    return Motion(torch.zeros(1, 32), zero, torch.eye(3)[None], torch.zeros(1, 3), zero, 25.0)


def test_the_head_is_turned_to_both_sides() -> None:
    both = turned(still(), 10)
    assert torch.allclose(to_vector(both.rotation).rad2deg()[:, 1], torch.tensor([-10.0, 10.0]), atol=1e-4)


def test_holes_limit_the_turn() -> None:
    assert trusted_turn(Disc(holds=90), still()) == MOST
    assert trusted_turn(Disc(holds=12), still()) == 10
    assert trusted_turn(Disc(holds=3), still()) == 0
    assert trusted_turn(Disc(holds=-1), still()) == MOST  # see-through in the photo, too: no hole
    assert abs(uncovered_share(Disc(holds=0), still(), 5) - 36 / (3.14159 * 48**2)) < 1e-3
