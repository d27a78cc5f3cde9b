"""The torso as a picture that moves: pixel, head pose, and what the head looks like there -> colour and coverage.

A 2D hash grid whose pixels are shifted a little with the head's pose (RAD-NeRF's torso), told the colour and the
coverage that the head's rays brought there (Ye et al. 2023, GeneFace: the head-aware torso). The pose moves pixels
only: told to the colour, too, it tells the frames apart, which are then learned by heart (docs/figures.md).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.files import UserError
from avatar.core.geometry import Camera
from avatar.core.take import Take, Track, read_mattes
from avatar.render.features import POSE_FEATURES
from avatar.render.nerf.backends import Backend
from avatar.render.nerf.field import Values, begin_network, begin_tables, level_sizes
from avatar.render.nerf.occupancy import IN_MATTE, spread
from avatar.render.nerf.settings import NerfSettings

COARSEST = 8  # cells a side of the picture
HIDDEN = 32  # of the network that shifts pixels
MARGIN = 0.1  # of the picture's side, about it
MOST_SHIFT = 0.03  # of the picture's side
HEAD = 8  # colour and coverage of the head, at a pixel and about it
ABOUT = 0.1  # of the picture's side: how far around a pixel the head is felt
NEAR = 1 / 8  # of what is about a pixel: so much head, and it is heard in full
FOREHEAD, CHIN, CHEEKS = 10, 152, (234, 454)
SURELY_FACE = 0.8  # of the face's ellipse


def network_shapes(settings: NerfSettings) -> dict[str, list[int]]:
    """Widths of the torso's networks."""
    told, asked, width = 2 * settings.torso_levels + 1, 2 + POSE_FEATURES + 1, settings.torso_width
    shapes = {"torso.shift": [asked, HIDDEN, 2], "torso.color": [told, width, width, 4]}
    return shapes | ({"torso.aware": [HEAD + 1, HIDDEN, 4]} if settings.head_aware else {})


def begin_torso(settings: NerfSettings, generator: torch.Generator) -> Values:
    """Fresh parameters of the torso."""
    values = {"torso.tables": begin_tables(1, settings.torso_levels, 2**settings.torso_log2_entries, generator)}
    for name, widths in network_shapes(settings).items():
        values[name] = begin_network(widths, generator)
        if name != "torso.color":  # at first nothing is shifted, and the head changes nothing
            values[name][-HIDDEN * widths[-1] :] = 0
    return values


def check_torso(values: Values, settings: NerfSettings) -> None:
    """Raise UserError when the parameters are of a torso that was told something else."""
    for name, widths in network_shapes(settings).items():
        if name not in values or values[name].numel() != sum(a * b for a, b in itertools.pairwise(widths)):
            raise UserError("the avatar's torso is of another version of the NeRF renderer; build it again")


def to_rest(camera: Camera, torso: Tensor, view: Tensor | None = None, depth: float = 1.0) -> Tensor:
    """Where each pixel of a picture [S * S, 2] lies on the torso at rest, as shares of the picture's side.

    torso: [4] as in Motion. view: [3, 3] turns the torso as a card that stands `depth` cm before the camera.
    """
    size = camera.size
    axis = (torch.arange(size, device=torso.device) + 0.5 - size / 2) / camera.focal
    slopes = torch.stack([axis.expand(size, size), axis[:, None].expand(size, size)], -1).reshape(-1, 2)
    if view is not None:
        slopes = _through_card(slopes, view, depth)
    moved = slopes - torso[:2] / camera.focal
    cos, sin = torch.exp(-torso[2]) * torch.cos(torso[3]), torch.exp(-torso[2]) * torch.sin(torso[3])
    back = torch.stack([cos * moved[:, 0] + sin * moved[:, 1], cos * moved[:, 1] - sin * moved[:, 0]], 1)
    return back * (camera.focal / size) + 0.5


def _through_card(slopes: Tensor, view: Tensor, depth: float) -> Tensor:
    """Slopes [P, 2] of rays -> slopes of the points of a card where they meet it, after it was turned by view."""
    rays = torch.cat([slopes, torch.ones_like(slopes[:, :1])], 1)
    center = torch.tensor([0.0, 0.0, depth], device=rays.device)
    length = depth * view[2, 2] / (rays @ view[:, 2]).clamp_min(1e-3)
    points = (rays * length[:, None] - center) @ view + center
    return points[:, :2] / depth


def look_about(head: Tensor, size: int) -> Tensor:
    """What the torso is told of the head [S * S, 8]: its colour and coverage [S * S, 4], and their mean about a pixel.

    The mean says how far away the jaw is, which neither its own pixel nor the head's pose does.
    """
    reach = max(1, round(ABOUT * size))
    about = head.T.reshape(1, 4, size, size)
    for _ in range(2):
        about = functional.avg_pool2d(about, 2 * reach + 1, 1, reach)
    return torch.cat([head, about.reshape(4, -1).T], 1)


class TorsoField:
    """The torso as a function of its parameters; holds none of them."""

    def __init__(self, settings: NerfSettings, backend: Backend, device: torch.device) -> None:
        self._head_aware, self._backend = settings.head_aware, backend
        self._shapes = network_shapes(settings)
        self._resolutions = level_sizes(COARSEST, settings.torso_finest, settings.torso_levels).to(device)

    def __call__(self, values: Values, places: Tensor, pose: Tensor, head: Tensor) -> Tensor:
        """Colour and coverage [P, 4] 0..1, colour not premultiplied.

        places: [P, 2] of `to_rest`; pose: [6] features; head: [P, 8] of `look_about`.
        """
        one = torch.ones_like(places[:, :1])
        asked = torch.cat([2 * places - 1, pose.expand(len(places), -1), one], 1)
        shift = self._network(values, "torso.shift", asked)
        moved = places + MOST_SHIFT * torch.tanh(shift)
        inside = (moved + MARGIN) / (1 + 2 * MARGIN)
        features = self._backend.hash_grid(inside, values["torso.tables"][0], self._resolutions)
        out = self._network(values, "torso.color", torch.cat([features, one], 1))
        if self._head_aware:  # only where the head is near, and not told the place: it would but tell frames apart
            near = (head[:, -1:] / NEAR).clamp_max(1)
            out = out + near * self._network(values, "torso.aware", torch.cat([head, one], 1))
        return torch.sigmoid(out)

    def _network(self, values: Values, name: str, inputs: Tensor) -> Tensor:
        return self._backend.mlp(inputs.contiguous(), values[name], self._shapes[name])


def torso_mask(take: Take, track: Track) -> Tensor:
    """Pixels [S, S] uint8 of the torso at rest that ever belong to the person, but for where it is always face."""
    size, frames = take.camera.size, spread(take.training_frames())
    ever, always = torch.zeros(size, size, dtype=torch.bool), torch.ones(size, size, dtype=torch.bool)
    for frame in frames:
        place = _from_rest(take.camera, track.torso[frame])
        stack = torch.stack([read_mattes(take, [frame])[0].float() / 255, _face(track.landmarks[frame], size)])
        matte, face = functional.grid_sample(stack[None], place[None], padding_mode="border", align_corners=False)[0]
        ever |= matte > IN_MATTE
        always &= face > 0.5
    ever = functional.max_pool2d(ever[None].float(), 3, 1, 1)[0] > 0
    return (ever & ~always).to(torch.uint8)


def _from_rest(camera: Camera, torso: Tensor) -> Tensor:
    """Where the pixels of the torso at rest are in a frame [S, S, 2], -1..1: the way back of `to_rest`."""
    axis = torch.arange(camera.size) + 0.5 - camera.size / 2
    x, y = axis.expand(camera.size, -1), axis[:, None].expand(-1, camera.size)
    cos, sin = torch.exp(torso[2]) * torch.cos(torso[3]), torch.exp(torso[2]) * torch.sin(torso[3])
    return torch.stack([cos * x - sin * y + torso[0], sin * x + cos * y + torso[1]], -1) / (camera.size / 2)


def _face(landmarks: Tensor, size: int) -> Tensor:
    """1 well inside of a face with landmarks [478, 3] px, 0 elsewhere [S, S]."""
    points = landmarks[:, :2]
    center = points[[FOREHEAD, CHIN]].mean(0)
    radius = (
        SURELY_FACE / 2 * (points[CHEEKS[1], 0] - points[CHEEKS[0], 0]).abs(),
        SURELY_FACE / 2 * (points[CHIN, 1] - points[FOREHEAD, 1]).abs(),
    )
    axis = torch.arange(size) + 0.5
    across, down = (axis - center[0]) / radius[0], (axis - center[1]) / radius[1]
    return (across.square() + down[:, None].square() < 1).float()
