"""The torso as a picture that moves: pixel, head pose, and the head's colour there -> colour and coverage.

A 2D hash grid whose pixels are shifted a little with the head's pose (RAD-NeRF's torso), with the colour and the
coverage that the head's rays brought there as further inputs (Ye et al. 2023, GeneFace: the head-aware torso). The pose
shifts pixels only: as an input of the colour, too, it would identify single frames, and the torso would overfit to them
(docs/lab/nerf.md).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.files import UserError
from avatar.core.geometry import Camera, to_rays, undo_torso
from avatar.render.features import POSE_FEATURES
from avatar.render.nerf.backends import Backend
from avatar.render.nerf.field import HIDDEN_WIDTH, Values, level_sizes
from avatar.render.nerf.rays import pixel_centers
from avatar.render.nerf.settings import NerfSettings

COARSEST = 8  # cells a side of the picture
MARGIN = 0.1  # of the picture's side, about it: shoulders that come in from outside
MOST_SHIFT = 0.03  # of the picture's side: the tracked torso is right but for a few pixels
HEAD_INPUTS = 8  # colour and coverage of the head, at a pixel and about it
HEAD_REACH = 0.1  # of the picture's side: how far around a pixel the head still is an input
FULL_COVERAGE = 1 / 8  # of the mean coverage about a pixel, from which the head counts in full: beside its outline


def torso_shapes(settings: NerfSettings) -> dict[str, list[int]]:
    """Widths of the torso's networks."""
    color_inputs, shift_inputs = 2 * settings.torso_levels + 1, 2 + POSE_FEATURES + 1
    width = settings.torso_width
    shapes = {"torso.shift": [shift_inputs, HIDDEN_WIDTH, 2], "torso.color": [color_inputs, width, width, 4]}
    return shapes | ({"torso.aware": [HEAD_INPUTS + 1, HIDDEN_WIDTH, 4]} if settings.head_aware else {})


def check_torso(values: Values, settings: NerfSettings) -> None:
    """Raise UserError when the parameters are of a torso with other inputs."""
    for name, widths in torso_shapes(settings).items():
        if name not in values or values[name].numel() != sum(a * b for a, b in itertools.pairwise(widths)):
            raise UserError("the avatar's torso is of another version of the NeRF renderer; build it again")


def rest_places(camera: Camera, torso: Tensor, view: Tensor | None = None, middle: Tensor | None = None) -> Tensor:
    """Where each pixel of a picture lies on the torso at rest [S * S, 2], as shares of the picture's side.

    torso: [4] as in Motion. view: [3, 3] turns the torso as a card that stands as far from the camera as middle [3] cm.
    """
    axis = torch.arange(camera.size, device=torso.device)
    slopes = to_rays(pixel_centers(axis, axis), camera).reshape(-1, 2)
    if view is not None and middle is not None:
        slopes = _through_card(slopes, view, middle[2])
    rest = undo_torso(slopes, torch.cat([torso[:2] / camera.focal, torso[2:]]))
    return rest * (camera.focal / camera.size) + 0.5


def _through_card(slopes: Tensor, view: Tensor, depth: Tensor) -> Tensor:
    """Slopes [P, 2] of rays -> slopes of the points of a card where they meet it, after it was turned by view."""
    rays = torch.cat([slopes, torch.ones_like(slopes[:, :1])], 1)
    center = functional.pad(depth[None], (2, 0))
    length = depth * view[2, 2] / (rays @ view[:, 2]).clamp_min(1e-3)
    points = (rays * length[:, None] - center) @ view + center
    return points[:, :2] / depth


def head_inputs(head: Tensor, size: int) -> Tensor:
    """What the torso sees of the head [S * S, 8]: its colour and coverage [S * S, 4], and their mean about each pixel.

    The mean says how far away the jaw is, which neither the pixel itself nor the head's pose does.
    """
    reach = max(1, round(HEAD_REACH * size))
    about = head.T.reshape(1, 4, size, size)
    for _ in range(2):  # across, then down: a square of so many pixels would take longer than all the rest
        about = functional.avg_pool2d(about, (1, 2 * reach + 1), 1, (0, reach))
        about = functional.avg_pool2d(about, (2 * reach + 1, 1), 1, (reach, 0))
    return torch.cat([head, about.reshape(4, -1).T], 1)


class TorsoField:
    """The torso as a function of its parameters; holds none of them."""

    def __init__(self, settings: NerfSettings, backend: Backend, device: torch.device) -> None:
        self._head_aware, self._backend = settings.head_aware, backend
        self._shapes = torso_shapes(settings)
        self._resolutions = level_sizes(COARSEST, settings.torso_finest, settings.torso_levels).to(device)

    def __call__(self, values: Values, places: Tensor, pose: Tensor, head: Tensor) -> Tensor:
        """Colour and coverage [P, 4] 0..1, colour not premultiplied.

        places: [P, 2] of `rest_places`; pose: [6] features; head: [P, 8] of `head_inputs`.
        """
        one = torch.ones_like(places[:, :1])
        shift_inputs = torch.cat([2 * places - 1, pose.expand(len(places), -1), one], 1)
        shift = self._network(values, "torso.shift", shift_inputs)
        moved = places + MOST_SHIFT * torch.tanh(shift)
        inside = (moved + MARGIN) / (1 + 2 * MARGIN)
        features = self._backend.hash_grid(inside, values["torso.tables"][0], self._resolutions)
        out = self._network(values, "torso.color", torch.cat([features, one], 1))
        if self._head_aware:  # only near the head, and without the place, which would identify single frames
            near = (head[:, -1:] / FULL_COVERAGE).clamp_max(1)
            out = out + near * self._network(values, "torso.aware", torch.cat([head, one], 1))
        return torch.sigmoid(out)

    def _network(self, values: Values, name: str, inputs: Tensor) -> Tensor:
        return self._backend.mlp(inputs.contiguous(), values[name], self._shapes[name])
