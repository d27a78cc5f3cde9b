"""Lids that no frame shows shut: skin that lies folded in the crease, and spreads over the eye as the lid falls."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from avatar.core.landmarks import LEFT_EYE, LEFT_UPPER_LID, RIGHT_EYE, RIGHT_UPPER_LID
from avatar.core.motion_space import MotionSpace
from avatar.render.features import EYE_FEATURES
from avatar.render.gaussian.lifting import OPAQUE_LOGIT, FrameView, InitialSplats, join_splats, make_splats
from avatar.render.gaussian.light import skin_color
from avatar.render.gaussian.skin import EYES, place_in_slit

EDGES = (
    (LEFT_EYE.outer, *LEFT_UPPER_LID, LEFT_EYE.inner),
    (RIGHT_EYE.outer, *RIGHT_UPPER_LID, RIGHT_EYE.inner),
)
CREASES = ((130, 247, 30, 29, 27, 28, 56, 190, 243), (359, 467, 260, 259, 257, 258, 286, 414, 463))
"""Mesh points of the lids' creases, from the outer to the inner corner, beside those of the edges."""
UNDER_BROWS = ((225, 224, 223, 222, 221), (445, 444, 443, 442, 441))
"""Mesh points of the skin above the creases, which is lit as the lids are."""
ROWS, COLUMNS = 13, 25  # of splats, from the crease to the edge and along it
BEFORE_CM = 0.1  # that the fold lies before the skin that is seen, which parts where it was never seen spread
FOLDED_LOGIT = -5.0  # under 1 %: of a fold when the eye is open
SIZE_CM = 0.085  # a shut lid is about 1 cm high: rows overlap
EDGE_SHARE = 1.0  # of the way from crease to edge where the lowest row lies
REST_CM = 0.22  # gap of the mesh's lids when eyes are shut
FOLD_CM = 0.4  # above the edge, up to where lids move so
CREASE_SHADE, LASH_SHADE = 0.15, 0.45  # of the skin's light, lost in the crease and under the lashes
LEAST_LIGHT = 0.85  # of what the skin below the eyes has: brows shade less than creases do
SOFT, SOFT_LOGITS = 0.25, 4.0  # share of the way up to where the fold fades into the skin above; its opacity there
LASHES = 0.88  # share of the way from where on lashes and their shadow are


def fold_lids(view: FrameView, space: MotionSpace) -> InitialSplats:
    """The folded skin of both upper lids."""
    return join_splats([_fold(view, space, side) for side in range(2)])


def shut_lids(view: FrameView, splats: InitialSplats) -> InitialSplats:
    """The same splats, those of the upper lids' edges reaching the lower lids when the eyes are shut.

    Landmarks of shut eyes keep a gap, where lashes are; the mesh, which follows them, would leave the eye to be seen.
    """
    eyes = splats.eyes.clone()
    shown = splats.means + torch.einsum("k,knc->nc", view.expression, splats.basis)
    shown = shown + torch.einsum("e,enc->nc", view.eyes, splats.eyes)
    for side, slit in enumerate(EYES):
        place, gap = place_in_slit(slit, view.mesh, shown)
        above = -place * gap
        near = (1 - above / FOLD_CM).clamp(0, 1) * (place < 0)
        eyes[side, :, 1] -= REST_CM * near.nan_to_num(0).float()
    changed = eyes - splats.eyes
    return replace(splats, eyes=eyes, means=splats.means - torch.einsum("e,enc->nc", view.eyes, changed))


def _fold(view: FrameView, space: MotionSpace, side: int) -> InitialSplats:
    edge, crease = EDGES[side], CREASES[side]
    along = torch.linspace(0, len(edge) - 1, COLUMNS)
    low = along.floor().long().clamp_max(len(edge) - 2)
    part = along - low

    def between(values: Tensor) -> Tensor:
        """Values [..., points, 3] at the columns [..., COLUMNS, 3]."""
        return values[..., low, :] * (1 - part[:, None]) + values[..., low + 1, :] * part[:, None]

    down = torch.linspace(0, EDGE_SHARE, ROWS)[:, None, None]

    def spread(top: Tensor, bottom: Tensor) -> Tensor:
        """[..., ROWS x COLUMNS, 3] between what the crease's and the edge's points [..., COLUMNS, 3] have."""
        return (top[..., None, :, :] * (1 - down) + bottom[..., None, :, :] * down).flatten(-3, -2)

    mesh = view.neutral
    means = spread(between(mesh[list(crease)]), between(mesh[list(edge)]))
    means = means + torch.tensor([0.0, 0.0, -BEFORE_CM])
    basis = spread(between(space.basis[:, list(crease)]), between(space.basis[:, list(edge)]))
    share = down[:, 0, 0]
    shade = 1 - CREASE_SHADE * (1 - 4 * share).clamp_min(0) - LASH_SHADE * (share > LASHES)
    colors = (shade[:, None, None] * between(_lid_colors(view, side))).reshape(-1, 3)
    eyes = torch.zeros(EYE_FEATURES, len(means), 3)
    eyes[side, :, 1] = -REST_CM * share.repeat_interleave(COLUMNS)
    means[:, 1] -= eyes[side, :, 1]  # as it lies when the eye is open: openness 1
    fading = torch.zeros(space.modes + EYE_FEATURES, len(means))
    fading[space.modes + side] = FOLDED_LOGIT - OPAQUE_LOGIT  # from opaque at openness 0
    soft = OPAQUE_LOGIT - SOFT_LOGITS * (1 - share / SOFT).clamp_min(0).repeat_interleave(COLUMNS)
    return make_splats(means, SIZE_CM, colors, basis, eyes=eyes, fading=fading, opacity_logits=soft)


def _lid_colors(view: FrameView, side: int) -> Tensor:
    """The skin above the eye [9, 3] from the outer to the inner corner: what lies above the crease, mixed with cheek.

    What lies there is lit and painted as the shut lid is; of creases and brows the brighter counts.
    """
    above, crease = UNDER_BROWS[side], CREASES[side][2:-2]
    pixels = view.landmarks[list(above), :2], (view.landmarks[list(above), :2] + view.landmarks[list(crease), :2]) / 2
    first, second = (view.colors(view.blurred, place) for place in pixels)
    skin = skin_color(view)
    brighter = torch.where(first.mean(1, keepdim=True) > second.mean(1, keepdim=True), first, second)
    brighter = (brighter + skin) / 2
    brighter = brighter * (LEAST_LIGHT * skin.mean() / brighter.mean(1, keepdim=True).clamp_min(0.02)).clamp_min(1)
    return torch.cat([brighter[:1], brighter[:1], brighter, brighter[-1:], brighter[-1:]])
