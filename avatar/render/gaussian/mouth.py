"""The inside of a mouth that no frame shows: teeth, gums, tongue and the dark behind, made by rules.

Sizes are those of usual adults (Ash and Nelson 2003, Wheeler's Dental Anatomy, tables of crown widths and lengths),
times how wide the person's lips are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.core.landmarks import LOWER_LIP, MESH_POINTS, UPPER_LIP
from avatar.core.motion_space import MotionSpace
from avatar.render.gaussian.lifting import FrameView, InitialSplats, jaw_basis, join_splats, make_splats, opening_basis
from avatar.render.gaussian.light import eye_white, skin_color
from avatar.render.surface import surface_depth

LIPS_CM, STRETCH = 4.6, (0.8, 1.2)  # between the inner corners of usual shut lips; how far sizes follow the person's
INNER_CORNERS = (78, 308)
UPPER_WIDTHS = (0.85, 0.65, 0.76, 0.71, 0.68)  # cm, from the middle to the second premolar: more, lips never show
LOWER_WIDTHS = (0.53, 0.57, 0.68, 0.70, 0.71)
UPPER_LENGTHS, LOWER_LENGTHS = (1.0, 0.88, 0.98, 0.85, 0.8), (0.6, 0.6, 0.65, 0.6, 0.6)  # the lower lip hides more
UPPER_EDGE, LOWER_EDGE = 0.13, 0.32  # cm below the line of the shut lips: where the incisors end and begin
UPPER_DEPTH, LOWER_DEPTH = 0.45, 0.65  # cm behind that line: thickness of the lips, overjet
SKIN_CM = 0.4  # thickness of lips and cheeks, at least
ARCH_CM = 2.6  # radius of the dental arch in the middle
TEETH_GRID, GUM_ROWS = (5, 7), 2  # splats of a tooth across and along
TOOTH, TINT = (1.0, 0.97, 0.92), 0.35  # of the light; power of the skin's tint, which lips and gums reflect
WHITER = 1.25  # than skin: the white of eyes under brows may show less of the light that teeth get
GUM, TONGUE, DARK = (0.75, 0.45, 0.44), (0.85, 0.52, 0.50), (0.30, 0.14, 0.13)  # of the skin's light
SIDE_FALL, GAP_SHADE, ROOT_SHADE = 0.20, 0.16, 0.25  # light lost by each further tooth, at its sides, at its root
LIT, MORE_LIT = 0.55, 0.35  # share of the light that falls in past shut lips; more by each cm that they part
MOST = 0.9  # of any colour: nothing in a mouth is brighter


@dataclass(frozen=True)
class _Patch:
    """Points about the middle of the shut lips: cm to the right, down and into the head, and their colours."""

    points: Tensor  # [P, 3]
    colors: Tensor  # [P, 3]
    sizes: float  # cm
    with_jaw: float  # share of the jaw's motion


def make_mouth(view: FrameView, space: MotionSpace) -> InitialSplats:
    """Upper teeth that stay with the skull, lower teeth and tongue that go with the jaw, gums, and what is dark behind.

    Lit as the person is, and darker the less the lips are open.
    """
    left, right = view.neutral[list(INNER_CORNERS)]
    middle = (view.neutral[UPPER_LIP] + view.neutral[LOWER_LIP]) / 2
    scale = float(((right - left).norm() / LIPS_CM).clamp(*STRETCH))
    across = (right - left) / (right - left).norm()  # lips may lie aslant
    frame = torch.stack([across, torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])])
    jaw = jaw_basis(space)
    opening = opening_basis(space)
    parts = []
    for patch in _patches(eye_white(view), skin_color(view)):
        count, colors = len(patch.points), patch.colors.clamp(0, MOST)
        shading = MORE_LIT * opening[:, None, None] * colors
        basis = patch.with_jaw * jaw[:, None].repeat(1, count, 1)
        means = _under_skin(view.neutral, middle + scale * patch.points @ frame)
        parts.append(make_splats(means, scale * patch.sizes, LIT * colors, basis, shading=shading))
    return join_splats(parts)


def _under_skin(mesh: Tensor, points: Tensor) -> Tensor:
    """Points [P, 3], moved into the head where they would lie before the skin of a mesh [V, 3], or in it."""
    face = mesh[:MESH_POINTS]
    surface = surface_depth(face[:, :2], face[:, 2], points[:, :2], lambda distance, border: torch.zeros_like(border))
    deeper = torch.maximum(points[:, 2], surface.float() + SKIN_CM)
    return torch.cat([points[:, :2], deeper[:, None]], 1)


def _patches(white: Tensor, skin: Tensor) -> list[_Patch]:
    light = skin.mean() * torch.ones(3)
    tint = (skin / skin.mean().clamp_min(0.02)).clamp_min(0.1) ** TINT
    white = torch.maximum(white.mean(), WHITER * skin.mean()) * tint
    return [
        _cavity(light * torch.tensor(DARK)),
        _tongue(light * torch.tensor(TONGUE)),
        *_row(white, light * torch.tensor(GUM), upper=True),
        *_row(white, light * torch.tensor(GUM), upper=False),
    ]


def _grid(columns: int, rows: int) -> tuple[Tensor, Tensor]:
    """Across -1..1 and down 0..1, each [columns x rows]."""
    x, y = torch.meshgrid(torch.linspace(-1, 1, columns), torch.linspace(0, 1, rows), indexing="xy")
    return x.reshape(-1), y.reshape(-1)


def _cavity(color: Tensor) -> _Patch:
    """A bowl behind teeth and tongue, beyond the corners of the lips: no background may show through."""
    x, y = _grid(13, 13)
    points = torch.stack([2.3 * x, -0.9 + 3.2 * y, 3.2 - 0.6 * x.square()], 1)
    return _Patch(points, color.repeat(len(x), 1), 0.26, 0.5)


def _tongue(color: Tensor) -> _Patch:
    """Its back lies lower at the tip, and darker towards the throat; a furrow along the middle."""
    x, back = _grid(13, 9)
    points = torch.stack([1.7 * x * (1 - 0.25 * back), 0.62 - 0.30 * back + 0.35 * x.square(), 0.95 + 1.7 * back], 1)
    light = (1 - 0.65 * back) * (1 - 0.18 * torch.exp(-(x / 0.15).square()))
    return _Patch(points, color * light[:, None], 0.16, 0.9)


def _row(white: Tensor, gum: Tensor, *, upper: bool) -> list[_Patch]:
    widths, lengths = (UPPER_WIDTHS, UPPER_LENGTHS) if upper else (LOWER_WIDTHS, LOWER_LENGTHS)
    edge, depth = (UPPER_EDGE, UPPER_DEPTH) if upper else (LOWER_EDGE, LOWER_DEPTH)
    x, along = _grid(*TEETH_GRID)
    points, colors, gums = [], [], []
    start = 0.0
    for number, (width, length) in enumerate(zip(widths, lengths, strict=True)):
        round_corner = 0.08 * x.abs() ** 4 * (1 - along) ** 2  # of the biting edge
        height = length * along + round_corner
        shade = (1 - SIDE_FALL * number) * (1 - GAP_SHADE * x.square()) * (1 - ROOT_SHADE * along.square())
        arc = start + width / 2 * (1 + 0.92 * x)
        for side in (-1, 1):
            points.append(_on_arch(side * arc, edge - height if upper else edge + height, depth))
            colors.append(white * torch.tensor(TOOTH) * shade[:, None].clamp_min(0.1))
        gum_x, gum_along = _grid(TEETH_GRID[0], GUM_ROWS)
        rise = length - 0.08 + 0.1 * gum_x.square() + 0.3 * gum_along
        for side in (-1, 1):
            arc = start + width / 2 * (1 + gum_x)
            gums.append(_on_arch(side * arc, edge - rise if upper else edge + rise, depth - 0.03))
        start += width
    dimmed = gum * (1 - SIDE_FALL * 0.5)
    with_jaw = 0.0 if upper else 1.0
    every = torch.cat(gums)
    return [
        _Patch(torch.cat(points), torch.cat(colors), 0.1, with_jaw),
        _Patch(every, dimmed.repeat(len(every), 1), 0.11, with_jaw),
    ]


def _on_arch(arc: Tensor, down: Tensor, depth: float) -> Tensor:
    """Points [P, 3] on the dental arch, so far along it from the middle."""
    angle = arc / ARCH_CM
    return torch.stack([ARCH_CM * angle.sin(), down, depth + ARCH_CM * (1 - angle.cos())], 1)
