"""Eyeballs that turn under the lids: what is lifted between the lids, and what lies beyond and behind it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from avatar.core.blendshapes import GAZE_SCALE
from avatar.core.landmarks import LEFT_EYE, RIGHT_EYE, Eye
from avatar.core.motion_space import MotionSpace
from avatar.render.features import EYE_FEATURES
from avatar.render.gaussian.lifting import FrameView, InitialSplats, join_splats, make_splats
from avatar.render.gaussian.light import eye_white, iris_circles
from avatar.render.gaussian.skin import LEFT_SLIT, RIGHT_SLIT, place_in_slit

BALL_CM = 1.2  # radius of a usual adult's eyeball
UNDER_LIDS_CM = 0.12  # that the ball lies behind the lids' edges: they must be able to cover it
BEHIND_CM = 0.10  # what is made lies so far behind what is lifted, which hides it
IRIS_RINGS, IRIS_SPOKES = 5, 20  # splats of an iris
WHITE_GRID, WHITE_REACH = (15, 9), (0.85, 0.7)  # splats of the white; its half width and height, of the eye's width
CORNER_SHADE = 0.3  # light that the white loses at its border
LASHES_CM = 0.06  # from the lids' edges, up to where landmarks may be off
ACROSS, DOWN = 2, 3  # which of the eyes' features


def give_gaze(view: FrameView, splats: InitialSplats) -> InitialSplats:
    """The same splats, those between the lids turned by gaze, and set back from the lids.

    Next to the lids' edges nothing turns but the iris: lashes and edges lie there.
    """
    turn, means = torch.zeros_like(splats.eyes), splats.means.clone()
    shown = means + torch.einsum("k,knc->nc", view.expression, splats.basis)
    circles = iris_circles(view)
    for slit, eye, (_, radius) in zip((LEFT_SLIT, RIGHT_SLIT), (LEFT_EYE, RIGHT_EYE), circles, strict=True):
        place, gap = place_in_slit(slit, view.mesh, shown)
        inside = (place >= 0) & (place <= 1)
        freely = (torch.minimum(place, 1 - place) * gap / LASHES_CM).clamp(0, 1)[inside].float()
        from_iris = (shown[inside] - _iris_center(view, eye))[:, :2].norm(dim=1)
        freely[from_iris < radius * view.pixel_cm] = 1
        turn[:, inside] = gaze_basis(view, eye, means[inside]) * freely[:, None]
        means[inside, 2] += UNDER_LIDS_CM
    return replace(splats, eyes=splats.eyes + turn, means=means - torch.einsum("e,enc->nc", view.eyes, turn))


def gaze_basis(view: FrameView, eye: Eye, points: Tensor) -> Tensor:
    """How points [P, 3] of an eyeball move with the eyes' features [4, P, 3] cm: as its surface turns with gaze."""
    unit = _width(view, eye) / GAZE_SCALE
    offset = (points - view.neutral[eye.iris])[:, :2]
    facing = (1 - (offset.norm(dim=1) / BALL_CM).square()).clamp_min(0).sqrt()
    basis = torch.zeros(EYE_FEATURES, len(points), 3)
    for axis, gaze in ((0, ACROSS), (1, DOWN)):
        basis[gaze, :, axis] = unit * facing
        basis[gaze, :, 2] = unit * offset[:, axis] / BALL_CM
    return basis


def line_eyes(view: FrameView, space: MotionSpace) -> InitialSplats:
    """The white beyond the lids and the whole iris, behind what is lifted: seen as gaze turns and lids widen."""
    white, parts = eye_white(view), []
    for eye, circle in zip((LEFT_EYE, RIGHT_EYE), iris_circles(view), strict=True):
        parts += [_white(view, space, eye, white), _iris(view, space, eye, circle)]
    return join_splats(parts)


def _white(view: FrameView, space: MotionSpace, eye: Eye, color: Tensor) -> InitialSplats:
    width = _width(view, eye)
    x, y = (side.reshape(-1) for side in torch.meshgrid(*(torch.linspace(-1, 1, n) for n in WHITE_GRID), indexing="xy"))
    reach = width * torch.tensor(WHITE_REACH)
    offset = torch.stack([reach[0] * x, reach[1] * y], 1)
    kept = x.square() + y.square() <= 1
    means = _on_ball(view, eye, offset[kept], 2 * BEHIND_CM)
    shade = 1 - CORNER_SHADE * (x.square() + y.square())[kept]
    size = 0.7 * float(2 * reach[0]) / (WHITE_GRID[0] - 1)
    return make_splats(means, size, color * shade[:, None], torch.zeros(space.modes, len(means), 3))


def _iris(view: FrameView, space: MotionSpace, eye: Eye, circle: tuple[object, float]) -> InitialSplats:
    center, radius = torch.as_tensor(circle[0]).float(), circle[1]
    share = (torch.arange(IRIS_RINGS) + 0.5) / IRIS_RINGS
    angle = 2 * math.pi * torch.arange(IRIS_SPOKES) / IRIS_SPOKES
    spokes = torch.stack([angle.cos(), angle.sin()], 1)
    pixels = center + radius * share[:, None, None] * spokes  # [rings, spokes, 2]
    places = pixels.long().clamp(0, view.camera.size - 1).numpy()
    seen = torch.from_numpy(view.image[places[..., 1], places[..., 0]]).float()
    ring = seen.median(1).values  # of the spokes that no lid hides most
    offset = (share[:, None, None] * spokes * radius * view.pixel_cm).reshape(-1, 2)
    means = _on_ball(view, eye, offset, BEHIND_CM)
    colors = ring[:, None].expand(IRIS_RINGS, IRIS_SPOKES, 3).reshape(-1, 3)
    size = 0.6 * radius * view.pixel_cm / IRIS_RINGS + 0.02
    means = means + _iris_offset(view, eye)
    turn = gaze_basis(view, eye, means)
    means = means - torch.einsum("e,enc->nc", view.eyes, turn)
    return make_splats(means, size, colors, torch.zeros(space.modes, len(means), 3), eyes=turn)


def _on_ball(view: FrameView, eye: Eye, offset: Tensor, behind: float) -> Tensor:
    """Points [P, 3] so far right and down [P, 2] cm of the eye's middle, on the ball, behind the lids' edges."""
    corners = view.neutral[[eye.outer, eye.inner]]
    front = view.neutral[[eye.upper, eye.lower], 2].mean() + UNDER_LIDS_CM + behind
    middle = torch.cat([corners[:, :2].mean(0), front[None]])
    distance = offset.norm(dim=1).clamp_max(0.95 * BALL_CM)
    fall = BALL_CM - (BALL_CM**2 - distance.square()).sqrt()
    return middle + torch.cat([offset, fall[:, None]], 1)


def _iris_offset(view: FrameView, eye: Eye) -> Tensor:
    """Where the frame shows the iris [3], against the middle of the eye."""
    offset = _iris_center(view, eye) - view.mesh[[eye.outer, eye.inner]].mean(0)
    return torch.cat([offset[:2], torch.zeros(1)])


def _iris_center(view: FrameView, eye: Eye) -> Tensor:
    """Where the frame shows the middle of the iris [3], at the depth of the lids."""
    depth = view.posed[[eye.upper, eye.lower], 2].mean()[None]
    return view.to_head(view.landmarks[eye.iris : eye.iris + 1, :2], depth.numpy())[0]


def _width(view: FrameView, eye: Eye) -> float:
    return float((view.neutral[eye.outer] - view.neutral[eye.inner]).norm())
